"""The MACs of entries and of blocks, and what they cover."""

import hmac
import json
import uuid
from collections.abc import Mapping
from typing import Any

from auditlog.models import Seal
from auditlog.seals.entries import MODELS, Raw, Row, columns
from auditlog.seals.keys import key_for


class EntryMac:
    """Computes the MAC of an entry, as its record contains it. ``row`` has the values of ``columns``."""

    def __init__(self, log: Seal.Log) -> None:
        self._key = key_for(f"entries of the {log} log")
        self._columns = columns(MODELS[log])

    def __call__(self, row: Row) -> bytes:
        # By name and without nulls: a column that is added later does not change the MACs of older entries.
        named = {name: value for name, value in zip(self._columns, row, strict=True) if value is not None}
        return hmac.digest(self._key, _canonical(named), "sha256")[:16]


def block_mac(block: Seal) -> str:
    header = {
        "log": block.log,
        "number": block.number,
        "kind": block.kind,
        "made_at": block.made_at,
        "first_id": block.first_id,
        "last_id": block.last_id,
        "count": block.count,
        "newest": block.newest,
        "entries_digest": block.entries_digest,
        "previous": block.previous,
    }
    return hmac.digest(key_for("blocks"), _canonical(header), "sha256").hex()


def is_genuine(block: Seal) -> bool:
    return hmac.compare_digest(block.mac.encode(), block_mac(block).encode())


def _as_text(value: Any) -> Any:
    if isinstance(value, Raw):
        return [value.kind, value.text]
    return value.hex if isinstance(value, uuid.UUID) else str(value)


# The same text from every database, however it orders the keys of an object.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_as_text).encode


def _canonical(values: Mapping[str, Any]) -> bytes:
    return _encode(values).encode()
