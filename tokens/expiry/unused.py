"""Ending tokens that nobody uses, where an organization's policy asks for it.

The policy blocks such a token at its next use already (`tokens.policy`), with or without a worker. This ends it for
good, so that its name is free, its owner knows, and a longer limit later does not give it life again.
"""

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.models import Organization
from auditlog.actions import Action
from core.db.expressions import Unindexed
from tokens.mails import unused_mail
from tokens.models import Token
from tokens.policy import rules
from tokens.querysets import not_ended
from tokens.services import end_tokens

EVERY = timedelta(hours=1)
# In one transaction, and in one mail to each owner. SQLite has one writer, and each answered request is a write.
BATCH = 100


def end_unused(stopping: threading.Event) -> None:
    """Ends, in every organization that asks for it, the tokens that were not used for too long."""
    for organization in Organization.objects.filter(unused_tokens_end_after_days__isnull=False):
        # Looked for once and without a lock: among half a million tokens that takes seconds. Those of one owner follow
        # each other, for the sake of the mails.
        due = Token.objects.filter(_is_due(organization), organization=organization)
        found = list(due.order_by("owner_id", "pk").values_list("pk", flat=True))
        for start in range(0, len(found), BATCH):
            if stopping.is_set():
                return
            started_at = time.perf_counter()
            end_batch(organization.pk, found[start : start + BATCH])
            # As long as others had to wait, they may write now.
            stopping.wait(time.perf_counter() - started_at)


def end_batch(organization_id: uuid.UUID, token_ids: Sequence[uuid.UUID]) -> list[Token]:
    """Ends those of an organization's tokens that are unused, and returns them."""
    with transaction.atomic():
        # Locked: the policy stays what it is until they have ended.
        organization = Organization.objects.select_for_update(no_key=True).get(pk=organization_id)
        # By their ids: by the index of its organization, SQLite would look for them among half a million.
        tokens = Token.objects.alias(_organization=Unindexed("organization_id"))
        due = tokens.filter(_is_due(organization), pk__in=token_ids, _organization=organization.pk)
        # Locked too, and looked at once more by the database if a use was just being noted: it counts, or comes late.
        locked = due.select_for_update().order_by("pk")
        ended = end_tokens(
            [token.pk for token in locked],
            action=Action.TOKEN_ENDED_UNUSED,
            reason=f"Not used for {rules.days(organization.unused_tokens_end_after_days)}.",
        )
        _tell_owners(ended)
    return ended


def _is_due(organization: Organization) -> Q:
    now = timezone.now()
    return not_ended(now) & rules.unused(organization, now)


def _tell_owners(ended: Sequence[Token]) -> None:
    by_owner: dict[uuid.UUID, list[str]] = defaultdict(list)
    for token in ended:
        by_owner[token.owner_id].append(str(token.pk))
    for owner_id, token_ids in by_owner.items():
        unused_mail.put(owner_id, str(owner_id), token_ids)
