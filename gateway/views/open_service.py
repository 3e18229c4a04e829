"""Pages: the services that a person may use, and opening one in the browser."""

import re
import uuid
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy
from django.views.generic import TemplateView, View

from accounts.models import User
from core.pages.confirm import confirm_page
from core.pages.views import MemberPageMixin
from gateway import service_sessions
from gateway.models import Service
from gateway.service_origins import finish_url, first_path_of, origin_of, path_on_service, start_path

_DIGEST = re.compile(r"[0-9a-f]{64}")
NOT_YOURS = gettext_lazy(
    "You can see this service, but you aren't allowed to use it. Ask an Administrator of your organization."
)
OFF = gettext_lazy("This service is switched off in the portal. Ask an Administrator of your organization.")
NOT_HERE = gettext_lazy("This service can't be opened in the browser. Use a token.")


class ServiceListView(MemberPageMixin, TemplateView):
    template_name = "gateway/service_list.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        found = Service.objects.usable_by(self.person).order_by("name", "pk")
        services = [(service, service_sessions.opens_in_browsers(service)) for service in found]
        names = {"services": services, "token_list_page": settings.ACCESS_TOKEN_LIST_PAGE}
        return super().get_context_data(**names, **kwargs)


class OpenServiceView(MemberPageMixin, View):
    """Asks before a service is opened, and then sends the browser there with a code.

    With a button, because GET changes nothing: a link on another site, or a browser that loads pages ahead, signs
    nobody in, and each entry of the activity log is something that a person did. A session lasts as long as that of
    the portal, so people see the page about once a day for each service.
    """

    def get(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
        service = self.find(pk)
        if not _DIGEST.fullmatch(request.GET.get("start", "")):
            then = request.GET.get("then")
            return _to_start(service, first_path_of(service) if then is None else path_on_service(then))
        context = {"service": service, "host": service.host}
        return render(request, "gateway/service_open.html", context | _sent(request.GET))

    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
        service = self.find(pk)
        sent = _sent(request.POST)
        if not _DIGEST.fullmatch(sent["start"]):
            return _to_start(service, sent["then"])
        code = service_sessions.open_service(
            actor=self.person, service=service, nonce_digest=sent["start"], request=request
        )
        # A page that forwards, not a redirect: `form-action 'self'` forbids redirects to other sites.
        address = finish_url(service, code=code, then=sent["then"])
        return render(request, "gateway/service_forward.html", {"service": service, "address": address})

    def find(self, pk: uuid.UUID) -> Service:
        service = find_service(self.person, pk)
        if not service.is_enabled:
            raise PermissionDenied(OFF)
        if not service_sessions.opens_in_browsers(service):
            raise PermissionDenied(NOT_HERE)
        if not service_sessions.can_open(self.person, service):
            raise PermissionDenied(NOT_YOURS)
        return service


class ServiceSignOutView(MemberPageMixin, View):
    """Ends the sessions at a service that were opened in this browser."""

    def get(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
        service = find_service(self.person, pk)
        names = {"service": service.name}
        return confirm_page(
            request,
            question=gettext("Sign out of %(service)s?") % names,
            consequences=[gettext("You stay signed in to the portal, and can open %(service)s again.") % names],
            button=gettext("Sign out"),
            cancel_url=reverse("services:list"),
        )

    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
        service = find_service(self.person, pk)
        service_sessions.end_all(service, request)
        messages.success(request, gettext("You are signed out of %(service)s.") % {"service": service.name})
        return redirect("services:list")


def find_service(person: User, pk: uuid.UUID) -> Service:
    service: Service = get_object_or_404(Service.objects.visible_to(person), pk=pk)
    return service


def _to_start(service: Service, then: str) -> HttpResponseBase:
    """The address is the registered one of the service."""
    return HttpResponseRedirect(f"{origin_of(service)}{start_path(then)}")


def _sent(values: Any) -> dict[str, str]:
    return {"then": path_on_service(values.get("then", "")), "start": values.get("start", "")}
