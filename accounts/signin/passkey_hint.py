"""A cookie that remembers whether the last sign-in in this browser was with a passkey alone.

The sign-in page then offers the passkey first. The cookie names no account, and other browsers don't get it, so it
doesn't reveal whether an account has a passkey.
"""

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from accounts.allauth_internals import webauthn_flows
from accounts.models import User

COOKIE = "__Host-passkey" if settings.SESSION_COOKIE_SECURE else "passkey"
REMEMBERED_FOR_S = 180 * 24 * 60 * 60
USED = "used"


def note_sign_in(request: HttpRequest, response: HttpResponseBase, user: User) -> None:
    if webauthn_flows.did_use_passwordless_login(request, user):
        response.set_cookie(
            COOKIE,
            USED,
            max_age=REMEMBERED_FOR_S,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
    elif COOKIE in request.COOKIES:
        response.delete_cookie(COOKIE, samesite="Lax")


def passkey_was_used(request: HttpRequest) -> bool:
    return request.COOKIES.get(COOKIE) == USED
