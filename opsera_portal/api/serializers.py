"""Serializer bases that all API doors share."""

from typing import Any

from rest_framework import serializers


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
