"""Asks the people of a campaign to confirm tokens, and warns those who have not answered before it ends.

Everyone is told in a transaction of their owners' batch. If the worker is killed, the next run tells the others: a
notification is stored once.
"""

import threading
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.answering import people_answering_for
from accounts.models import User
from accounts.notifications.kinds import REVIEW_WAITING
from accounts.notifications.telling import News, store
from auditlog.actions import Action
from auditlog.record import record
from core.db.batches import batches_of, run_batches
from core.db.locks import lock_if_exists
from core.db.sqlite_turns import job_transaction
from tokens.review.mails import review_mail
from tokens.review.models import ReviewCampaign, ReviewItem
from tokens.review.starting import WARNED_BEFORE

# How many owners one transaction asks.
BATCH = 100
# If people are warned later than this before the end, the end moves.
LATE = timedelta(days=2)


def ask(campaign: ReviewCampaign, stopping: threading.Event) -> None:
    """Asks everyone who has tokens to confirm."""
    if _tell(campaign, stopping, is_warning=False):
        ReviewCampaign.objects.filter(pk=campaign.pk, told_at__isnull=True).update(told_at=timezone.now())


def warn(campaign: ReviewCampaign, stopping: threading.Event) -> None:
    """Warns everyone who has not answered. If that is late because no worker ran, the campaign ends later."""
    found = _with_time_to_answer(campaign)
    if found is None or not _tell(found, stopping, is_warning=True):
        return
    with transaction.atomic():
        to_warn = ReviewCampaign.objects.open().filter(pk=found.pk, reminded_at__isnull=True)
        if to_warn.update(reminded_at=timezone.now()) and found.due_at is not None:
            record(
                actor=found.planned_by,
                action=Action.REVIEW_REMINDED,
                target=found,
                waiting=ReviewItem.objects.filter(campaign=found).waiting().count(),
                due_at=found.due_at.isoformat(),
                by="worker",
            )


def _with_time_to_answer(campaign: ReviewCampaign) -> ReviewCampaign | None:
    """The campaign as it is now, with an end that leaves people time to answer; ``None`` if nobody has to be warned."""
    with transaction.atomic():
        to_warn = ReviewCampaign.objects.open().filter(reminded_at__isnull=True)
        found = lock_if_exists(to_warn.select_related("planned_by", "organization"), campaign.pk)
        if found is not None and found.due_at is not None and found.due_at < timezone.now() + LATE:
            found.due_at = timezone.now() + WARNED_BEFORE
            found.save(update_fields=["due_at"])
    return found


def _tell(campaign: ReviewCampaign, stopping: threading.Event, *, is_warning: bool) -> bool:
    """Returns whether everyone was told, rather than stopped."""
    waiting = ReviewItem.objects.filter(campaign=campaign).waiting()
    owners = list(waiting.order_by("owner_id").values_list("owner_id", flat=True).distinct())
    tell_some = partial(_tell_owners, campaign, is_warning=is_warning)
    for _ in run_batches((partial(tell_some, batch) for batch in batches_of(owners, BATCH)), stopping=stopping):
        pass
    return not stopping.is_set()


def _tell_owners(campaign: ReviewCampaign, owner_ids: Sequence[UUID], *, is_warning: bool) -> None:
    answering = people_answering_for(User.objects.filter(pk__in=owner_ids))
    readers = {reader.pk for people in answering.values() for reader in people}
    once = f"{campaign.pk} warning" if is_warning else str(campaign.pk)
    details = {"expires_at": campaign.due_at.isoformat() if campaign.due_at else ""}
    with job_transaction():
        if lock_if_exists(ReviewCampaign.objects.open(), campaign.pk) is None:
            return
        told = store(News(kind=REVIEW_WAITING, person_id=pk, once=once, details=details) for pk in sorted(readers))
        review_mail.put_each((pk, [str(pk), str(campaign.pk), is_warning]) for pk in told)
