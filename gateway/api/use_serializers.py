"""How services report uses of tokens."""

import uuid
from datetime import UTC, datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.api.serializers import BoundedListField, IdField, StrictSerializer, TextField, WholeNumberField
from core.http.request_context import address_in
from gateway.reported_uses import MOST_AT_ONCE

ID_VERSIONS = (4, 7)
METHOD_MAX_LENGTH = 20
MOMENT_MAX_LENGTH = 40
PATH_MAX_LENGTH = 2048
USER_AGENT_MAX_LENGTH = 2048


class UseIdField(IdField):
    """A random id: others could be guessed, and taken before the service uses them."""

    default_error_messages = {"version": "Must be a UUID of version 4 or 7."}

    def to_internal_value(self, data: Any) -> uuid.UUID:
        found = super().to_internal_value(data)
        if found.version not in ID_VERSIONS:
            self.fail("version")
        return found


@extend_schema_field({"type": "string", "format": "date-time", "maxLength": MOMENT_MAX_LENGTH})
class MomentField(serializers.DateTimeField):
    """A time with its offset from UTC. DRF would read one without as a time of the server's zone."""

    default_error_messages = {"offset": "Give the time with its offset from UTC: 2026-12-31T14:00:00Z."}

    def to_internal_value(self, data: Any) -> datetime:
        try:
            fits = isinstance(data, str) and len(data) <= MOMENT_MAX_LENGTH
            moment = datetime.fromisoformat(data if fits else "")
            if moment.tzinfo is None:
                self.fail("offset")
            return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail("offset")


@extend_schema_field({"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]})
class AddressField(TextField):
    default_error_messages = {"address": "Must be an IPv4 or IPv6 address."}

    def to_internal_value(self, data: Any) -> str:
        found = address_in(super().to_internal_value(data))
        if found is None:
            self.fail("address")
        return found


class ReportedUseBody(StrictSerializer):
    """One use, as the service saw it."""

    id = UseIdField(help_text="A new UUID of version 4 or 7 for each use. The same id is stored once.")
    token_id = IdField(help_text="The claim `jti` of the token.")
    at = MomentField(help_text="When, with the offset from UTC: at most 7 days ago.")
    method = serializers.RegexField(
        r"^[A-Z][A-Z-]*\Z", max_length=METHOD_MAX_LENGTH, help_text="The HTTP method in capital letters."
    )
    path = serializers.RegexField(
        r"^/", max_length=PATH_MAX_LENGTH, trim_whitespace=False, help_text="Percent-encoded. A query is not stored."
    )
    status = WholeNumberField(min_value=100, max_value=599, help_text="The HTTP status of the answer.")
    ip = AddressField(
        max_length=45, required=False, allow_null=True, default=None, help_text="The address of the client."
    )
    user_agent = TextField(
        max_length=USER_AGENT_MAX_LENGTH,
        required=False,
        allow_blank=True,
        default="",
        help_text="What the client said about itself. 256 characters are stored.",
    )


class ReportedUsesBody(StrictSerializer):
    """A batch of uses."""

    uses = BoundedListField(
        child=ReportedUseBody(),
        max_length=MOST_AT_ONCE,
        allow_empty=False,
        help_text=f"At most {MOST_AT_ONCE:,} uses, and 256 KiB.",
    )


class ReportedUsesSerializer(serializers.Serializer[Any]):
    """What became of the batch. The three numbers are all of its uses."""

    stored = serializers.IntegerField(min_value=0, help_text="New entries in the log.")
    duplicates = serializers.IntegerField(min_value=0, help_text="Their ids were in the log already.")
    unknown = serializers.IntegerField(min_value=0, help_text="Their tokens were not made for this service.")
