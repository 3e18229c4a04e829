"""How many requests a token, a person and an address may make: 429 with ``Retry-After`` for what is beyond.

Three limits, set by the environment (README). For each token; for each person, all their tokens and their session
together; and for each address that shows nothing genuine: no credentials, or a token that was not made here. A genuine
token never counts toward its address, live or ended: nobody is locked out by a neighbor's forgotten script.

DRF's own throttles are asked after the permissions. Here they come before, so that what the permissions refuse is
counted too, and after the caller is known, so that each throttled use of a token stands in its log.
"""

from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpRequest
from rest_framework.exceptions import Throttled
from rest_framework.request import Request

from opsera_portal.limits import Limit, network_of

if TYPE_CHECKING:
    from opsera_portal.environment import Rate

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


def _take(name: str, rate: "Rate | None", key: str, who: str) -> None:
    if rate is None:
        return
    limit = Limit(f"api-{name}", rate.amount, rate.seconds, batch=max(1, rate.amount // WRITES_UP_TO_LIMIT))
    wait = limit.take(key)
    if wait is not None:
        raise Throttled(wait, f"{who} made more than {rate.amount} requests within {rate.seconds} seconds.")
