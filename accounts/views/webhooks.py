"""The pages of the organization's webhooks."""

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.views.generic import TemplateView, View
from django_tables2 import SingleTableView

from accounts.filters import DeliveryFilter
from accounts.forms import WebhookForm
from accounts.models import NEWEST_DELIVERIES_FIRST, User, Webhook, WebhookDelivery
from accounts.privileges import Privilege
from accounts.roles import Ability
from accounts.security.reauthentication import RecentSignInMixin
from accounts.tables import DeliveryTable, WebhookTable
from accounts.views.base import OrganizationPageMixin
from accounts.webhooks import services
from accounts.webhooks.events import EVENTS
from accounts.webhooks.querysets import WebhookDeliveryQuerySet, WebhookQuerySet
from core.pages.addresses import back_to
from core.pages.confirm import confirm_page
from core.pages.forms import refusals_as_messages, refusals_in
from core.pages.views import KeysetTableMixin


def find_webhook(actor: User, pk: uuid.UUID) -> Webhook:
    """404 if the actor does not manage it."""
    return get_object_or_404(Webhook.objects.manageable_by(actor), pk=pk)


class WebhookPageMixin(OrganizationPageMixin):
    ability = Ability.MANAGE_ORGANIZATION
    current_tab = "accounts:organization_webhook_list"

    @cached_property
    def webhook(self) -> Webhook:
        return find_webhook(self.person, self.kwargs["pk"])

    def url(self, page: str) -> str:
        return reverse(f"accounts:organization_webhook_{page}", args=[self.webhook.pk])

    def show_secret(self, webhook: Webhook, secret: str) -> HttpResponse:
        """The only page that shows a secret. It is not stored in readable form, so a reload can't show it again."""
        context = {"webhook": webhook, "secret": secret, "view": self}
        answer = render(self.request, "accounts/organization_webhook_secret.html", context)
        answer.headers["Cache-Control"] = "no-store"
        return answer


class WebhookListView(WebhookPageMixin, SingleTableView):
    table_class = WebhookTable
    template_name = "accounts/organization_webhook_list.html"

    def get_queryset(self) -> WebhookQuerySet:
        return Webhook.objects.manageable_by(self.person)


class WebhookFormView(WebhookPageMixin, RecentSignInMixin, TemplateView):
    """Base of the pages with the form of a webhook."""

    privilege = Privilege.CHANGE_WEBHOOKS
    template_name = "accounts/organization_webhook_form.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        form = kwargs.pop("form", None) or WebhookForm(initial=self.initial())
        return super().get_context_data(form=form, **kwargs)

    def initial(self) -> dict[str, Any]:
        return {"events": list(EVENTS)}

    def save(self, **values: Any) -> HttpResponseBase:
        raise NotImplementedError

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        form = WebhookForm(request.POST)
        if form.is_valid():
            with refusals_in(form):
                return self.save(**form.cleaned_data)
        return self.render_to_response(self.get_context_data(form=form), status=400)


class WebhookAddView(WebhookFormView):
    def save(self, **values: Any) -> HttpResponseBase:
        return self.show_secret(*services.create_webhook(actor=self.person, request=self.request, **values))


class WebhookEditView(WebhookFormView):
    def initial(self) -> dict[str, Any]:
        webhook = self.webhook
        return {"url": webhook.url, "events": webhook.event_ids, "description": webhook.description}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(webhook=self.webhook, **kwargs)

    def save(self, **values: Any) -> HttpResponseBase:
        services.change_webhook(actor=self.person, webhook=self.webhook, request=self.request, **values)
        messages.success(self.request, _("The webhook is saved."))
        return redirect(self.url("detail"))


class WebhookDetailView(WebhookPageMixin, KeysetTableMixin):
    """A webhook with its deliveries, newest first."""

    table_class = DeliveryTable
    filterset_class = DeliveryFilter
    template_name = "accounts/organization_webhook_detail.html"
    keyset = NEWEST_DELIVERIES_FIRST

    def get_queryset(self) -> WebhookDeliveryQuerySet:
        return WebhookDelivery.objects.filter(webhook=self.webhook)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        events = [EVENTS[event] for event in self.webhook.event_ids if event in EVENTS]
        return super().get_context_data(webhook=self.webhook, events=events, **kwargs)


class WebhookActionView(WebhookPageMixin, View):
    """Base of the actions on a webhook."""

    http_method_names = ["post"]


class WebhookTestView(WebhookActionView):
    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
        with refusals_as_messages(request):
            services.send_test_event(actor=self.person, webhook=self.webhook)
            messages.success(request, _("A test event is queued. Reload the page to see whether it arrived."))
        return redirect(self.url("detail"))


class DeliverySendAgainView(WebhookActionView):
    def post(self, request: HttpRequest, pk: uuid.UUID, event_pk: uuid.UUID) -> HttpResponseBase:
        deliveries = self.webhook.deliveries.select_related("webhook")
        row = get_object_or_404(deliveries, event_id=event_pk)
        with refusals_as_messages(request):
            services.send_again(actor=self.person, row=row)
            messages.success(request, _("The event is queued again."))
        return redirect(back_to(request, self.url("detail")))


class WebhookPauseView(WebhookPageMixin, RecentSignInMixin, View):
    http_method_names = ["post"]
    privilege = Privilege.CHANGE_WEBHOOKS

    def return_address(self) -> str:
        return reverse("accounts:organization_webhook_detail", args=[self.kwargs["pk"]])

    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
        services.pause_webhook(actor=self.person, webhook=self.webhook, request=request)
        messages.success(request, _("The webhook is paused. What happens now is not sent later."))
        return redirect(self.url("detail"))


class WebhookResumeView(WebhookPauseView):
    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
        services.resume_webhook(actor=self.person, webhook=self.webhook, request=request)
        messages.success(request, _("The webhook is resumed."))
        return redirect(self.url("detail"))


class WebhookSecretView(WebhookPageMixin, RecentSignInMixin, View):
    """Replaces the secret and shows the new one."""

    http_method_names = ["get", "head", "post"]
    privilege = Privilege.CHANGE_WEBHOOKS

    def get(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        return confirm_page(
            request,
            question=_("Replace the secret of “%(webhook)s”?") % {"webhook": self.webhook},
            consequences=[
                _("The new secret is shown once. Both secrets sign for a day, so that you can change the receiver.")
            ],
            button=_("Replace secret"),
            cancel_url=self.url("detail"),
        )

    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
        return self.show_secret(*services.replace_secret(actor=self.person, webhook=self.webhook, request=request))


class WebhookDeleteView(WebhookPageMixin, RecentSignInMixin, View):
    http_method_names = ["get", "head", "post"]
    privilege = Privilege.CHANGE_WEBHOOKS

    def get(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        return confirm_page(
            request,
            question=_("Delete the webhook “%(webhook)s”?") % {"webhook": self.webhook},
            consequences=[_("What waits is not sent, and its deliveries are removed. This cannot be undone.")],
            button=_("Delete webhook"),
            cancel_url=self.url("detail"),
        )

    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
        services.delete_webhook(actor=self.person, webhook=self.webhook, request=request)
        messages.success(request, _("The webhook is deleted."))
        return redirect("accounts:organization_webhook_list")
