"""What services can do with tokens, beside checking them (accounts/access_tokens.py)."""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_variables

from accounts.models import User
from accounts.services_for_tokens import services_for_tokens
from auditlog.actions import Action
from core.api.scopes import Scope
from core.errors import DomainError
from core.http.public_address import public_url
from tokens import jwt
from tokens.approval.rules import why_needed
from tokens.keys.ring import key_ring
from tokens.lifetimes import now_in_seconds
from tokens.mails import EarlyEndMails, ended_by_service_mail
from tokens.models import Token
from tokens.service_choice import ServiceClosed
from tokens.services import AlreadyEnded, end_tokens, free_name_like, issue_and_reveal_token, revoke_token
from tokens.trust.exchange import GRANT_TYPE


class NeedsApproval(DomainError):
    """``why``: one sentence for each rule of the policy."""

    code = "approval_needed"

    def __init__(self, why: Sequence[str]) -> None:
        super().__init__(" ".join([*why, gettext("So the portal can't make a token for a test.")]))


def claims_of(token: Token) -> dict[str, Any]:
    """With its last use, a token ends while the service that was sent it is still working."""
    claims = jwt.claims_of(token)
    return claims | {"exp": max(claims["exp"], int(timezone.now().timestamp()) + 1)}


@sensitive_variables()
def revoke_by_service(encoded: str, *, service_id: uuid.UUID, service_name: str, request: HttpRequest) -> None:
    try:
        claims = jwt.decode(encoded)
    except jwt.NotGenuine:
        return
    found = Token.objects.filter(pk=claims.token_id, owner=claims.owner_id, service=service_id)
    if not (token_ids := list(found.values_list("pk", flat=True))):
        # A request without a genuine token must not take the database's write lock.
        return
    reason = f"Expired by the service “{service_name}”."
    with transaction.atomic():
        ended = end_tokens(
            token_ids, action=Action.TOKEN_REVOKED_BY_SERVICE, reason=reason, request=request, by=service_name
        )
        EarlyEndMails(mail=ended_by_service_mail, by=service_name).add(ended)


@sensitive_variables()
def issue_for_test(
    actor: User, *, service_id: uuid.UUID, name: str, lifetime: timedelta, request: HttpRequest | None
) -> tuple[Token, str]:
    service = services_for_tokens().find(actor, str(service_id))
    if service is None:
        raise ServiceClosed
    chosen: list[Scope] = list(service.all_scopes)
    if why := why_needed(actor.own_organization, chosen=chosen, lifetime=lifetime, owner=actor, service=service):
        raise NeedsApproval(why)
    return issue_and_reveal_token(
        actor=actor,
        name=free_name_like(owner=actor, name=name),
        chosen=chosen,
        service=service_id,
        expires_at=now_in_seconds() + lifetime,
        request=request,
    )


def end_test(token: Token, *, actor: User, request: HttpRequest | None) -> None:
    with suppress(AlreadyEnded):
        revoke_token(actor=actor, token=token, request=request)


def metadata() -> dict[str, Any]:
    return {
        "jwks_uri": public_url("tokens:jwks"),
        "token_endpoint": public_url("tokens_api:token_exchange"),
        "token_endpoint_auth_methods_supported": ["none"],
        "grant_types_supported": [GRANT_TYPE],
        "introspection_signing_alg_values_supported": sorted({key.algorithm for key in key_ring().keys}),
    }
