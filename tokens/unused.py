"""Ending tokens that nobody uses, where an organization's policy asks for it.

The policy blocks such a token at its next use already (`tokens.policy`), with or without a worker. This ends it for
good, so that its name is free, its owner knows, and a longer limit later does not give it life again.
"""

import threading
import uuid
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from django.db import transaction
from django.utils import timezone

from accounts.models import Organization
from auditlog.actions import Action
from tokens import policy
from tokens.models import Token
from tokens.querysets import not_ended
from tokens.services import end_tokens
from tokens.tasks import send_unused_mail

EVERY = timedelta(hours=1)
# In one transaction, and in one mail to each owner. SQLite has one writer, and each answered request is a write.
BATCH = 100


def end_unused(stopping: threading.Event) -> None:
    """Ends, in every organization that asks for it, the tokens that were not used for too long."""
    asking = Organization.objects.filter(unused_tokens_end_after_days__isnull=False)
    for organization_id in asking.values_list("pk", flat=True):
        while not stopping.is_set() and end_batch(organization_id):
            pass


def end_batch(organization_id: uuid.UUID) -> list[Token]:
    """Ends some of an organization's unused tokens and returns them; none when no more are left."""
    with transaction.atomic():
        # Locked: the policy stays what it is until they have ended.
        organization = Organization.objects.select_for_update(no_key=True).get(pk=organization_id)
        now = timezone.now()
        due = Token.objects.filter(not_ended(now), policy.unused(organization, now), organization=organization)
        # Locked too, and looked at once more by the database if a use was just being noted: it counts, or comes late.
        locked = due.select_for_update().order_by("pk")[:BATCH]
        ended = end_tokens(
            [token.pk for token in locked],
            action=Action.TOKEN_ENDED_UNUSED,
            reason=f"Not used for {policy.days(organization.unused_tokens_end_after_days)}.",
        )
        _tell_owners(ended)
    return ended


def _tell_owners(ended: Sequence[Token]) -> None:
    by_owner: dict[uuid.UUID, list[str]] = defaultdict(list)
    for token in ended:
        by_owner[token.owner_id].append(str(token.pk))
    for owner_id, token_ids in by_owner.items():
        transaction.on_commit(partial(send_unused_mail.enqueue, str(owner_id), token_ids), robust=True)
