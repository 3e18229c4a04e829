"""Ends the tokens of service accounts that nobody active is responsible for, if the organization's policy says so.

As for unused tokens (`tokens.expiry.unused`), the policy blocks such a token at its next use without this job, and the
job ends it permanently. Administrators are told.
"""

import threading
import uuid
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from django.db import transaction
from django.utils import timezone

from accounts.models import Organization
from accounts.notifications.kinds import EXPIRED_ORPHANED
from accounts.services import note_orphans
from auditlog.actions import Action
from core.db.batches import batches_of, run_batches
from core.db.locks import lock
from core.text import counted
from tokens.mails import orphaned_mail, tell_owners
from tokens.models import Token
from tokens.policy import rules
from tokens.services import end_tokens

EVERY = timedelta(hours=1)
# How many tokens end in one transaction, with one mail to each Administrator for each service account.
BATCH = 100


def end_orphaned(stopping: threading.Event) -> None:
    """Ends the due tokens, in every organization whose policy says so."""
    with transaction.atomic():
        # Also finds people who were deactivated without the services.
        note_orphans()
    for organization in Organization.objects.filter(orphaned_service_tokens_end_after_days__isnull=False):
        due = Token.objects.live().filter(rules.orphaned(organization, timezone.now()), organization=organization)
        found = list(due.order_by("owner_id", "pk").values_list("pk", flat=True))
        batches = (partial(end_batch, organization.pk, batch) for batch in batches_of(found, BATCH))
        for _ in run_batches(batches, stopping=stopping):
            pass


def end_batch(organization_id: uuid.UUID, token_ids: Sequence[uuid.UUID]) -> list[Token]:
    """Ends those of an organization's tokens that are due, and returns them."""
    with transaction.atomic():
        # The lock keeps the policy, and who is responsible, as they are until the tokens have ended.
        organization = lock(Organization.objects.all(), organization_id)
        due = Token.objects.filter(
            rules.orphaned(organization, timezone.now()), pk__in=token_ids, organization=organization
        )
        days = counted(organization.orphaned_service_tokens_end_after_days or 0, "day", "days")
        ended = end_tokens(
            list(due.values_list("pk", flat=True)),
            action=Action.TOKEN_ENDED_ORPHANED,
            reason=f"Nobody active was responsible for {days}.",
        )
        tell_owners(EXPIRED_ORPHANED, orphaned_mail, ended)
    return ended
