"""The cache in Redis, with JSON instead of pickle (core/cache/json_cache.py)."""

import json
from typing import Any

from django_redis.client import DefaultClient
from django_redis.serializers.base import BaseSerializer

from core.cache.json_cache import NotJSON, loads


class JSONSerializer(BaseSerializer):
    """The library's own would silently turn a date into a text."""

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def loads(self, value: bytes) -> Any:
        return loads(value)


class JSONClient(DefaultClient):
    """A value that can't be read counts as missing."""

    def get(self, key: Any, default: Any = None, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().get(key, default, *args, **kwargs)
        except NotJSON:
            return default

    def get_many(self, keys: Any, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        missing = object()
        found = {key: self.get(key, missing, *args, **kwargs) for key in keys}
        return {key: value for key, value in found.items() if value is not missing}
