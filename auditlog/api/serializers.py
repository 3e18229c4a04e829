"""The published format of log records; our own fields follow the published ones (docs/product.md#api)."""

from typing import Any, ClassVar, TypeVar

from django.db.models import JSONField
from rest_framework import serializers

from auditlog import address_names, exports
from auditlog.models import Activity, LogEntry, TokenUse
from core.api.serializers import StrictSerializer
from core.db.unreadable import UNREADABLE, is_json

Entry = TypeVar("Entry", bound=LogEntry)


class StoredChoice(serializers.ChoiceField):
    """Always text, also if the database stores bytes."""

    def to_representation(self, value: Any) -> str:
        return str(value)


class StoredJson(serializers.JSONField):
    """Raises ``ValueError`` for a value that the renderer could not write."""

    def to_representation(self, value: Any) -> Any:
        if not is_json(value):
            raise ValueError("These details are not JSON.")
        return super().to_representation(value)


class LogEntrySerializer(serializers.ModelSerializer[Entry]):
    """Shows null for a value that can't be read, instead of an error for the whole list."""

    serializer_choice_field = StoredChoice
    serializer_field_mapping: ClassVar = {
        **serializers.ModelSerializer.serializer_field_mapping,
        JSONField: StoredJson,
    }

    def to_representation(self, instance: Entry) -> dict[str, Any]:
        try:
            return super().to_representation(instance)
        except UNREADABLE:
            return {name: _shown(field, instance) for name, field in self.fields.items()}


def _shown(field: Any, entry: LogEntry) -> Any:
    try:
        value = field.get_attribute(entry)
        return None if value is None else field.to_representation(value)
    except UNREADABLE:
        return None


HOST_NAME = (
    "The name that the address has now. Empty if it has none, or if the operator of the portal did not turn on the "
    "look-up of host names."
)


class HostNameField(serializers.CharField):
    def to_representation(self, value: str) -> str:
        return address_names.name_of(value)


class UsedServiceSerializer(serializers.Serializer[TokenUse]):
    """The service of an entry; null for the portal's own API."""

    id = serializers.UUIDField(source="service_id")
    name = serializers.CharField(source="service.name", allow_null=True, help_text="Null if it no longer exists.")
    short_name = serializers.CharField(source="service.slug", allow_null=True)

    def to_representation(self, instance: TokenUse) -> Any:
        return super().to_representation(instance) if instance.service_id else None


REPORTED_AT = "When the service reported this use, if it checks tokens itself. Null: the portal saw the use itself."


class TokenUseSerializer(LogEntrySerializer[TokenUse]):
    """One use of a token."""

    _id = serializers.UUIDField(source="request_id", read_only=True)
    id = serializers.UUIDField(source="request_id", read_only=True)
    token_id = serializers.UUIDField(read_only=True)
    user_id = serializers.UUIDField(source="owner_id", read_only=True, allow_null=True)
    user_email = serializers.CharField(source="owner_email", read_only=True)
    createdAt = serializers.DateTimeField(source="at", read_only=True)
    updatedAt = serializers.DateTimeField(source="at", read_only=True)
    service = UsedServiceSerializer(source="*", read_only=True, allow_null=True)
    reported_at = serializers.DateTimeField(read_only=True, allow_null=True, help_text=REPORTED_AT)

    class Meta:
        model = TokenUse
        fields = [
            "_id",
            "id",
            "token_id",
            "token_name",
            "scope",
            "method",
            "target",
            "status",
            "outcome",
            "reason",
            "user_id",
            "user_email",
            "account",
            "ip",
            "user_agent",
            "duration_ms",
            "createdAt",
            "updatedAt",
            "service",
            "reported_at",
        ]


class TokenUseDetailSerializer(TokenUseSerializer):
    """One use of a token, with the name of its address."""

    host_name = HostNameField(source="ip", read_only=True, allow_null=True, help_text=HOST_NAME)

    class Meta(TokenUseSerializer.Meta):
        fields = [*TokenUseSerializer.Meta.fields, "host_name"]


class ActivitySerializer(LogEntrySerializer[Activity]):
    """One action of a person, or of a script with their token."""

    _id = serializers.UUIDField(source="public_id", read_only=True)
    id = serializers.UUIDField(source="public_id", read_only=True)
    token_id = serializers.UUIDField(read_only=True, allow_null=True)
    user_id = serializers.UUIDField(source="actor_id", read_only=True)
    user_email = serializers.CharField(source="actor_email", read_only=True)
    createdAt = serializers.DateTimeField(source="at", read_only=True)
    updatedAt = serializers.DateTimeField(source="at", read_only=True)

    class Meta:
        model = Activity
        fields = [
            "_id",
            "id",
            "user_id",
            "user_email",
            "type",
            "action",
            "target_id",
            "target_name",
            "account",
            "token_id",
            "token_name",
            "ip",
            "request_id",
            "details",
            "createdAt",
            "updatedAt",
        ]


class ActivityDetailSerializer(ActivitySerializer):
    """One action, with the name of its address."""

    host_name = HostNameField(source="ip", read_only=True, allow_null=True, help_text=HOST_NAME)

    class Meta(ActivitySerializer.Meta):
        fields = [*ActivitySerializer.Meta.fields, "host_name"]


class ExportQuery(StrictSerializer):
    """The format of an exported file."""

    format = serializers.ChoiceField(choices=exports.FORMATS, required=False, default=exports.CSV)
    bom = serializers.BooleanField(
        required=False, default=False, help_text="Start CSV with a byte order mark, so that Excel reads it as UTF-8."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["bom"] and attrs["format"] != exports.CSV:
            raise serializers.ValidationError({"bom": ["Only CSV can start with a byte order mark."]})
        checked: dict[str, Any] = super().validate(attrs)
        return checked
