"""How many requests a token, a person and an address may make: 429 with ``Retry-After`` for what is beyond.

Three limits, set by the environment (docs/settings.md). For each token; for each person, all their tokens and session
together; and for each address that shows nothing genuine: no credentials, or a token that was not made here. A genuine
token never counts toward its address, live or ended: nobody is locked out by a neighbor's forgotten script.

DRF's own throttles are asked after the permissions. Here they come before, so that what the permissions refuse is
counted too, and after the caller is known, so that each throttled use of a token stands in its log.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.exceptions import Throttled
from rest_framework.request import Request

from core.rate_limits import Limit, network_of
from core.types import AccessToken

if TYPE_CHECKING:
    from core.environment import Rate

# draft-ietf-httpapi-ratelimit-headers: Structured Fields (RFC 9651), one item for each limit.
HEADERS = {
    "RateLimit-Policy": (
        'The limits of this token and of its owner: `"token";q=1200;w=60` means 1200 requests in 60 seconds. '
        "Only with a genuine token."
    ),
    "RateLimit": (
        'What is left: `"token";r=1150;t=30` means 1150 requests for the next 30 seconds. Only with a genuine token.'
    ),
}

# Each process writes its count down this many times until a limit is reached, however large the limit is.
WRITES_UP_TO_LIMIT = 20


def check(request: Request) -> None:
    """Counts a request whose caller is known. Raises ``Throttled``.

    An ended token does not come here, its refusal has been raised before: it opens nothing, each use of it is logged
    with the true reason, and it must not use up what its owner's live tokens may do.
    """
    if request.auth is not None:
        _take("token", settings.API_LIMIT_TOKEN, str(request.auth.pk), "This token has")
    if request.user.is_authenticated:
        _take("user", settings.API_LIMIT_USER, str(request.user.pk), "You and all your tokens together have")
    else:
        check_address(request._request)


def check_address(request: HttpRequest) -> None:
    """Counts a request that shows nothing genuine. Raises ``Throttled``."""
    _take("address", settings.API_LIMIT_ADDRESS, neighborhood(request), "Your address has")


def neighborhood(request: HttpRequest) -> str:
    """The caller's address as it is counted; one for all whose address is not known."""
    address: str | None = request.client_address  # type: ignore[attr-defined]
    return network_of(address)


def announce(response: HttpResponseBase, token: AccessToken) -> None:
    """Says in the head of an answer what this token may still do. Costs no query: what this process knows is told."""
    policies, states = [], []
    for name, rate, key in (
        ("token", settings.API_LIMIT_TOKEN, token.pk),
        ("user", settings.API_LIMIT_USER, token.owner_id),
    ):
        if rate is not None:
            left, seconds = _limit(name, rate).left(str(key))
            policies.append(f'"{name}";q={rate.amount};w={rate.seconds}')
            states.append(f'"{name}";r={left};t={seconds}')
    if policies:
        response.headers["RateLimit-Policy"] = ", ".join(policies)
        response.headers["RateLimit"] = ", ".join(states)


@lru_cache(maxsize=16)
def _limit(name: str, rate: "Rate") -> Limit:
    return Limit(f"api-{name}", rate.amount, rate.seconds, batch=max(1, rate.amount // WRITES_UP_TO_LIMIT))


def _take(name: str, rate: "Rate | None", key: str, who: str) -> None:
    if rate is None:
        return
    wait = _limit(name, rate).take(key)
    if wait is not None:
        raise Throttled(wait, f"{who} made more than {rate.amount} requests within {rate.seconds} seconds.")
