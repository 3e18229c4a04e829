"""Serializer bases that all API doors share."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, ClassVar
from uuid import UUID

from rest_framework import serializers

from core import ids
from core.http.request_context import without_tokens


class TextField(serializers.CharField):
    """A text, and nothing that could be turned into one: a number where a name belongs is a mistake of the caller."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class NameField(TextField):
    """One printable line with more in it than spaces. The schema says it as a pattern; services check it."""

    pattern: ClassVar[str] = r"^[^\p{C}\p{Z}](([^\p{C}\p{Z}]|[ \u200c\u200d])*[^\p{C}\p{Z}])?$"


class IdField(serializers.UUIDField):
    """A UUID as text (core/ids.py). DRF would take a number for one, and answer 403 for the object that has
    it, and several other forms."""

    def to_internal_value(self, data: Any) -> UUID:
        try:
            return ids.read(data if isinstance(data, str) else "")
        except ValueError:
            self.fail("invalid", value=data)


class FlagField(serializers.BooleanField):
    """True or false. DRF would take "no" and 0 for one of them."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise serializers.ValidationError("Must be true or false.")
        return data


class WholeNumberField(serializers.IntegerField):
    """A whole number. DRF would take one in quotes as well."""

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int | float) or isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


class BoundedListField(serializers.ListField):
    """A list whose length is looked at before what is in it: DRF would give each of a hundred thousand wrong items a
    sentence of its own first. ``is_set``: no item stands in it twice."""

    default_error_messages = {
        "max_length": "At most {max_length} may stand here.",
        "twice": "An item stands here twice.",
    }

    def __init__(self, *, max_length: int, is_set: bool = False, **kwargs: Any) -> None:
        self.at_most = max_length
        self.is_set = is_set
        super().__init__(max_length=max_length, **kwargs)

    def to_internal_value(self, data: Any) -> list[Any]:
        if isinstance(data, list) and len(data) > self.at_most:
            self.fail("max_length", max_length=self.at_most)
        items: list[Any] = super().to_internal_value(data)
        if self.is_set and len(set(items)) != len(items):
            self.fail("twice")
        return items


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
    """Refuses fields that it does not know, so that a misspelled one is an error and not silently nothing.

    ``together``: what ``validate`` asks of the fields together, as far as JSON Schema can say it.
    """

    together: ClassVar[dict[str, Any]] = {}

    def to_internal_value(self, data: Any) -> Any:
        unknown = set(data) - set(self.fields) if hasattr(data, "keys") else set()
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as error:
            if not unknown or not isinstance(error.detail, dict):
                raise
            raise serializers.ValidationError({**error.detail, **unknown_fields(unknown)}) from error
        if unknown:
            raise serializers.ValidationError(unknown_fields(unknown))
        return value


def unknown_fields(names: set[str]) -> dict[str, list[str]]:
    """An error for each. A token that was sent where a name belongs must not come back in the answer."""
    return {without_tokens(str(name)): ["There is no such field here."] for name in sorted(names, key=str)}
