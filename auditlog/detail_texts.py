"""Formats the details of an activity entry as text. They are JSON, and each action has its own structure."""

from typing import Any, NamedTuple

CHANGE = ("from", "to")


class Detail(NamedTuple):
    """The value is ``text``, or ``lines`` if it needs several."""

    label: str
    text: str
    lines: list[str]


def in_words(details: Any) -> list[Detail]:
    """All details that are not empty, in their order. They are an object, unless someone changed the stored entry."""
    if not isinstance(details, dict):
        return [] if _is_empty(details) else [_detail("details", details)]
    return [_detail(name, value) for name, value in details.items() if not _is_empty(value)]


def _detail(name: str, value: Any) -> Detail:
    if isinstance(value, dict):
        # A change shows both values, the old one first, even if one of them is empty.
        parts = [(side, value[side]) for side in CHANGE] if value.keys() == set(CHANGE) else _filled(value)
        lines = [f"{_label(key)}: {'nothing' if _is_empty(part) else _text(part)}" for key, part in parts]
        return Detail(_label(name), "", lines)
    if isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        return Detail(_label(name), "", [_text(part) for part in value if not _is_empty(part)])
    return Detail(_label(name), _text(value), [])


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, list):
        return ", ".join(_text(part) for part in value if not _is_empty(part))
    if isinstance(value, dict):
        return ", ".join(f"{_label(key)}: {_text(part)}" for key, part in _filled(value))
    return str(value)


def _filled(value: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(key, part) for key, part in value.items() if not _is_empty(part)]


def _label(name: str) -> str:
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})
