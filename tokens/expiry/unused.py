"""Ends tokens that nobody uses, if the organization's policy says so.

The policy blocks such a token at its next use, without this job (`tokens.policy`). The job ends it permanently, so that
its name is free, its owner gets a mail, and a later change of the limit does not make it work again.
"""

import threading
import uuid
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.models import Organization
from accounts.notifications.kinds import EXPIRED_UNUSED
from auditlog.actions import Action
from core.db.batches import batches_of, run_batches
from core.db.expressions import Unindexed
from core.db.locks import lock, lock_all
from core.text import counted
from tokens.mails import tell_owners, unused_mail
from tokens.models import Token
from tokens.policy import rules
from tokens.querysets import not_ended
from tokens.services import end_tokens

EVERY = timedelta(hours=1)
# How many tokens end in one transaction, with one mail to each owner.
BATCH = 100


def end_unused(stopping: threading.Event) -> None:
    """Ends the tokens that were unused for too long, in every organization whose policy says so."""
    for organization in Organization.objects.filter(unused_tokens_end_after_days__isnull=False):
        # One search without a lock: it takes seconds among half a million tokens. Ordered by owner, so that each owner
        # gets few mails.
        due = Token.objects.filter(_is_due(organization), organization=organization)
        found = list(due.order_by("owner_id", "pk").values_list("pk", flat=True))
        batches = (partial(end_batch, organization.pk, batch) for batch in batches_of(found, BATCH))
        for _ in run_batches(batches, stopping=stopping):
            pass


def end_batch(organization_id: uuid.UUID, token_ids: Sequence[uuid.UUID]) -> list[Token]:
    """Ends those of an organization's tokens that are unused, and returns them."""
    with transaction.atomic():
        # The lock keeps the policy as it is until the tokens have ended.
        organization = lock(Organization.objects.all(), organization_id)
        # Found by id: through the index of the organization, SQLite would read half a million tokens.
        tokens = Token.objects.alias(_organization=Unindexed("organization_id"))
        due = tokens.filter(_is_due(organization), pk__in=token_ids, _organization=organization.pk)
        # If a use is just being noted, the database waits for it and checks the condition again.
        ended = end_tokens(
            [token.pk for token in lock_all(due, blocks_references=True)],
            action=Action.TOKEN_ENDED_UNUSED,
            reason=f"Not used for {counted(organization.unused_tokens_end_after_days or 0, 'day', 'days')}.",
        )
        tell_owners(EXPIRED_UNUSED, unused_mail, ended)
    return ended


def _is_due(organization: Organization) -> Q:
    now = timezone.now()
    return not_ended(now) & rules.unused(organization, now)
