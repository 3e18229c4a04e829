"""Replaces the name and the addresses of an erased person in what others were told (`accounts/erasure.py`)."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from accounts.erasure import Erased, replace_in_rows
from accounts.models import Notification
from accounts.notifications.telling import name_of


def erase(erased: Erased) -> Iterator[int]:
    rows = Notification.objects.filter(person__organization=erased.person.organization)
    yield from replace_in_rows(erased, rows, ["details"], replace=partial(in_details, erased))


def in_details(erased: Erased, details: Any) -> Any:
    """The details without the person. As the actor, they have a name beside their address, also one of one word."""
    new = erased.value(details)
    if isinstance(new, dict) and new.get("actor") != details.get("actor"):
        new["actor"] = name_of(erased.person)
    return new
