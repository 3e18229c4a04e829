"""Tells people that nobody decided about their request in time."""

import threading
import uuid
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from django.utils import timezone

from accounts.notifications.kinds import REQUEST_LAPSED
from core.db.batches import batches_of, run_batches
from core.db.sqlite_turns import job_transaction
from tokens.approval.mails import tell_maker
from tokens.approval.models import ApprovalRequest

EVERY = timedelta(hours=1)
# Requests that lapsed earlier tell nothing: not after an upgrade, and not when their notifications were removed.
TOLD_FOR = timedelta(days=7)
BATCH = 20


def tell_lapsed(stopping: threading.Event) -> None:
    """Tells each person once: the constraint on notifications leaves out what was told before."""
    recently = ApprovalRequest.objects.lapsed().filter(token__waits_until__gt=timezone.now() - TOLD_FOR)
    found = list(recently.order_by("pk").values_list("pk", flat=True))
    for _ in run_batches((partial(_tell, batch) for batch in batches_of(found, BATCH)), stopping=stopping):
        pass


def _tell(ids: Sequence[uuid.UUID]) -> None:
    with job_transaction():
        requests = ApprovalRequest.objects.lapsed().filter(pk__in=ids).select_related("asked_by", "token__owner")
        for approval in requests:
            tell_maker(approval, REQUEST_LAPSED)
