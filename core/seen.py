"""Notices that an object was changed while a person was editing it, so that nobody overwrites a change unknowingly.

A form, or an answer of the API, carries a fingerprint of the stored values that it shows. The service that saves them
compares it with the row that it has locked: in forms the hidden field ``seen`` (`core/pages/seen.py`), in the API
`If-Match` (`core/api/etags.py`).
"""

import json
from typing import Any

from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy

from core.errors import DomainError


class ChangedMeanwhile(DomainError):
    """``now``: the fingerprint of what would be overwritten, for a person who saves again after reading this."""

    code = "changed_meanwhile"
    message = gettext_lazy(
        "Someone else changed this while you were editing it. Your text is still here. Compare it with the current "
        "version, then save again."
    )

    def __init__(self, now: str = "") -> None:
        super().__init__()
        self.now = now


def fingerprint(kind: str, *values: Any) -> str:
    """The same for the same values of the same object. ``values`` includes the object's id, and only what people edit:
    a counter, or a time that the portal writes, would change by itself.

    A keyed digest: without the key, nobody can guess a value from it. Encrypted values can be among the values, plain
    secrets never.
    """
    shown = json.dumps([kind, *values], sort_keys=True, default=str)
    return salted_hmac("opsera_portal.seen", shown, algorithm="sha256").hexdigest()[:32]


def check_seen(seen: str | None, *now: str) -> None:
    """Call it for a locked row, before anything is changed. Raises ``ChangedMeanwhile``.

    ``seen``: what the person saw; several are separated by spaces, and one of them must match; ``None`` checks nothing.
    ``now``: the fingerprint of the row; several if forms show different parts of it, the one of its page first.
    """
    if seen is not None and not set(seen.split()).intersection(now):
        raise ChangedMeanwhile(now[0])
