"""Tokens that can be used only a number of times. The number is fixed when the token is created."""

from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db.models import Case, F, Q, When
from django.utils.translation import gettext

from core.text import grouped
from tokens.models import Token

MOST_USES = 1_000_000
# In a query: tokens that can be used as often as their owner likes, or that have uses left.
HAS_USES_LEFT = Q(max_uses__isnull=True) | Q(use_count__lt=F("max_uses"))


def clean_max_uses(number: int | None) -> int | None:
    """Raises ``ValidationError`` if it is out of range. ``None``: without a limit."""
    if number is not None and not 1 <= number <= MOST_USES:
        raise ValidationError(gettext("Enter a number from 1 to %(most)s.") % {"most": grouped(MOST_USES)})
    return number


def take_use(token: Token, *, at: datetime) -> bool:
    """Counts one use of a token that can be used a number of times; ``False`` if none is left.

    The token ends with its last use. One statement does both, so that the count is exact however many requests come at
    once, and to however many processes. The clock of this server can be behind that of the server that created the
    token, and a token can't end before its creation.
    """
    end = max(at, token.created_at + timedelta(microseconds=1))
    last_ends_it = Case(When(use_count=F("max_uses") - 1, then=end), default=F("expires_at"))
    has_left = Token.objects.filter(HAS_USES_LEFT, pk=token.pk)
    was_left = has_left.update(use_count=F("use_count") + 1, expires_at=last_ends_it)
    token.refresh_from_db(fields=["use_count", "expires_at"])
    return bool(was_left)
