"""Sessions of people at services: opening, finishing, finding and ending them.

A session belongs to a session of the portal and ends with it: when the person signs out, is signed out everywhere or is
deactivated, and 12 hours after they signed in. Like a session of the portal, it also ends when it was not used for two
hours. The portal's own idle limit does not end it: people work at the service, not at the portal.
"""

import secrets
import threading
import uuid
from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256

from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import User
from accounts.security.required_two_factor import has_shown_second_factor
from accounts.security.sessions import IDLE, LONGEST, row_of
from auditlog.actions import Action
from auditlog.record import record
from core.errors import NotAllowed
from gateway.models import Check, Service, ServiceSession
from gateway.service_origins import SESSION_COOKIE, SESSION_COOKIE_NAMES, cookie_of, origin_of

CODE_LASTS = timedelta(minutes=1)
# How often the use of a session is stored: proxies ask at each request.
NOTED_EVERY = timedelta(minutes=10)
REMOVED_EVERY = timedelta(hours=1)


def new_secret() -> str:
    return secrets.token_urlsafe(32)


def digest_of(secret: str) -> str:
    return sha256(secret.encode(errors="surrogatepass")).hexdigest()


def open_service(*, actor: User, service: Service, nonce_digest: str, request: HttpRequest) -> str:
    """Begins a session of the actor at the service. Returns the code for the browser with this nonce."""
    portal_session = row_of(request)
    if portal_session is None or not can_open(actor, service):
        raise NotAllowed
    code = new_secret()
    with transaction.atomic():
        ServiceSession.objects.create(
            service=service,
            portal_session=portal_session,
            has_second_factor=has_shown_second_factor(request),
            nonce_digest=nonce_digest,
            code_digest=digest_of(code),
            expires_at=timezone.now() + CODE_LASTS,
        )
        record(actor=actor, action=Action.SERVICE_OPENED, target=service, request=request)
    return code


def can_open(person: User, service: Service) -> bool:
    usable = Service.objects.usable_by(person).opened_in_browsers()
    return bool(origin_of(service)) and usable.filter(pk=service.pk).exists()


def opens_in_browsers(service: Service) -> bool:
    return service.allows_sessions and service.check_by == Check.FORWARD_AUTH and bool(origin_of(service))


def finish(service: Service, *, code: str, nonce: str) -> tuple[str, timedelta] | None:
    """Exchanges the code for the cookie of the session and its lifetime. ``None`` if the code is of another browser or
    service, too old, or used. If it is sent twice at once, the database decides who gets the cookie."""
    now = timezone.now()
    waiting = ServiceSession.objects.working(now).filter(
        service=service, code_digest=digest_of(code), nonce_digest=digest_of(nonce), cookie_digest=None
    )
    session = waiting.select_related("portal_session").first()
    if session is None:
        return None
    cookie, ends_at = new_secret(), session.portal_session.created_at + LONGEST
    is_first = waiting.filter(pk=session.pk).update(cookie_digest=digest_of(cookie), seen_at=now, expires_at=ends_at)
    return (cookie, ends_at - now) if is_first else None


def find(service_id: uuid.UUID, cookies: Mapping[str, str]) -> ServiceSession | None:
    """The session at this service whose cookie the browser sends, if it works now."""
    now = timezone.now()
    sent = [digest_of(cookies[name]) for name in SESSION_COOKIE_NAMES if name in cookies]
    if not sent:
        return None
    rows = ServiceSession.objects.working(now).filter(
        service=service_id, cookie_digest__in=sent, seen_at__gt=now - IDLE
    )
    found = rows.select_related("service", "portal_session__user__organization")
    return next((session for session in found if _is_of(session, cookies)), None)


def _is_of(session: ServiceSession, cookies: Mapping[str, str]) -> bool:
    """Whether the cookie has the name that the address of the service needs, and the person need not sign in again."""
    has_name = digest_of(cookie_of(session.service, SESSION_COOKIE, cookies)) == session.cookie_digest
    return has_name and (session.has_second_factor or not session.person.needs_two_factor)


def note_use(session: ServiceSession) -> None:
    now = timezone.now()
    if now - session.seen_at >= NOTED_EVERY:
        ServiceSession.objects.filter(pk=session.pk).update(seen_at=now)


def end_all(service: Service, request: HttpRequest) -> None:
    """Ends the sessions at the service that belong to the portal session of this request."""
    ServiceSession.objects.filter(service=service, portal_session=row_of(request)).delete()


def forget_past(stopping: threading.Event) -> None:
    now = timezone.now()
    ServiceSession.objects.filter(expires_at__lt=now).delete()
    ServiceSession.objects.filter(seen_at__lt=now - IDLE).delete()
