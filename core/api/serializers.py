"""Serializer fields and bases of the API."""

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core import ids
from core.http.request_context import without_tokens


class TextField(serializers.CharField):
    """A text. Other types are errors: DRF would turn a number into a text."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class NameField(TextField):
    """One printable line that is not only spaces. The pattern is for the schema; services check the rule."""

    pattern: ClassVar[str] = r"^[^\p{C}\p{Z}](([^\p{C}\p{Z}]|[ \u200c\u200d])*[^\p{C}\p{Z}])?$"


class IdField(serializers.UUIDField):
    """A UUID as text (core/ids.py). DRF would also accept numbers and other spellings."""

    def to_internal_value(self, data: Any) -> UUID:
        try:
            return ids.read(data if isinstance(data, str) else "")
        except ValueError:
            self.fail("invalid", value=data)


class FlagField(serializers.BooleanField):
    """True or false. DRF would also accept "no" and 0."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise serializers.ValidationError("Must be true or false.")
        return data


class WholeNumberField(serializers.IntegerField):
    """A whole number. DRF would also accept one in quotes."""

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int | float) or isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


class BoundedListField(serializers.ListField):
    """A list whose length is checked before its items: DRF would first write a message for each of a hundred thousand
    wrong items. ``is_set``: no item can be in it twice."""

    default_error_messages = {
        "max_length": "There can be at most {max_length}.",
        "twice": "An item is in the list twice.",
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


@extend_schema_field({"type": "object", "additionalProperties": {}})
class BoundedObjectField(serializers.JSONField):
    """Any JSON object of at most ``max_length`` characters of JSON."""

    default_error_messages = {
        "not_an_object": "This must be an object.",
        "max_length": "As JSON, it can have at most {max_length} characters.",
    }

    def __init__(self, *, max_length: int, **kwargs: Any) -> None:
        self.max_length = max_length
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        found = super().to_internal_value(data)
        if not isinstance(found, dict):
            self.fail("not_an_object")
        if len(json.dumps(found)) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return found


def utc_text(moment: datetime) -> str:
    """ISO 8601, UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


class EmailOfField(serializers.SlugRelatedField[Any]):
    """The e-mail address of a person, for reading."""

    def __init__(self, help_text: str, *, allow_null: bool = False) -> None:
        super().__init__(slug_field="email", read_only=True, allow_null=allow_null, help_text=help_text)


class UtcDateTimeField(serializers.DateTimeField):
    """A time in ISO 8601, UTC. DRF's own field reads the time zone from the settings for each value."""

    def to_representation(self, value: datetime) -> str:
        return utc_text(value)


@lru_cache
def _shape(serializer_class: type[serializers.Serializer[Any]]) -> serializers.Serializer[Any]:
    return serializer_class()


def represent(serializer_class: type[serializers.Serializer[Any]], row: Any) -> dict[str, Any]:
    """One row as the API shows it. One instance of a read-only serializer serves all requests, because it keeps no
    state; creating it, which reads the model's fields, costs more than the rest of such an answer."""
    shown: dict[str, Any] = _shape(serializer_class).to_representation(row)
    return shown


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses unknown fields, so that a misspelled field is an error instead of being ignored.

    ``together``: what ``validate`` requires of several fields together, as far as JSON Schema can say it.
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
    """An error for each name. A token that was sent in place of a name must not be repeated in the answer."""
    return {without_tokens(str(name)): ["This field does not exist."] for name in sorted(names, key=str)}
