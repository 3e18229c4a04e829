"""The pages of the organization's services. Some roles only look; Administrators change."""

import uuid
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables
from django.views.generic import TemplateView, View
from django_tables2 import SingleTableMixin

from accounts.privileges import Privilege
from accounts.roles import Ability
from accounts.security.reauthentication import RecentSignInMixin
from accounts.views.base import OrganizationPageMixin
from core.http.public_address import public_url
from core.pages.confirm import confirm_page
from core.pages.forms import refusals_as_messages, refusals_in
from gateway import health, seen, services, trial_calls, tries
from gateway.forms import AccessForm, SecretForm, ServiceForm, TryForm, initial_of
from gateway.models import Service, ServiceCredential
from gateway.querysets import ServiceQuerySet
from gateway.recipes import recipes_for
from gateway.service_sessions import opens_in_browsers
from gateway.tables import CHECKS, SERVICE_BADGES, ServiceTable

PAGE = "gateway:organization_service_list"


class ServicePageMixin(OrganizationPageMixin):
    """For roles that see everyone's tokens."""

    ability = Ability.READ_TOKENS
    current_tab = PAGE

    @cached_property
    def may_change(self) -> bool:
        return self.person.may(Ability.MANAGE_ORGANIZATION)

    def services(self) -> ServiceQuerySet:
        return Service.objects.visible_to(self.person)

    @cached_property
    def service(self) -> Service:
        """404 if the person may not see it."""
        return get_object_or_404(self.services(), pk=self.kwargs["pk"])

    def url(self, page: str, *args: Any) -> str:
        return reverse(f"gateway:organization_service_{page}", args=[self.kwargs["pk"], *args])


class ServiceChangeMixin(ServicePageMixin, RecentSignInMixin):
    """For Administrators, who prove again who they are."""

    ability = Ability.MANAGE_ORGANIZATION
    privilege = Privilege.CHANGE_SERVICES

    def services(self) -> ServiceQuerySet:
        return Service.objects.manageable_by(self.person)


class ServiceListView(ServicePageMixin, SingleTableMixin, TemplateView):
    table_class = ServiceTable
    template_name = "gateway/organization_service_list.html"
    table_pagination = False

    def get_table_data(self) -> ServiceQuerySet:
        return health.with_health(self.services().for_service_table())

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(may_change=self.may_change, **kwargs)


class ServiceDetailView(ServicePageMixin, TemplateView):
    """Everything about a service. ``?method=GET&path=/api/`` tries its path rules."""

    template_name = "gateway/organization_service_detail.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        service = self.service
        form = TryForm(self.request.GET if "path" in self.request.GET else None)
        reads_log = self.person.may_read_organization_logs
        return super().get_context_data(
            service=service,
            state=SERVICE_BADGES[service.is_enabled],
            check=CHECKS[service.check_by],
            verify_url=public_url("verify", service.pk),
            jwks_url=public_url(settings.TOKEN_KEYS_PAGE),
            recipes=[{"id": each.id, "name": each.name, "text": each.text(service)} for each in recipes_for(service)],
            access_rules=service.access_rules.for_rules_table(),
            credentials=_for_page(service),
            has_secret=service.credentials.current().exists(),
            opens_in_browsers=opens_in_browsers(service),
            can_delete=self.may_change and not service.tokens.exists(),
            health=health.of(service) if reads_log else None,
            try_form=form,
            decision=_tried(service, form) if form.is_bound and form.is_valid() else None,
            may_change=self.may_change,
            **kwargs,
        )

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        context = self.get_context_data(**kwargs)
        return self.render_to_response(context, status=400 if context["try_form"].errors else 200)


class TestCallView(ServiceChangeMixin, TemplateView):
    """Calls the service with a token of five minutes, and shows each hop."""

    http_method_names = ["get", "head", "post"]
    # It makes a token.
    privilege = Privilege.CREATE_TOKEN
    template_name = "gateway/organization_service_test.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        form = kwargs.pop("form", None) or TryForm(initial={"method": "GET", "path": "/"})
        return super().get_context_data(form=form, service=self.service, **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        form, hops = TryForm(request.POST), []
        if form.is_valid():
            with refusals_in(form):
                hops = trial_calls.call(actor=self.person, service=self.service, request=request, **form.cleaned_data)
        return self.render_to_response(self.get_context_data(form=form, hops=hops), status=200 if hops else 400)


def _tried(service: Service, form: TryForm) -> tries.Decision:
    return tries.decide(service, form.cleaned_data["method"], form.cleaned_data["path"])


def _for_page(service: Service) -> list[dict[str, Any]]:
    """Secrets that work first, then those that ended, the newest first."""
    now = timezone.now()
    rows = [{"secret": secret, "works": secret.works_at(now)} for secret in service.credentials.all()]
    return sorted(rows, key=lambda row: not row["works"])


class ServiceFormView(ServiceChangeMixin, TemplateView):
    """Base of the pages with the form of a service."""

    template_name = "gateway/organization_service_form.html"

    def form(self, data: Any = None) -> ServiceForm:
        raise NotImplementedError

    def save(self, form: ServiceForm) -> HttpResponseBase:
        raise NotImplementedError

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(form=kwargs.pop("form", None) or self.form(), **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        form = self.form(request.POST)
        if form.is_valid():
            with refusals_in(form):
                return self.save(form)
        return self.render_to_response(self.get_context_data(form=form), status=form.refusal_status)


class ServiceAddView(ServiceFormView):
    def form(self, data: Any = None) -> ServiceForm:
        return ServiceForm(data, request=self.request, initial={"check_by": Service.Check.FORWARD_AUTH})

    def save(self, form: ServiceForm) -> HttpResponseBase:
        service = services.create_service(actor=self.person, request=self.request, **form.changes())
        messages.success(self.request, _("The service is saved. Now connect it."))
        return redirect("gateway:organization_service_detail", pk=service.pk)


class ServiceEditView(ServiceFormView):
    def form(self, data: Any = None) -> ServiceForm:
        service = self.service
        return ServiceForm(
            data, service=service, initial=initial_of(service), now=seen.of_service(service), request=self.request
        )

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(service=self.service, **kwargs)

    def save(self, form: ServiceForm) -> HttpResponseBase:
        seen_before = form.cleaned_data.get("seen")
        changed = services.change_service(
            actor=self.person, service=self.service, seen=seen_before, request=self.request, **form.changes()
        )
        form.saved(seen.of_service(changed))
        messages.success(self.request, _("The service is saved. The change applies from the next request on."))
        return redirect(self.url("detail"))


class ServiceAccessView(ServiceChangeMixin, TemplateView):
    """The people and groups that may use a service, and the form that adds one."""

    template_name = "gateway/organization_service_access.html"

    def form(self, data: Any = None) -> AccessForm:
        return AccessForm(data, service=self.service, person=self.person)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        form = kwargs.pop("form", None) or self.form()
        rules = self.service.access_rules.for_rules_table()
        return super().get_context_data(form=form, service=self.service, access_rules=rules, **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        form = self.form(request.POST)
        if form.is_valid():
            with refusals_in(form):
                who = form.cleaned_data["who"]
                rule = services.add_access(actor=self.person, service=self.service, subject=who, request=request)
                said = _("%(who)s may use this service now.") % {"who": rule.subject_name}
                messages.success(request, said)
                return redirect(self.url("access"))
        return self.render_to_response(self.get_context_data(form=form), status=400)


class AccessRemoveView(ServiceChangeMixin, View):
    http_method_names = ["post"]

    def return_address(self) -> str:
        return self.url("access")

    def post(self, request: HttpRequest, pk: uuid.UUID, rule_pk: uuid.UUID) -> HttpResponseBase:
        rule = get_object_or_404(self.service.access_rules.select_related("user", "group"), pk=rule_pk)
        services.remove_access(actor=self.person, service=self.service, rule=rule, request=request)
        messages.success(request, _("%(who)s was removed.") % {"who": rule.subject_name})
        return redirect(self.url("access"))


class SwitchOffView(ServiceChangeMixin, View):
    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        return confirm_page(
            request,
            question=_("Switch off “%(service)s”?") % {"service": self.service},
            consequences=[
                _("Its tokens are refused from the next request on. They work again after you switch it on.")
            ],
            button=_("Switch off"),
            cancel_url=self.url("detail"),
        )

    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
        services.switch_off(actor=self.person, service=self.service, request=request)
        messages.success(request, _("The service is switched off."))
        return redirect(self.url("detail"))


class SwitchOnView(ServiceChangeMixin, View):
    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        return confirm_page(
            request,
            question=_("Switch on “%(service)s”?") % {"service": self.service},
            consequences=[_("Its tokens work again, unless they have expired.")],
            button=_("Switch on"),
            look="primary",
            cancel_url=self.url("detail"),
        )

    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
        services.switch_on(actor=self.person, service=self.service, request=request)
        messages.success(request, _("The service is switched on."))
        return redirect(self.url("detail"))


class ServiceDeleteView(ServiceChangeMixin, View):
    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        return confirm_page(
            request,
            question=_("Delete the service “%(service)s”?") % {"service": self.service},
            consequences=[
                _("You can only delete a service for which no token was ever made. This cannot be undone."),
                _("Its secrets and the list of who may use it are deleted, too."),
            ],
            button=_("Delete service"),
            cancel_url=self.url("detail"),
        )

    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
        address = self.url("detail")
        with refusals_as_messages(request):
            services.delete_service(actor=self.person, service=self.service, request=request)
            messages.success(request, _("The service is deleted."))
            address = reverse(PAGE)
        return redirect(address)


class SecretCreateView(ServiceChangeMixin, View):
    """Creates the first secret, or replaces the current one, and shows the new one."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        return self.ask(SecretForm())

    def ask(self, form: SecretForm, status: int = 200) -> HttpResponse:
        has_one = self.service.credentials.current().exists()
        question = _("Replace the secret of “%(service)s”?") if has_one else _("Create a secret for “%(service)s”?")
        consequences = [_("The new secret is shown once.")]
        if has_one:
            consequences.append(_("If an older secret still works, it ends now: at most two work at once."))
        return confirm_page(
            self.request,
            question=question % {"service": self.service},
            consequences=consequences,
            button=_("Replace secret") if has_one else _("Create secret"),
            cancel_url=self.url("detail"),
            form=form if has_one else None,
            look="danger" if has_one else "primary",
            status=status,
        )

    @sensitive_variables()
    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
        form = SecretForm(request.POST if "overlap_hours" in request.POST else {"overlap_hours": "0"})
        if not form.is_valid():
            return self.ask(form, status=400)
        _made, secret = services.create_secret(
            actor=self.person, service=self.service, request=request, **form.cleaned_data
        )
        return self.show(secret)

    @sensitive_variables()
    def show(self, secret: str) -> HttpResponse:
        """The only page that shows a secret. The portal stores its digest, so a reload can't show it again."""
        context = {"service": self.service, "secret": secret, "view": self}
        answer = render(self.request, "gateway/organization_service_secret.html", context)
        answer.headers["Cache-Control"] = "no-store"
        return answer


class SecretEndView(ServiceChangeMixin, View):
    http_method_names = ["get", "head", "post"]

    def secret(self) -> ServiceCredential:
        found: ServiceCredential = get_object_or_404(self.service.credentials.all(), pk=self.kwargs["secret_pk"])
        return found

    def get(self, request: HttpRequest, pk: uuid.UUID, secret_pk: uuid.UUID) -> HttpResponse:
        self.secret()
        return confirm_page(
            request,
            question=_("End this secret of “%(service)s”?") % {"service": self.service},
            consequences=[_("The service can't use it any more from the next request on. This cannot be undone.")],
            button=_("End secret"),
            cancel_url=self.url("detail"),
        )

    def post(self, request: HttpRequest, pk: uuid.UUID, secret_pk: uuid.UUID) -> HttpResponseBase:
        with refusals_as_messages(request):
            services.end_secret(actor=self.person, service=self.service, secret=self.secret(), request=request)
            messages.success(request, _("The secret no longer works."))
        return redirect(self.url("detail"))
