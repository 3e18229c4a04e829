"""A person's sessions: listing the live ones, and ending them.

Each session has a row in Django's table and one in allauth's, with address and browser. Pages and API name a session by
the id of allauth's row. They never show the session's key, which opens the account; both tables store only a digest of
it (accounts/security/session_store.py).
"""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.translation import override

from accounts.models import User
from accounts.privileges import Privilege, require_proof
from accounts.security.session_store import digest_of
from accounts.security.sign_in_networks import is_outside
from accounts.security.user_agents import browser_in_words
from auditlog.actions import Action
from auditlog.record import record
from core.http.request_context import client_address, person_of

# A session ends after LONGEST even if it is in use, and after IDLE if it is not (ASVS 7.3).
LONGEST = timedelta(seconds=settings.SESSION_COOKIE_AGE)
IDLE = timedelta(hours=2)
# How often the use of a session is stored: it costs two writes, too many for each request.
NOTED_EVERY = timedelta(minutes=1)

SIGNED_IN_AT = "signed_in_at"
SEEN_AT = "seen_at"


class SessionLifetimeMiddleware:
    """Ends sessions that are too old or unused for too long, and stores when a session was used.

    Django's own limit starts again whenever something is stored in the session, such as a message. Signing out also
    clears what the browser has stored.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.user.is_authenticated:
            if has_lapsed(request):
                _end_lapsed(request)
            elif not is_outside(person_of(request), client_address(request)):
                _note_use(request)
        was_signed_in = request.user.is_authenticated
        response = self.get_response(request)
        if was_signed_in and not request.user.is_authenticated:
            # Not "cookies": one of them marks a known browser (accounts/signin/limits.py). Not "cache", which takes
            # Chromium minutes: pages are `no-store`, and secrets are removed from theirs (assets/js/secret.js).
            response["Clear-Site-Data"] = '"storage"'
        return response


def begin(request: HttpRequest) -> None:
    """Stores in the session that somebody signs in now."""
    request.session[SIGNED_IN_AT] = request.session[SEEN_AT] = int(time.time())


def add_row(request: HttpRequest, user: User) -> None:
    """Adds the session to allauth's table. allauth's own receiver would store the key itself."""
    session_key = key_of(request)
    if session_key is None:
        request.session.save()
        session_key = key_of(request)
    user_agent = request.headers.get("User-Agent", "")
    UserSession.objects.update_or_create(
        session_key=session_key,
        defaults={
            "user": user,
            "ip": get_adapter().get_client_ip(request),
            "user_agent": user_agent[: UserSession._meta.get_field("user_agent").max_length],
            "last_seen_at": timezone.now(),
        },
    )


def key_of(request: HttpRequest | None) -> str | None:
    """The digest by which the tables know the session of a request; ``None`` for tokens and commands."""
    session = getattr(request, "session", None)
    return digest_of(session.session_key) if session is not None and session.session_key else None


def has_lapsed(request: HttpRequest) -> bool:
    now = time.time()
    signed_in_at, seen_at = request.session.get(SIGNED_IN_AT, 0), request.session.get(SEEN_AT, 0)
    return bool(now - signed_in_at >= LONGEST.total_seconds() or now - seen_at >= IDLE.total_seconds())


def renew(request: HttpRequest) -> None:
    """Gives the session a new key, so that a key that somebody has seen before is useless (ASVS 7.2.4)."""
    rows = UserSession.objects.filter(session_key=key_of(request))
    request.session.cycle_key()
    rows.update(session_key=key_of(request))


def live_sessions(user: User) -> QuerySet[UserSession]:
    """The sessions that would be accepted now, the last used first."""
    return _live().filter(user=user).order_by("-last_seen_at", "-pk")


def not_ended() -> QuerySet[UserSession]:
    """Sessions that nobody has ended and that are not too old, also those that are unused for too long."""
    now = timezone.now()
    session = Session.objects.filter(session_key=OuterRef("session_key"), expire_date__gt=now)
    rows: QuerySet[UserSession] = UserSession.objects.filter(Exists(session), created_at__gt=now - LONGEST)
    return rows


def row_of(request: HttpRequest) -> UserSession | None:
    """The row of the session of a request; ``None`` for tokens."""
    return not_ended().filter(session_key=key_of(request)).first()


def _live() -> QuerySet[UserSession]:
    return not_ended().filter(last_seen_at__gt=timezone.now() - IDLE)


def live_sessions_of(people: QuerySet[User]) -> QuerySet[UserSession]:
    """The sessions of these people that would be accepted now."""
    return _live().filter(user__in=people.order_by().values("pk"))


def as_row(session: UserSession, request: HttpRequest) -> dict[str, Any]:
    """A session for the page and the API."""
    return {
        "id": session.pk,
        "browser": browser_in_words(session.user_agent),
        "address": session.ip,
        "signed_in_at": session.created_at,
        "last_seen_at": session.last_seen_at,
        "is_current": session.session_key == key_of(request),
    }


def end_session(*, actor: User, session: UserSession, request: HttpRequest) -> None:
    """Ends one of the actor's own sessions."""
    require_proof(Privilege.END_SESSION, request)
    # The log is in English.
    with override("en"):
        browser = browser_in_words(session.user_agent)
    with transaction.atomic():
        _delete(UserSession.objects.filter(pk=session.pk, user=actor))
        record(
            actor=actor,
            action=Action.SESSION_ENDED,
            target=actor,
            request=request,
            address=session.ip,
            browser=browser,
        )
    if session.session_key == key_of(request):
        logout(request)


def end_sessions(user: User, *, keep: str | None = None) -> int:
    """Ends all of a person's sessions except the one with the key ``keep``. Returns how many were live.

    The caller writes the entry in the activity log.
    """
    with transaction.atomic():
        count = live_sessions(user).exclude(session_key=keep).count()
        _delete(UserSession.objects.filter(user=user).exclude(session_key=keep))
    return count


def forget_past_sessions(stopping: threading.Event) -> None:
    """Removes the rows of sessions that have ended."""
    Session.objects.filter(expire_date__lt=timezone.now()).delete()
    session = Session.objects.filter(session_key=OuterRef("session_key"))
    # A row is created a moment after its session, so a row without one is kept for a while.
    UserSession.objects.filter(~Exists(session), last_seen_at__lt=timezone.now() - IDLE).delete()


def _delete(rows: QuerySet[UserSession]) -> None:
    keys = list(rows.values_list("session_key", flat=True))
    Session.objects.filter(session_key__in=keys).delete()
    UserSession.objects.filter(session_key__in=keys).delete()


def _end_lapsed(request: HttpRequest) -> None:
    person = person_of(request)
    with transaction.atomic():
        _delete(UserSession.objects.filter(session_key=key_of(request)))
        record(actor=person, action=Action.SESSION_ENDED, target=person, request=request, reason="lapsed")
    request.session.flush()
    request.user = AnonymousUser()
    request.session_has_lapsed = True  # type: ignore[attr-defined]


def _note_use(request: HttpRequest) -> None:
    """Ignores requests that pages send by themselves, for example to update a run: nobody may be in front of them."""
    now = time.time()
    if "HX-Request" in request.headers or now - request.session[SEEN_AT] < NOTED_EVERY.total_seconds():
        return
    request.session[SEEN_AT] = int(now)
    UserSession.objects.filter(session_key=key_of(request)).update(
        last_seen_at=timezone.now(), ip=client_address(request)
    )
