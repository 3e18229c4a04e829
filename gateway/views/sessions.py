"""What the proxy in front of a service passes to the portal: `/.portal/<rest>` of the service's host.

The browser is on another host than the portal, so the portal's cookie is never here. People sign in at the portal
(`open_service.py`), which sends the browser back with a code for this browser.
"""

import re
import uuid
from datetime import timedelta
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from core.http.open_views import open_to_everybody
from core.http.public_address import public_url
from gateway import service_sessions
from gateway.models import Service
from gateway.same_origin import is_forged
from gateway.service_origins import (
    NONCE_COOKIE,
    SESSION_COOKIE,
    cookie_of,
    origin_of,
    path_on_service,
    remove_cookie,
    set_cookie,
    start_path,
)
from gateway.service_sessions import digest_of, new_secret

# Long enough to sign in at the portal.
NONCE_LASTS = timedelta(minutes=15)
_NONCE = re.compile(r"[A-Za-z0-9_-]{43}")


@open_to_everybody
@require_http_methods(["GET"])
def start(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Marks the browser with a nonce and sends it to the portal. Two tabs that start at once share the nonce.

    The answer is the same whether or not there is such a service; the page of the portal says more to people who may
    know.
    """
    service = Service.objects.filter(pk=pk).first() or Service(pk=pk)
    sent = cookie_of(service, NONCE_COOKIE, request.COOKIES)
    nonce = sent if _NONCE.fullmatch(sent) else new_secret()
    query = {"then": path_on_service(request.GET.get("then", "")), "start": digest_of(nonce)}
    response = HttpResponseRedirect(f"{public_url('services:open', pk)}?{urlencode(query, safe='/')}")
    set_cookie(response, service, NONCE_COOKIE, nonce, max_age=int(NONCE_LASTS.total_seconds()))
    return response


@open_to_everybody
@require_http_methods(["GET"])
def finish(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Exchanges the code for the cookie. A code that doesn't work starts again, at a page with a button."""
    service = _find(pk)
    then = path_on_service(request.GET.get("then", ""))
    nonce = cookie_of(service, NONCE_COOKIE, request.COOKIES)
    finished = service_sessions.finish(service, code=request.GET.get("code", ""), nonce=nonce)
    if finished is None:
        return HttpResponseRedirect(f"{origin_of(service)}{start_path(then)}")
    cookie, lasts = finished
    response = HttpResponseRedirect(f"{origin_of(service)}{then}")
    remove_cookie(response, service, NONCE_COOKIE)
    set_cookie(response, service, SESSION_COOKIE, cookie, max_age=int(lasts.total_seconds()))
    return response


@csrf_exempt
@open_to_everybody
@require_http_methods(["GET", "POST"])
def sign_out(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """POST, from a form of the service, ends the session. GET leads to the page of the portal that asks first."""
    service = _find(pk)
    if request.method == "GET":
        return HttpResponseRedirect(public_url("services:sign_out", pk))
    if is_forged(request, "POST", origin_of(service)):
        raise PermissionDenied("Another site sent this form.")
    session = service_sessions.find(pk, request.COOKIES)
    if session is not None:
        session.delete()
    response = HttpResponseRedirect(public_url("services:list"))
    remove_cookie(response, service, SESSION_COOKIE)
    return response


def _find(pk: uuid.UUID) -> Service:
    service = Service.objects.filter(pk=pk).opened_in_browsers().first()
    if service is None or not origin_of(service):
        raise Http404
    return service
