"""Calls a service with a token of five minutes, and says what happened at each hop.

It shows whether the proxy in front of the service really asks the portal: without a token the call must be refused, and
with one it must be in the log.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import httpx
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.debug import sensitive_variables

from accounts.access_tokens import access_tokens
from accounts.models import User
from auditlog.models import TokenUse
from core.errors import DomainError
from core.http import fenced_call
from core.types import AccessToken
from gateway.models import Service

LIFETIME = timedelta(minutes=5)
ANSWER_LIMIT_BYTES = 64 * 1024


class NoAddress(DomainError):
    code = "no_address"
    message = gettext_lazy("This service has no address. Enter one first, so that the portal knows what to call.")


class MayNotUse(DomainError):
    code = "may_not_use"
    message = gettext_lazy("You can't use this service yourself, so you can't test it. Give yourself access first.")


@dataclass(frozen=True)
class Hop:
    """One part of the way. ``is_good`` is ``None`` for a fact that is neither good nor bad."""

    title: str
    said: str
    is_good: bool | None = None


@sensitive_variables()
def call(*, actor: User, service: Service, method: str, path: str, request: HttpRequest | None) -> list[Hop]:
    """The hops of one call without a token and one with a token that has all scopes of the service.

    The token ends with the call. Raises ``NoAddress``, ``MayNotUse``, ``NotAllowed``, ``ValidationError``, and what
    creating a token raises.
    """
    if not service.address:
        raise NoAddress
    if not Service.objects.usable_by(actor).filter(pk=service.pk).exists():
        raise MayNotUse
    url = _url_of(service, path)
    token, encoded = access_tokens().issue_for_test(
        actor, service_id=service.pk, name=f"test of {service.slug}", lifetime=LIFETIME, request=request
    )
    try:
        without = _call(method, url, "")
        with_token = _call(method, url, encoded)
    finally:
        access_tokens().end_test(token, actor=actor, request=request)
    return list(_hops(service, token, method, url, without, with_token))


@dataclass(frozen=True)
class _Answer:
    """``status``: ``None`` if there was no answer; ``problem`` then says why."""

    status: int | None
    milliseconds: int
    problem: str = ""


def _url_of(service: Service, path: str) -> str:
    if not path.startswith("/"):
        raise ValidationError({"path": gettext("The path must start with /.")})
    url = service.address.rstrip("/") + path
    try:
        fenced_call.check_url(url)
    except ValueError as error:
        raise ValidationError({"path": str(error)}) from None
    return url


@sensitive_variables()
def _call(method: str, url: str, encoded: str) -> _Answer:
    headers = {"User-Agent": "Opsera-Portal", "Accept": "application/json", "Connection": "close"}
    if encoded:
        headers["Authorization"] = f"Bearer {encoded}"
    started_at = time.perf_counter()
    try:
        response, _body = fenced_call.send(
            httpx.Request(method, url, headers=headers), limit=ANSWER_LIMIT_BYTES, caller="services"
        )
    except fenced_call.CallFailed as error:
        return _Answer(None, 0, str(error))
    return _Answer(response.status_code, round((time.perf_counter() - started_at) * 1000))


def _hops(
    service: Service, token: AccessToken, method: str, url: str, without: _Answer, with_token: _Answer
) -> Iterator[Hop]:
    yield Hop(gettext("The portal made a token"), gettext("It has all scopes of the service, and five minutes."), True)
    yield _without_token(without)
    yield _with_token(method, url, with_token)
    if with_token.status is not None:
        yield _asked(service, token)
    yield Hop(gettext("The portal expired the token"), gettext("Nobody can use it any more."), True)


def _without_token(answer: _Answer) -> Hop:
    title = gettext("A call without a token")
    if answer.status is None:
        return Hop(title, answer.problem, False)
    if answer.status in (401, 403):
        return Hop(
            title, gettext("%(status)s: the service refuses it, as it should.") % {"status": answer.status}, True
        )
    if answer.status < 300:
        said = gettext("%(status)s: the service answers everybody. Nothing checks who calls it.")
        return Hop(title, said % {"status": answer.status}, False)
    return Hop(title, gettext("The service answered %(status)s.") % {"status": answer.status})


def _with_token(method: str, url: str, answer: _Answer) -> Hop:
    title = gettext("%(method)s %(url)s with the token") % {"method": method, "url": url}
    if answer.status is None:
        return Hop(title, answer.problem, False)
    values = {"status": answer.status, "milliseconds": answer.milliseconds}
    return Hop(title, gettext("%(status)s after %(milliseconds)s ms.") % values, answer.status < 400)


def _asked(service: Service, token: AccessToken) -> Hop:
    """What the log says about this token: who asked the portal, and what it answered."""
    title = gettext("The question to the portal")
    uses = TokenUse.objects.filter(token=token.pk).order_by("-at", "-id")
    use = uses.first()
    if use is None:
        return Hop(title, _nobody_asked(service), service.uses_status_list or False)
    said = gettext("The portal was asked about %(method)s %(path)s, and answered: %(reason)s.")
    values = {"method": use.method, "path": use.target, "reason": use.get_reason_display()}
    return Hop(title, said % values, use.outcome == TokenUse.Outcome.ALLOWED)


def _nobody_asked(service: Service) -> str:
    if service.uses_status_list:
        return gettext("Nobody asked, because this service checks tokens itself. It reports the use later.")
    return gettext("Nobody asked the portal about this token. Does the proxy or the service have the lines above?")
