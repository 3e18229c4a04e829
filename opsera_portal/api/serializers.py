"""Serializer bases that all API doors share."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from rest_framework import serializers


class TextField(serializers.CharField):
    """A text, and nothing that could be turned into one: a number where a name belongs is a mistake of the caller."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class IdField(serializers.UUIDField):
    """A UUID as text. DRF would take a number for one, and answer 403 for the object that has it."""

    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class UtcDateTimeField(serializers.DateTimeField):
    """A moment as the API shows it: ISO 8601, UTC. DRF's own field asks the settings for a time zone at each value."""

    def to_representation(self, value: datetime) -> str:
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


@lru_cache
def _shape(serializer_class: type[serializers.Serializer[Any]]) -> serializers.Serializer[Any]:
    return serializer_class()


def represent(serializer_class: type[serializers.Serializer[Any]], row: Any) -> dict[str, Any]:
    """One row as the API shows it. A serializer that only reads keeps nothing of what it has read, so one serves all;
    making it, which reads the model's fields anew, costs more than everything else that such an answer needs."""
    shown: dict[str, Any] = _shape(serializer_class).to_representation(row)
    return shown


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields that it does not know, so that a misspelled one is an error and not silently nothing."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = set(data) - set(self.fields) if hasattr(data, "keys") else set()
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as error:
            if not unknown or not isinstance(error.detail, dict):
                raise
            raise serializers.ValidationError({**error.detail, **_unknown(unknown)}) from error
        if unknown:
            raise serializers.ValidationError(_unknown(unknown))
        return value


def _unknown(names: set[str]) -> dict[str, list[str]]:
    return {str(name): ["There is no such field here."] for name in sorted(names, key=str)}
