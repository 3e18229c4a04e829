"""What accounts and services can do with people's tokens (accounts/access_tokens.py)."""

import uuid
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, cast

from django.db.models import Count, OuterRef, Subquery
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce
from django.http import HttpRequest

from accounts.access_tokens import AccessTokens
from accounts.models import User
from auditlog.actions import Action
from core.types import AccessToken
from tokens import for_services, jwt, services
from tokens.authentication import check_encoded, check_token
from tokens.leaks import finding, reporting
from tokens.models import Token


class TokensOfPeople(AccessTokens):
    def live_count(self) -> Combinable:
        tokens = Token.objects.live().filter(owner=OuterRef("pk")).order_by()
        return Coalesce(Subquery(tokens.values("owner").annotate(count=Count("*")).values("count")), 0)

    def expire_all(self, *, actor: User, reason: str, request: HttpRequest) -> int:
        return services.revoke_own(actor=actor, reason=reason, request=request)

    def expire_all_of(self, owner: User, *, actor: User, reason: str, request: HttpRequest | None) -> None:
        ids = list(Token.objects.owned_by(owner).live().values_list("pk", flat=True))
        services.end_tokens(ids, action=Action.TOKEN_REVOKED, ended_by=actor, reason=reason, request=request)

    def check(self, request: HttpRequest, header: str, *, service_id: uuid.UUID) -> AccessToken:
        return check_token(request, header, service_id=service_id)

    def check_sent(self, request: HttpRequest, encoded: str, *, service_id: uuid.UUID) -> AccessToken:
        return check_encoded(request, encoded, service_id=service_id)

    def claims_of(self, token: AccessToken) -> dict[str, Any]:
        return for_services.claims_of(cast(Token, token))

    def sign_introspection(self, answer: dict[str, Any], *, client_id: str) -> str:
        return jwt.sign_introspection(answer, client_id=client_id)

    def revoke_by_service(
        self, encoded: str, *, service_id: uuid.UUID, service_name: str, request: HttpRequest
    ) -> None:
        for_services.revoke_by_service(encoded, service_id=service_id, service_name=service_name, request=request)

    def report(self, encoded: str, *, request: HttpRequest) -> None:
        reporting.check_limit(request)
        reporting.report_tokens(token_ids=finding.genuine_token_ids([encoded]), request=request)

    def metadata(self) -> dict[str, Any]:
        return for_services.metadata()

    def of_service(self, service_id: uuid.UUID, ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, Token]:
        return Token.objects.filter(service=service_id).select_related("owner", "organization").in_bulk(list(ids))

    def issue_for_test(
        self, actor: User, *, service_id: uuid.UUID, name: str, lifetime: timedelta, request: HttpRequest | None
    ) -> tuple[Token, str]:
        return for_services.issue_for_test(actor, service_id=service_id, name=name, lifetime=lifetime, request=request)

    def end_test(self, token: AccessToken, *, actor: User, request: HttpRequest | None) -> None:
        for_services.end_test(cast(Token, token), actor=actor, request=request)
