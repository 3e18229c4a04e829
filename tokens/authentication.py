"""The checks of a token that come before its scopes (docs/product.md#how-a-token-is-checked, 1 to 3).

`check_token` lists them in order. The first check that fails decides the answer. Once the
token is known to be genuine, this use is written to its owner's log, whatever the answer is.
"""

import logging
import re
import uuid
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING

from django.http import HttpRequest
from django.utils import timezone
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTAuthentication

from auditlog.open_use import use_of
from core.api import throttling
from core.api.problems import TokenRefused, bearer_challenge
from core.networks import is_inside
from tokens import jwt
from tokens.models import Token
from tokens.policy.rules import obstacle
from tokens.record_query import find_token
from tokens.uses import take_use

if TYPE_CHECKING:
    from accounts.models import Organization, User

logger = logging.getLogger(__name__)

_CREDENTIALS = re.compile(r"bearer +([A-Za-z0-9._~+/=-]+)", re.IGNORECASE)
_not_genuine_since_start = count(1)


class AccessTokenAuthentication(JWTAuthentication):
    """DRF authentication with a personal access token. ``request.auth`` becomes the token's record."""

    def __init__(self) -> None:
        """Skips simplejwt's own, which sets up a query for the user: `_known` loads token, owner and organization."""

    def authenticate(self, request: Request) -> "tuple[User, Token] | None":
        header = request.META.get("HTTP_AUTHORIZATION")
        if header is None:
            return None
        token = check_token(request._request, header)
        return token.owner, token

    def authenticate_header(self, request: Request) -> str:
        return bearer_challenge()


def check_token(request: HttpRequest, header: str, *, service_id: uuid.UUID | None = None) -> Token:
    """The token in this ``Authorization`` header, after all checks. ``service_id``: the service that it must be for;
    ``None`` for the portal's own API. Raises ``TokenRefused`` or ``Throttled``."""
    use_of(request).was_looked_at = True
    return check_encoded(request, _bearer(request, header), service_id=service_id)


def check_encoded(request: HttpRequest, encoded: str, *, service_id: uuid.UUID | None) -> Token:
    """As `check_token`, for a token that the request has elsewhere."""
    use = use_of(request)
    use.was_looked_at = True
    claims = _genuine(request, encoded)
    token = _known(request, claims)
    use.token = token
    _check_audience(token, service_id)
    _check_in_time(token, claims)
    _check_owner(token)
    _check_not_revoked(token)
    _check_revealed(token)
    organization = token.organization
    _check_policy(token, organization)
    if token.not_before is not None:
        _check_started(token, use.at)
    if token.networks:
        _check_network(token, use.client_ip)
    if organization.token_networks:
        _check_network_of_organization(organization, use.client_ip)
    if token.max_uses is not None:
        _take_use(token, use.at)
    if token.is_limited:
        token.owner.limited_by_token = token.pk
    use.was_accepted = True
    return token


def _bearer(request: HttpRequest, header: str) -> str:
    """The credentials of exactly one ``Authorization: Bearer`` header, with the scheme in any case (RFC 9110).

    The server joins repeated headers with a comma, which no token contains. Tokens in a query string, a form or a
    cookie are ignored.
    """
    match = _CREDENTIALS.fullmatch(header.strip())
    if match is None:
        raise _not_genuine(request, "a header that is not one bearer token")
    return match[1]


def _genuine(request: HttpRequest, encoded: str) -> jwt.VerifiedClaims:
    try:
        return jwt.decode(encoded)
    except jwt.NotGenuine as error:
        raise _not_genuine(request, str(error)) from None


def _known(request: HttpRequest, claims: jwt.VerifiedClaims) -> Token:
    """The token's record with its owner and organization."""
    token = find_token(token_id=claims.token_id, owner_id=claims.owner_id)
    if token is None:
        raise _not_genuine(request, "no record of this token")
    # Somebody who has stolen one of several keys can sign tokens of that key only, and retiring it ends all of them.
    if token.signing_key_id not in ("", claims.key_id):
        raise _not_genuine(request, "signed with another key than its record says")
    if token.service_id != claims.service_id:
        raise _not_genuine(request, "signed for another audience than its record says")
    return token


def _check_audience(token: Token, service_id: uuid.UUID | None) -> None:
    """A token that leaks at one service opens no other one, and not the portal (RFC 8707)."""
    if token.service_id != service_id:
        made_for = "one service" if token.service_id else "the API of the portal"
        raise TokenRefused("wrong_audience", f"The token was made for {made_for} and opens nothing else.")


def _check_in_time(token: Token, claims: jwt.VerifiedClaims) -> None:
    now = timezone.now()
    if token.max_uses is not None and token.is_used_up:
        raise _used_up()
    if now >= claims.expires_at or now >= token.expires_at:
        raise TokenRefused("expired", "The token has expired.")
    if token.not_before is None and now < claims.not_before - jwt.NOT_BEFORE_LEEWAY:
        raise TokenRefused("invalid_request", "The token is not valid yet.")


def _check_owner(token: Token) -> None:
    if not token.owner.is_active or token.owner.organization_id != token.organization_id:
        raise TokenRefused("owner_deactivated", "The owner of the token is deactivated.")


def _check_not_revoked(token: Token) -> None:
    if token.revoked_at is not None:
        raise TokenRefused("revoked", "The token was expired early.")


def _check_revealed(token: Token) -> None:
    if token.revealed_at is None:
        raise TokenRefused("not_revealed", "The token was never shown to its owner.")


def _check_policy(token: Token, organization: "Organization") -> None:
    if rule := obstacle(token, organization, timezone.now()):
        raise TokenRefused("blocked_by_policy", rule.advice(token, organization))


def _check_started(token: Token, at: datetime) -> None:
    """The claim `nbf` has the same time. There is no leeway: the owner has chosen this time."""
    if not token.has_started(at):
        raise TokenRefused("not_started", f"The token works from {token.not_before:%Y-%m-%dT%H:%M:%SZ} on.")


def _check_network(token: Token, address: str | None) -> None:
    if not is_inside(token.networks, address):
        raise TokenRefused("network_not_allowed", f"The token can't be used from {address or 'an unknown address'}.")


def _check_network_of_organization(organization: "Organization", address: str | None) -> None:
    if not is_inside(organization.token_networks, address):
        raise TokenRefused(
            "network_policy",
            f"Your organization's policy doesn't let tokens be used from {address or 'an unknown address'}.",
        )


def _take_use(token: Token, at: datetime) -> None:
    """The last check: a request that is refused for another reason takes no use."""
    if not take_use(token, at=at):
        raise _used_up()


def _used_up() -> TokenRefused:
    return TokenRefused("used_up", "The token could be used only a number of times, and all uses are taken.")


def _not_genuine(request: HttpRequest, why: str) -> TokenRefused:
    """Counts the refusal and writes it to the server's own log, without the token.

    It is not written to a person's log, so that strangers can't fill that. They can't fill the server's log either:
    above the limit of their address, this raises ``Throttled`` and writes nothing.
    """
    number = next(_not_genuine_since_start)
    throttling.check_address(request)
    logger.warning(
        "Refused a token that is not genuine: %s; from %s, request %s, number %d since the start of this process",
        why,
        getattr(request, "client_address", None),
        getattr(request, "request_id", None),
        number,
    )
    return TokenRefused("invalid_token", "The token is not valid.")
