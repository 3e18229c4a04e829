"""The shapes of webhooks in the API."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.models import Webhook, WebhookDelivery
from accounts.webhooks.events import CHOICES, EVENTS
from accounts.webhooks.services import DESCRIPTION_LENGTH
from core.api.serializers import BoundedListField, FlagField, IdField, StrictSerializer, TextField
from core.http.fenced_call import URL_LIMIT_CHARACTERS


def _events(**options: Any) -> BoundedListField:
    return BoundedListField(
        child=serializers.ChoiceField(choices=CHOICES),
        min_length=1,
        max_length=len(EVENTS),
        help_text="The kinds of notifications that it gets, of all people, and `activity` for the activity log.",
        **options,
    )


class WebhookSerializer(serializers.ModelSerializer[Webhook]):
    """An address to which the portal sends what happens in the organization. Its secret is never shown again.

    The context says with ``shows_url`` if the reader gets the whole URL: in a browser session, not with a token.
    """

    url = serializers.SerializerMethodField(
        help_text="With a token, only scheme and host: the path of the URL can contain a secret of the receiver."
    )
    events = serializers.ListField(source="event_ids", child=serializers.ChoiceField(choices=CHOICES), read_only=True)
    is_paused = serializers.BooleanField(read_only=True)
    failing_since = serializers.DateTimeField(
        read_only=True, allow_null=True, help_text="The first failure since the last success."
    )

    class Meta:
        model = Webhook
        fields = ["id", "url", "description", "events", "is_paused", "paused_at", "failing_since", "created_at"]
        read_only_fields = ["description", "paused_at"]

    def get_url(self, webhook: Webhook) -> str:
        return webhook.url if self.context.get("shows_url") else webhook.origin


class WebhookWithSecretSerializer(WebhookSerializer):
    secret = serializers.SerializerMethodField(help_text="Shown this once.")

    class Meta(WebhookSerializer.Meta):
        fields = [*WebhookSerializer.Meta.fields, "secret"]

    def get_secret(self, webhook: Webhook) -> str:
        secret: str = self.context["secret"]
        return secret


class CreateWebhookBody(StrictSerializer):
    url = TextField(
        max_length=URL_LIMIT_CHARACTERS,
        help_text="It must start with `https://`. With `http://` only to an IP address that the operator allows.",
    )
    events = _events()
    description = TextField(max_length=DESCRIPTION_LENGTH, required=False, allow_blank=True, default="")


class ChangeWebhookBody(StrictSerializer):
    """Fields that are left out stay as they are."""

    together = {"minProperties": 1}

    url = TextField(max_length=URL_LIMIT_CHARACTERS, required=False)
    events = _events(required=False)
    description = TextField(max_length=DESCRIPTION_LENGTH, required=False, allow_blank=True)
    is_paused = FlagField(required=False, help_text="What happens while it is paused is not sent later.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Give at least one field.")
        return attrs


class DeliverySerializer(serializers.ModelSerializer[WebhookDelivery]):
    """One event for a webhook, and how far it is."""

    id = serializers.UUIDField(source="event_id", read_only=True, help_text="`webhook-id` has it after `evt_`.")
    state = serializers.ChoiceField(choices=WebhookDelivery.State.choices, read_only=True)
    status = serializers.IntegerField(
        source="last_status", read_only=True, allow_null=True, help_text="The receiver's last answer."
    )
    error = serializers.CharField(source="last_error", read_only=True, help_text="Why the last attempt failed.")
    next_attempt_at = serializers.SerializerMethodField(help_text="`null` if it is not waiting.")

    class Meta:
        model = WebhookDelivery
        fields = ["id", "type", "state", "attempts", "status", "error", "created_at", "next_attempt_at", "ended_at"]

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_next_attempt_at(self, row: WebhookDelivery) -> str | None:
        if row.state != WebhookDelivery.State.WAITING:
            return None
        shown: str = serializers.DateTimeField().to_representation(row.next_attempt_at)
        return shown


class SendAgainBody(StrictSerializer):
    event_id = IdField(help_text="The id of a delivery of this webhook.")
