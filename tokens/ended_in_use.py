"""Ended tokens that something still sends."""

from datetime import timedelta

from auditlog import usage
from tokens.models import Token

# People who expire a token often send it once more, to see that it is refused.
CHECKED_WITHIN = timedelta(minutes=15)


def ended_in_use(uses: usage.Uses) -> list[usage.AfterEnd]:
    """Ended tokens that were sent within the last 30 days, without those that were only checked after being expired."""
    found = usage.after_end(uses)
    last_sent = {token.last.token_id: token.last.at for token in found}
    revoked = Token.objects.revoked().filter(pk__in=last_sent).values_list("pk", "revoked_at") if found else ()
    checked = {pk for pk, at in revoked if at and last_sent[pk] <= at + CHECKED_WITHIN}
    return [token for token in found if token.last.token_id not in checked]
