"""Limits how often passwords can be tried, without letting a stranger lock anybody out.

Every attempt counts, not only failures, so that simultaneous attempts can't get past the limit. A successful sign-in
resets the count for its account and its address. At the limit, the correct password is refused too, and accounts that
don't exist have the same limits, so that a guesser learns nothing.

A browser that has signed in to an account has a signed cookie ("device cookie" in OWASP's terms), and limits of its
own: however many guesses come from elsewhere, the owner can still sign in there. The cookie contains a digest of the
account and its password hash, so a new password invalidates all cookies. All known browsers of an account share another
limit, so that collecting cookies gives no more guesses.

Setting a password by a link from a mail also makes the browser known, because only the owner reads the mailbox. This
lets owners in with a new browser while somebody keeps guessing at their account.
"""

from dataclasses import dataclass
from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.crypto import get_random_string, salted_hmac
from django.utils.translation import gettext_lazy, ngettext

from accounts.models import User
from core.pages.errors import too_many_requests
from core.rate_limits import Limit, network_of
from core.text import grouped

# From one address, to any account, by known and unknown browsers. Also bounds how much hashing one caller can cause.
FROM_ADDRESS = Limit("sign-in-address", amount=60, seconds=60)
# From one address to one account.
FROM_ADDRESS_TO_ACCOUNT = Limit("sign-in-address-account", amount=5, seconds=5 * 60)
# To one account, from all unknown browsers: protects against guesses from many addresses. The time is short, because it
# also affects the account's owner in a new browser.
FROM_STRANGERS = Limit("sign-in-strangers", amount=10, seconds=2 * 60)
# To one account, from one known browser; and from all known browsers together.
FROM_DEVICE = Limit("sign-in-device", amount=10, seconds=5 * 60)
FROM_DEVICES = Limit("sign-in-devices", amount=20, seconds=5 * 60)

# Requests for links to a new password, from one address, for any account; and passwords set by such links.
RESETS_FROM_ADDRESS = Limit("password-resets-address", amount=20, seconds=60)
LINKS_FROM_ADDRESS = Limit("password-links-address", amount=20, seconds=60)
# Passkeys can't be guessed: this only limits the work.
PASSKEYS_FROM_ADDRESS = Limit("passkey-sign-ins-address", amount=60, seconds=60)
# Answers of one person to "is it still you?", right or wrong.
AGAIN_OF_PERSON = Limit("sign-in-again-person", amount=10, seconds=60)

DEVICE_COOKIE = "__Host-device" if settings.SESSION_COOKIE_SECURE else "device"
DEVICE_AGE = 180 * 24 * 60 * 60
ACCOUNTS_OF_A_DEVICE = 5
# Never change the salt: browsers would no longer be known.
_SALT = "accounts.sign_in_limits"

TOO_MANY = {
    FROM_ADDRESS: gettext_lazy("Your network has tried to sign in too often in a short time."),
    FROM_ADDRESS_TO_ACCOUNT: gettext_lazy(
        "Your network has tried to sign in to this account too often in a short time."
    ),
    FROM_STRANGERS: gettext_lazy(
        "There are too many attempts to sign in to this account. Browsers that have signed in to it before can still "
        "do so; this one has to wait."
    ),
    FROM_DEVICE: gettext_lazy("This browser has tried to sign in to this account too often in a short time."),
    FROM_DEVICES: gettext_lazy(
        "Browsers that have signed in to this account before have tried too often in a short time."
    ),
    RESETS_FROM_ADDRESS: gettext_lazy("Your network has requested too many links in a short time."),
    LINKS_FROM_ADDRESS: gettext_lazy("Your network has set too many passwords in a short time."),
    PASSKEYS_FROM_ADDRESS: gettext_lazy("Your network has tried to sign in with passkeys too often in a short time."),
    AGAIN_OF_PERSON: gettext_lazy("You have tried this too often in a short time."),
}


# Limits, each with the key that an attempt is counted under.
Counted = list[tuple[Limit, str]]


@dataclass(frozen=True)
class Device:
    """A browser, and digests of the accounts that it has signed in to, the latest first."""

    id: str
    accounts: tuple[str, ...] = ()


def count_attempt(request: HttpRequest, account: str, *, address: str) -> Counted:
    """Counts one attempt. Pass the returned value to `forget_attempts`.

    Raises allauth's ``ImmediateHttpResponse`` with status 429 if a limit is reached. ``account`` is the e-mail address
    that was typed. An attempt that one limit refuses does not count toward the limits after it.
    """
    counted = _limits(request, account, address)
    for limit, key in counted:
        _take(request, limit, key)
    return counted


def count(request: HttpRequest, limit: Limit, *, address: str) -> None:
    """Counts a request by its address. Raises like `count_attempt`."""
    _take(request, limit, network_of(address))


def count_again(request: HttpRequest, person: User) -> None:
    """Counts an answer of a signed-in person. Raises like `count_attempt`."""
    _take(request, AGAIN_OF_PERSON, str(person.pk))


def forget_attempts(counted: Counted) -> None:
    """Resets the counts after a successful sign-in.

    The count for one address and all accounts stays: otherwise guessers could reset it by signing in to their own
    account.
    """
    for limit, key in counted:
        if limit is not FROM_ADDRESS:
            limit.forget(key)


def remember_device(request: HttpRequest, response: HttpResponseBase, account: str) -> None:
    """Makes this browser a known one of ``account``, an e-mail address, until the password changes."""
    device = _device(request) or Device(get_random_string(22))
    digest = _digest_of(account)
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
        text = f"{TOO_MANY[limit]} {_wait_and_try(wait)}"
        raise ImmediateHttpResponse(too_many_requests(request, text, retry_after=wait))


def _wait_and_try(seconds: int) -> str:
    if seconds < 60:
        said = ngettext("Wait %(count)s seconds, then try again.", "Wait %(count)s seconds, then try again.", seconds)
        return said % {"count": seconds}
    minutes = -(-seconds // 60)
    said = ngettext("Wait %(count)s minute, then try again.", "Wait %(count)s minutes, then try again.", minutes)
    return said % {"count": grouped(minutes)}


def _limits(request: HttpRequest, account: str, address: str) -> Counted:
    account, network = account.strip().lower(), network_of(address)
    device = _device(request)
    if device is not None and _digest_of(account) in device.accounts:
        return [(FROM_ADDRESS, network), (FROM_DEVICE, f"{device.id} {account}"), (FROM_DEVICES, account)]
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


def _digest_of(account: str) -> str:
    """A digest for cookies that reveals nothing about the account, and changes with its password.

    For an account that does not exist it does the same work; its digest is in no cookie.
    """
    account = account.strip().lower()
    password_hash = User.objects.filter(email=account).values_list("password", flat=True).first()
    return salted_hmac(_SALT, f"{password_hash or ''}\n{account}").hexdigest()[:22]
