"""The published shape of log records, with our further fields behind the published ones (docs/product.md#api)."""

from typing import Any

from rest_framework import serializers

from auditlog import exports
from auditlog.actions_list import Action, ActionType
from auditlog.filters import AFTER_END
from auditlog.models import Activity, TokenUse
from core.api import scopes
from core.api.paging import LargePageQuery, PublishedPageQuery
from core.api.serializers import IdField, StrictSerializer


class TokenUseSerializer(serializers.ModelSerializer[TokenUse]):
    """One use of a token."""

    _id = serializers.UUIDField(source="request_id", read_only=True)
    id = serializers.UUIDField(source="request_id", read_only=True)
    token_id = serializers.UUIDField(read_only=True)
    user_id = serializers.UUIDField(source="owner_id", read_only=True, allow_null=True)
    user_email = serializers.CharField(source="owner_email", read_only=True)
    createdAt = serializers.DateTimeField(source="at", read_only=True)
    updatedAt = serializers.DateTimeField(source="at", read_only=True)

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
        ]


class ActivitySerializer(serializers.ModelSerializer[Activity]):
    """One action of a person, or of a script in their name."""

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


class _Filters(StrictSerializer):
    """What both logs can be narrowed by, the same as on the pages."""

    date = serializers.DateField(required=False, help_text="Since this day, UTC.")
    date_to = serializers.DateField(required=False, help_text="Until this day, UTC, the day included.")
    ip = serializers.IPAddressField(required=False, help_text="Address of the caller.")
    request_id = IdField(required=False, help_text="`X-Request-ID` of the answer.")
    q = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=100,
        help_text="Part of what the record says, or a whole id or address in it.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "date" in attrs and "date_to" in attrs and attrs["date_to"] < attrs["date"]:
            raise serializers.ValidationError({"date_to": ["This day is before `date`."]})
        return attrs


class _Page(LargePageQuery):
    after = serializers.CharField(
        required=False,
        max_length=500,
        help_text="Follows the log: records in the order in which they became final, oldest first. `start` begins with "
        "the oldest record, `now` with the next one to come; then go on with `next`, which is always there.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "after" in attrs and "cursor" in attrs:
            raise serializers.ValidationError({"after": ["Give either `after` or `cursor`."]})
        checked: dict[str, Any] = super().validate(attrs)
        return checked


class _PublishedPage(PublishedPageQuery, _Page):
    """Of the two routes that were published with `count`."""


class _File(serializers.Serializer[Any]):
    format = serializers.ChoiceField(choices=exports.FORMATS, required=False, default=exports.CSV)
    bom = serializers.BooleanField(
        required=False, default=False, help_text="Begin CSV with a byte order mark, so that Excel reads it as UTF-8."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["bom"] and attrs["format"] != exports.CSV:
            raise serializers.ValidationError({"bom": ["Only CSV may begin with a byte order mark."]})
        checked: dict[str, Any] = super().validate(attrs)
        return checked


class _OneTokenUseFilters(_Filters):
    outcome = serializers.ChoiceField(choices=TokenUse.Outcome.choices, required=False)
    reason = serializers.ChoiceField(choices=TokenUse.Reason.choices, required=False)
    after_end = serializers.ChoiceField(
        choices=AFTER_END,
        required=False,
        help_text="Only uses that were refused because the token had ended: it had expired, or been expired early.",
    )


class _TokenUseFilters(_OneTokenUseFilters):
    scope = serializers.ChoiceField(choices=scopes.CHOICES, required=False)
    token_id = IdField(required=False)


class _ActivityFilters(_Filters):
    type = serializers.ChoiceField(choices=ActionType.choices, required=False)
    action = serializers.ChoiceField(choices=Action.choices, required=False)
    token_id = IdField(required=False, help_text="The token that it was done with.")


class _OfOrganization(serializers.Serializer[Any]):
    date = serializers.DateField(required=False, help_text="Since this day, UTC. Without it: the last 7 days.")
    user_email = serializers.CharField(
        required=False,
        max_length=254,
        help_text="Part of the person's address. A complete address finds this person alone.",
    )


class TokenActivityQuery(_Page, _OneTokenUseFilters):
    """Filters of one token's log, the same as on its page."""


class MyTokenUseQuery(_Page, _TokenUseFilters):
    """Filters of one's own authentication log."""


class MyTokenUseExportQuery(_File, _TokenUseFilters):
    """The same for a file."""


class TokenUseQuery(_PublishedPage, _OfOrganization, _TokenUseFilters):
    """Filters of the organization's authentication log. Without `date`: the last 7 days."""


class TokenUseExportQuery(_File, _OfOrganization, _TokenUseFilters):
    """The same for a file."""


class MyActivityQuery(_Page, _ActivityFilters):
    """Filters of one's own activity log."""


class MyActivityExportQuery(_File, _ActivityFilters):
    """The same for a file."""


class ActivityQuery(_PublishedPage, _OfOrganization, _ActivityFilters):
    """Filters of the organization's activity log. Without `date`: the last 7 days."""


class ActivityExportQuery(_File, _OfOrganization, _ActivityFilters):
    """The same for a file."""
