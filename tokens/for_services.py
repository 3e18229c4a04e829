"""What services can do with tokens, beside checking them (accounts/access_tokens.py)."""

import uuid
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from auditlog.actions import Action
from core.http.public_address import public_url
from tokens import jwt
from tokens.keys.ring import key_ring
from tokens.mails import EarlyEndMails, ended_by_service_mail
from tokens.models import Token
from tokens.services import end_tokens
from tokens.trust.exchange import GRANT_TYPE


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


def metadata() -> dict[str, Any]:
    return {
        "jwks_uri": public_url("tokens:jwks"),
        "token_endpoint": public_url("tokens_api:token_exchange"),
        "token_endpoint_auth_methods_supported": ["none"],
        "grant_types_supported": [GRANT_TYPE],
        "introspection_signing_alg_values_supported": sorted({key.algorithm for key in key_ring().keys}),
    }
