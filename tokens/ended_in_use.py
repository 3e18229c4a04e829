"""Ended tokens that something still sends."""

from collections.abc import Sequence
from datetime import timedelta

from django.db.models import F

from auditlog import usage
from tokens.models import Token

# People who expire a token of their own often send it once more, to see that it is refused.
CHECKED_WITHIN = timedelta(minutes=15)
MOST_CHECKS = 3


# A page lists so many. Only these have their last use.
LISTED = 5


def ended_in_use(uses: usage.Uses) -> list[usage.AfterEnd]:
    """Ended tokens that were sent within the last 30 days, without those that only their owner has checked: a few
    times, soon after expiring them."""
    found = usage.after_end(uses)
    few = {token.token_id: token.last_at for token in found if token.count <= MOST_CHECKS}
    expired = Token.objects.filter(pk__in=few, revoked_by=F("owner")).values_list("pk", "revoked_at") if few else ()
    checked = {pk for pk, at in expired if at and few[pk] <= at + CHECKED_WITHIN}
    return [token for token in found if token.token_id not in checked]


def listed_in_use(uses: usage.Uses) -> list[usage.AfterEnd]:
    """The same for a page."""
    [listed] = with_last_uses(uses, ended_in_use(uses))
    return listed


def with_last_uses(uses: usage.Uses, *groups: Sequence[usage.AfterEnd]) -> list[list[usage.AfterEnd]]:
    """Each group with the last uses of its first `LISTED` tokens. A token whose last use is not in the log, for example
    because it was removed with old entries, is left out, and the next one is listed."""
    chosen = [token for group in groups for token in group[:LISTED]]
    found = {token.token_id: token for token in usage.with_last_uses(uses, chosen)}
    gone = {token.token_id for token in chosen} - found.keys()
    if gone:
        return with_last_uses(uses, *([token for token in group if token.token_id not in gone] for group in groups))
    return [[found.get(token.token_id, token) for token in group] for group in groups]
