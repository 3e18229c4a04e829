"""What accounts need from access tokens, whose app imports this one: it connects receivers to these signals."""

from typing import TYPE_CHECKING, Any

from django.db.models import IntegerField, Value
from django.db.models.expressions import Combinable
from django.dispatch import Signal
from django.http import HttpRequest

if TYPE_CHECKING:
    from accounts.models import User

# Receivers get no arguments and return an expression: how many live tokens each person of a query has.
live_tokens_counted = Signal()
# Receivers end the live tokens of ``actor`` and return how many ended. Arguments: ``actor``, ``reason``, ``request``.
# Sent inside a transaction.
all_tokens_expired = Signal()


def live_token_count() -> Combinable:
    """How many live tokens each person of a query has, for ``annotate``."""
    counts: list[Any] = [count for _, count in live_tokens_counted.send(sender=None)]
    total: Combinable = sum(counts, start=Value(0, output_field=IntegerField()))
    return total


def expire_all_tokens(*, actor: "User", reason: str, request: HttpRequest) -> int:
    """Expires all live tokens of ``actor`` and returns how many there were. Call it in a transaction."""
    counts: list[Any] = [
        count for _, count in all_tokens_expired.send(sender=None, actor=actor, reason=reason, request=request)
    ]
    return sum(counts)
