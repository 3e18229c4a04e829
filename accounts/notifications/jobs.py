"""What the worker does for notifications: it puts the daily mails, and removes old rows."""

import threading
import uuid
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from django.db import transaction
from django.utils import timezone

from accounts.models import Notification, Organization, User
from accounts.notifications.mails import digest_mail
from core.db.batches import batches_of, run_batches
from core.db.locks import lock_if_exists
from core.db.sqlite_turns import job_transaction

DIGEST_EVERY = timedelta(minutes=5)
PRUNE_EVERY = timedelta(days=1)
# Rows that one transaction removes.
BATCH = 500


def put_digests(stopping: threading.Event) -> None:
    """Puts one mail for each person whose daily mail is due."""
    due = Notification.objects.filter(digest_at__lte=timezone.now())
    people = list(due.order_by().values_list("person_id", flat=True).distinct())
    for _ in run_batches((partial(put_digest, person_id) for person_id in people), stopping=stopping):
        pass


def put_digest(person_id: uuid.UUID) -> None:
    with transaction.atomic():
        # If two workers run at once, the second one waits here and then finds nothing due.
        person = lock_if_exists(User.objects.all(), person_id)
        due = Notification.objects.filter(person=person, digest_at__lte=timezone.now())
        rows = list(due.order_by("at", "id").values_list("pk", "public_id"))
        if person is None or not rows:
            return
        for batch in batches_of(rows, BATCH):
            Notification.objects.filter(pk__in=[pk for pk, _ in batch]).update(digest_at=None)
        digest_mail.put(person_id, str(person_id), [str(public_id) for _, public_id in rows])


def prune(stopping: threading.Event) -> None:
    """Removes notifications that are older than what the logs of their organization keep."""
    for organization in Organization.objects.only("log_retention_days"):
        before = timezone.now() - timedelta(days=organization.log_retention_days)
        old = Notification.objects.filter(person__organization=organization, at__lt=before)
        found = list(old.order_by("pk").values_list("pk", flat=True))
        for _ in run_batches((partial(_remove, batch) for batch in batches_of(found, BATCH)), stopping=stopping):
            pass


def _remove(ids: Sequence[int]) -> None:
    with job_transaction():
        Notification.objects.filter(pk__in=ids).delete()
