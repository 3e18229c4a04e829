"""Limits how many requests a token, a person and an address can make: 429 with ``Retry-After`` above the limit.

There are three limits, set in the environment (docs/settings.md): for each token; for each person, with all of their
tokens and their session together; and for each address without genuine credentials: none at all, or a token that this
portal did not issue. A genuine token, live or ended, never counts toward its address, so that nobody is locked out by
a neighbor's forgotten script.

DRF checks its throttles after the permissions. These limits are checked before, so that requests which the permissions
refuse count too, but after authentication, so that each throttled use of a token is logged.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.exceptions import Throttled
from rest_framework.request import Request

from core.http.own_headers import Checked, checked, set_checked, set_own
from core.rate_limits import Limit, network_of
from core.types import AccessToken

if TYPE_CHECKING:
    from core.setting_readers import Rate

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

# Each process stores its count this many times until a limit is reached, however large the limit is.
WRITES_UP_TO_LIMIT = 20


def check(request: Request) -> None:
    """Counts a request after authentication. Raises ``Throttled``.

    Requests with an ended token don't get here, because they were refused before: each is logged with its real reason,
    and none counts toward the limit of its owner's live tokens.
    """
    if request.auth is not None:
        _take("token", settings.API_LIMIT_TOKEN, request.auth.pk, "This token has")
    if request.user.is_authenticated:
        _take("user", settings.API_LIMIT_USER, request.user.pk, "You and all your tokens together have")
    else:
        check_address(request._request)


def check_address(request: HttpRequest) -> None:
    """Counts a request without genuine credentials. Raises ``Throttled``."""
    _take("address", settings.API_LIMIT_ADDRESS, neighborhood(request), "Your address has")


def neighborhood(request: HttpRequest) -> str:
    """The key under which the client's address is counted; all unknown addresses share one."""
    address: str | None = request.client_address  # type: ignore[attr-defined]
    return network_of(address)


def announce(response: HttpResponseBase, token: AccessToken) -> None:
    """Adds headers with the requests that this token has left, from what this process knows, without a query."""
    of_token, of_user = settings.API_LIMIT_TOKEN, settings.API_LIMIT_USER
    states = [
        _state(name, rate, key)
        for name, rate, key in (("token", of_token, token.pk), ("user", of_user, token.owner_id))
        if rate is not None
    ]
    if states:
        set_checked(response, _policy(of_token, of_user))
        set_own(response, "RateLimit", ", ".join(states))


@lru_cache(maxsize=16)
def _policy(of_token: "Rate | None", of_user: "Rate | None") -> Checked:
    rates = {"token": of_token, "user": of_user}
    policies = [f'"{name}";q={rate.amount};w={rate.seconds}' for name, rate in rates.items() if rate is not None]
    return checked({"RateLimit-Policy": ", ".join(policies)})


def _state(name: str, rate: "Rate", key: object) -> str:
    left, seconds = _limit(name, rate).left(key)
    return f'"{name}";r={left};t={seconds}'


@lru_cache(maxsize=16)
def _limit(name: str, rate: "Rate") -> Limit:
    return Limit(f"api-{name}", rate.amount, rate.seconds, batch=max(1, rate.amount // WRITES_UP_TO_LIMIT))


def _take(name: str, rate: "Rate | None", key: object, who: str) -> None:
    if rate is None:
        return
    wait = _limit(name, rate).take(key)
    if wait is not None:
        raise Throttled(wait, f"{who} made more than {rate.amount} requests within {rate.seconds} seconds.")
