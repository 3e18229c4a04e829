"""A cookie that remembers who was last signed in in this browser.

It gives no access. With it, the sign-in page can say that a session has ended, and a form that was sent too late comes
back filled in for this person only (accounts/security/kept_forms.py).
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase

COOKIE = "__Host-last_person" if settings.SESSION_COOKIE_SECURE else "last_person"
REMEMBERED_FOR_S = 7 * 24 * 60 * 60
# Never change the salt: browsers would no longer remember who was signed in.
_SALT = "accounts.last_person"


@dataclass(frozen=True)
class LastPerson:
    """``id``: empty if it is only known that a session ended. ``signed_out``: the person signed out themselves."""

    id: str = ""
    signed_out: bool = False


class LastPersonMiddleware:
    """Reads the cookie into ``request.last_person``, and updates it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        before = _read(request)
        known = before
        was_signed_in = request.user.is_authenticated
        if was_signed_in:
            known = LastPerson(str(request.user.pk))
        elif before is None and _has_dead_session(request):
            known = LastPerson()
        request.last_person = known  # type: ignore[attr-defined]
        response = self.get_response(request)
        if request.user.is_authenticated:
            known = LastPerson(str(request.user.pk))
        elif known and was_signed_in and not getattr(request, "session_has_lapsed", False):
            known = LastPerson(known.id, signed_out=True)
        if known and known != before:
            _write(response, known)
        return response


def last_person(request: HttpRequest) -> LastPerson | None:
    found: LastPerson | None = getattr(request, "last_person", None)
    return found


def session_has_ended(request: HttpRequest) -> bool:
    """Whether a session has expired in this browser, and nobody has signed in since."""
    known = last_person(request)
    return known is not None and not known.signed_out and not request.user.is_authenticated


def _has_dead_session(request: HttpRequest) -> bool:
    return settings.SESSION_COOKIE_NAME in request.COOKIES and request.session.is_empty()


def _read(request: HttpRequest) -> LastPerson | None:
    if COOKIE not in request.COOKIES:
        return None
    try:
        person_id, signed_out = signing.loads(request.COOKIES[COOKIE], salt=_SALT, max_age=REMEMBERED_FOR_S)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    return LastPerson(person_id, signed_out)


def _write(response: HttpResponseBase, known: LastPerson) -> None:
    response.set_cookie(
        COOKIE,
        signing.dumps([known.id, known.signed_out], salt=_SALT),
        max_age=REMEMBERED_FOR_S,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
