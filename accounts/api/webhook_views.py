"""The API for webhooks of the organization, with the same queryset and services as the pages."""

from dataclasses import replace
from typing import Any, ClassVar

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import may_manage
from accounts.api.webhook_serializers import (
    ChangeWebhookBody,
    CreateWebhookBody,
    DeliverySerializer,
    SendAgainBody,
    WebhookSerializer,
    WebhookWithSecretSerializer,
)
from accounts.models import NEWEST_DELIVERIES_FIRST, Webhook, WebhookDelivery
from accounts.privileges import Privilege
from accounts.webhooks import services
from core.api.operations import READ_API, Operation
from core.api.paging import KeysetPagination, WholeList
from core.api.problems import Forbidden
from core.api.views import ApiViewSet

CHANGE = Privilege.CHANGE_WEBHOOKS.operation(role_allows=may_manage)


class WebhookViewSet(ApiViewSet):
    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List webhooks"), READ_API, only_reads=True, role_allows=may_manage),
        "create": replace(CHANGE, shows_secret=True),
        "retrieve": Operation(_("See a webhook"), READ_API, only_reads=True, role_allows=may_manage),
        "partial_update": CHANGE,
        "destroy": CHANGE,
        "secret": replace(CHANGE, shows_secret=True),
        # Closed to tokens, like all changes of webhooks.
        "test": Operation(_("Send a test event to a webhook"), role_allows=may_manage),
        "send_again": Operation(_("Send an event to a webhook again"), role_allows=may_manage),
    }
    serializer_class = WebhookSerializer
    pagination_class = WholeList

    def get_queryset(self) -> QuerySet[Webhook]:
        return Webhook.objects.manageable_by(self.person)

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "shows_url": self.request.auth is None}

    @extend_schema(operation_id="webhook_list")
    def list(self, request: Request) -> Response:
        """The organization's webhooks, the oldest first. With a token, their URLs are only scheme and host."""
        return self.page_of(self.get_queryset())

    @extend_schema(
        operation_id="webhook_create", request=CreateWebhookBody, responses={201: WebhookWithSecretSerializer}
    )
    def create(self, request: Request) -> Response:
        """Creates a webhook. Its `secret` is in this answer and never shown again."""
        body = self.read_body(CreateWebhookBody)
        made = services.create_webhook(actor=self.person, request=request._request, **body)
        return self._with_secret(*made, status=201)

    @extend_schema(operation_id="webhook_retrieve", responses=WebhookSerializer)
    def retrieve(self, request: Request, pk: str) -> Response:
        """With a token, the URL is only scheme and host."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(operation_id="webhook_change", request=ChangeWebhookBody, responses=WebhookSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Changes a webhook, pauses or resumes it. If any part of the body is refused, nothing is changed."""
        webhook, body = self.get_object(), self.read_body(ChangeWebhookBody)
        is_paused = body.pop("is_paused", None)
        with transaction.atomic():
            if body:
                webhook = services.change_webhook(actor=self.person, webhook=webhook, request=request._request, **body)
            if is_paused is not None:
                change = services.pause_webhook if is_paused else services.resume_webhook
                webhook = change(actor=self.person, webhook=webhook, request=request._request)
        return Response(self.get_serializer(webhook).data)

    @extend_schema(operation_id="webhook_delete", request=None, responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Deletes a webhook and its deliveries. What waits is not sent."""
        services.delete_webhook(actor=self.person, webhook=self.get_object(), request=request._request)
        return Response(status=204)

    @extend_schema(operation_id="webhook_replace_secret", request=None, responses=WebhookWithSecretSerializer)
    def secret(self, request: Request, pk: str) -> Response:
        """Creates a new secret, which is in this answer and never shown again. The old one also signs for a day."""
        made = services.replace_secret(actor=self.person, webhook=self.get_object(), request=request._request)
        return self._with_secret(*made)

    @extend_schema(operation_id="webhook_test", request=None, responses={202: DeliverySerializer})
    def test(self, request: Request, pk: str) -> Response:
        """Sends an event of the type `test`."""
        row = services.send_test_event(actor=self.person, webhook=self.get_object())
        return Response(DeliverySerializer(row).data, status=202)

    @extend_schema(operation_id="webhook_send_again", request=SendAgainBody, responses={202: DeliverySerializer})
    def send_again(self, request: Request, pk: str) -> Response:
        """Sends an event that was delivered or given up once more, with the same id."""
        webhook, body = self.get_object(), self.read_body(SendAgainBody)
        row = webhook.deliveries.select_related("webhook").filter(event_id=body["event_id"]).first()
        if row is None:
            raise Forbidden
        row = services.send_again(actor=self.person, row=row)
        return Response(DeliverySerializer(row).data, status=202)

    def _with_secret(self, webhook: Webhook, secret: str, status: int = 200) -> Response:
        context = {**self.get_serializer_context(), "secret": secret}
        data: Any = WebhookWithSecretSerializer(webhook, context=context).data
        return Response(data, status=status, headers={"Cache-Control": "no-store"})


class DeliveryViewSet(ApiViewSet):
    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List deliveries of a webhook"), READ_API, only_reads=True, role_allows=may_manage),
    }
    serializer_class = DeliverySerializer
    pagination_class = KeysetPagination
    keyset = NEWEST_DELIVERIES_FIRST
    queryset = WebhookDelivery.objects.none()

    @extend_schema(operation_id="webhook_delivery_list", responses=DeliverySerializer(many=True))
    def list(self, request: Request, pk: str) -> Response:
        """What was sent to a webhook in the last 30 days, newest first."""
        webhook = Webhook.objects.manageable_by(self.person).filter(pk=pk).first()
        if webhook is None:
            raise Forbidden
        return self.page_of(webhook.deliveries.all())
