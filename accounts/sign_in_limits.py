"""How often somebody may try a password, without a stranger locking anybody out.

Attempts are counted, and not failures: of many at once none slips through between the question and the count. A
success forgets those of its own account and place. Who has signed in to an account before is known by a cookie that
cannot be forged ("device cookie" in OWASP's words), and has a count of their own: however many guesses come from
elsewhere, they go on signing in. Where a limit is reached the right password is not accepted either, and an account
that does not exist is limited like one that does, so that nobody learns anything.

A browser becomes known, too, where a password was set in it by a link from a mail: who has the mailbox is no stranger.
That is the way in for somebody with a new browser whose account is being tried without end.
"""

from dataclasses import dataclass
from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.crypto import get_random_string, salted_hmac

from opsera_portal.limits import Limit, network_of
from opsera_portal.pages.errors import too_many_requests

# From one address, to whatever accounts: also bounds how much hashing one caller can ask for.
FROM_ADDRESS = Limit("sign-in-address", amount=60, seconds=60)
# From one address to one account.
FROM_ADDRESS_TO_ACCOUNT = Limit("sign-in-address-account", amount=5, seconds=5 * 60)
# To one account, from all browsers that it does not know: holds against guesses from many addresses, and is short,
# since it also meets the account's owner in a new browser.
FROM_STRANGERS = Limit("sign-in-strangers", amount=10, seconds=2 * 60)
# To one account, from one browser that it knows.
FROM_DEVICE = Limit("sign-in-device", amount=10, seconds=5 * 60)

# Of links for a new password, from one address, whoever they are for.
RESETS_FROM_ADDRESS = Limit("password-resets-address", amount=20, seconds=60)

DEVICE_COOKIE = "__Host-device" if settings.SESSION_COOKIE_SECURE else "device"
DEVICE_AGE = 180 * 24 * 60 * 60
ACCOUNTS_OF_A_DEVICE = 5
_SALT = "accounts.sign_in_limits"

TOO_MANY = {
    FROM_ADDRESS: "Your network has tried to sign in too often in a short time.",
    FROM_ADDRESS_TO_ACCOUNT: "Your network has tried to sign in to this account too often in a short time.",
    FROM_STRANGERS: (
        "This account is being tried too often in a short time. Browsers that have signed in to it before can still "
        "do so; this one has to wait."
    ),
    FROM_DEVICE: "This browser has tried to sign in to this account too often in a short time.",
    RESETS_FROM_ADDRESS: "Your network has asked for too many links in a short time.",
}


@dataclass(frozen=True)
class Device:
    """A browser, and digests of the accounts that it has signed in to, the last one first."""

    id: str
    accounts: tuple[str, ...] = ()

    def knows(self, account: str) -> bool:
        return _digest(account) in self.accounts


def count_attempt(request: HttpRequest, account: str, *, address: str) -> None:
    """Raises allauth's ``ImmediateHttpResponse``, with status 429, where a limit is reached.

    ``account`` is the e-mail address that was typed. The first limit that is reached answers: what it stops does not
    count toward the others.
    """
    for limit, key in _limits(request, account, address):
        _take(request, limit, key)


def count_reset(request: HttpRequest, *, address: str) -> None:
    """For each link that is asked for. Raises like `count_attempt`."""
    _take(request, RESETS_FROM_ADDRESS, network_of(address))


def forget_attempts(request: HttpRequest, account: str, *, address: str) -> None:
    """After a success, which whoever guesses at the account does not have. What comes from one address to all accounts
    stays counted: else a guesser would sign in to an account of their own in between."""
    for limit, key in _limits(request, account, address):
        if limit is not FROM_ADDRESS:
            limit.forget(key)


def remember_device(request: HttpRequest, response: HttpResponseBase, account: str) -> None:
    """Makes this browser one that ``account`` knows."""
    device = _device(request) or Device(get_random_string(22))
    digest = _digest(account)
    accounts = (digest, *(other for other in device.accounts if other != digest))[:ACCOUNTS_OF_A_DEVICE]
    response.set_cookie(
        DEVICE_COOKIE,
        signing.dumps([device.id, *accounts], salt=_SALT),
        max_age=DEVICE_AGE,
        httponly=True,
        secure=settings.SESSION_COOKIE_SECURE,
        samesite="Lax",
    )


def _take(request: HttpRequest, limit: Limit, key: str) -> None:
    wait = limit.take(key)
    if wait is not None:
        minutes = -(-wait // 60)
        time = f"{wait} seconds" if wait < 60 else f"{minutes} minute{'' if minutes == 1 else 's'}"
        text = f"{TOO_MANY[limit]} Wait {time}, then try again."
        raise ImmediateHttpResponse(too_many_requests(request, text, retry_after=wait))


def _limits(request: HttpRequest, account: str, address: str) -> list[tuple[Limit, str]]:
    account = account.strip().lower()
    device = _device(request)
    if device is not None and device.knows(account):
        return [(FROM_DEVICE, f"{device.id} {account}")]
    network = network_of(address)
    return [
        (FROM_ADDRESS, network),
        (FROM_ADDRESS_TO_ACCOUNT, f"{network} {account}"),
        (FROM_STRANGERS, account),
    ]


def _device(request: HttpRequest) -> Device | None:
    try:
        content: Any = signing.loads(request.COOKIES.get(DEVICE_COOKIE, ""), salt=_SALT, max_age=DEVICE_AGE)
    except signing.BadSignature:
        return None
    device_id, *accounts = content
    return Device(device_id, tuple(accounts))


def _digest(account: str) -> str:
    """What a cookie says of an account: nothing, to whoever reads it."""
    return salted_hmac(_SALT, account.strip().lower()).hexdigest()[:22]
