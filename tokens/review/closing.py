"""The end of a campaign: unconfirmed tokens expire in batches, then the record is sealed with its digest.

Running it twice is harmless. If the worker is killed, the next run continues: an item with an answer is not touched.
"""

import threading
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.notifications.kinds import EXPIRED_UNCONFIRMED
from auditlog.actions import Action
from auditlog.record import record
from core.db.batches import batches_of, run_batches
from core.db.locks import lock_all, lock_if_exists
from core.db.sqlite_turns import job_transaction
from tokens.mails import EarlyEndMails, unconfirmed_mail
from tokens.models import Token
from tokens.replacement import with_replaced
from tokens.review.models import Answer, ReviewCampaign, ReviewItem
from tokens.review.planning import plan_next
from tokens.review.record import digest_of
from tokens.services import end_tokens

# How many tokens end in one transaction. Each owner gets one mail, unless the worker stops in between.
BATCH = 100
UNCONFIRMED = "Nobody confirmed it in a review campaign."


def close(campaign: ReviewCampaign, stopping: threading.Event) -> None:
    """Expires what nobody has confirmed by the end, and finishes the campaign.

    Before the end, it only finishes a campaign in which no token waits any more.
    """
    mails = EarlyEndMails(EXPIRED_UNCONFIRMED, unconfirmed_mail)
    _run(partial(close_batch, mails=mails), campaign, stopping)
    finish(campaign.pk)


def close_batch(campaign_id: uuid.UUID, item_ids: Sequence[int], mails: EarlyEndMails) -> list[Token]:
    """Expires those of the tokens that are still unconfirmed, and returns them. None if the campaign was canceled.

    Before the end, it only notes which tokens have ended otherwise.
    """
    with job_transaction():
        campaign = lock_if_exists(ReviewCampaign.objects.open(), campaign_id)
        if campaign is None:
            return []
        now = timezone.now()
        items = lock_all(ReviewItem.objects.filter(pk__in=item_ids).unanswered())
        ended = _expire(items, campaign, mails) if _is_due(campaign, now) else []
        expired = {token.pk for token in ended}
        lapsed = [item.pk for item in items if item.token_id in expired]
        rest = ReviewItem.objects.filter(pk__in=[item.pk for item in items]).exclude(pk__in=lapsed)
        ReviewItem.objects.filter(pk__in=lapsed).update(answer=Answer.LAPSED, answered_at=now)
        rest.ended_otherwise().update(answer=Answer.ENDED, answered_at=now)
    return ended


def finish(campaign_id: uuid.UUID) -> None:
    """Seals the record, once every item has an answer, and plans the next campaign of a series.

    The digest is computed before the campaign is locked: nothing changes an item with an answer.
    """
    campaign = ReviewCampaign.objects.open().select_related("planned_by", "organization").filter(pk=campaign_id).first()
    if campaign is None or ReviewItem.objects.filter(campaign=campaign_id).unanswered().exists():
        return
    details, digest = _record_of(campaign)
    with transaction.atomic():
        now = timezone.now()
        unfinished = ReviewCampaign.objects.unfinished().filter(pk=campaign_id)
        if unfinished.update(ended_at=now, digest=digest, sealed_at=now):
            record(actor=campaign.planned_by, action=Action.REVIEW_FINISHED, target=campaign, **details)
            plan_next(campaign)


def finish_answered(campaign: ReviewCampaign, stopping: threading.Event) -> None:
    """Finishes the campaign before its time if no token waits for an answer any more."""
    if not ReviewItem.objects.filter(campaign=campaign).waiting().exists():
        close(campaign, stopping)


def seal_cancelled(campaign: ReviewCampaign, stopping: threading.Event) -> None:
    """Writes which tokens of a canceled campaign nobody answered for, then seals its record."""
    _run(_note_unanswered, campaign, stopping)
    if ReviewItem.objects.filter(campaign=campaign).unanswered().exists():
        return
    details, digest = _record_of(campaign)
    with transaction.atomic():
        if ReviewCampaign.objects.to_seal().filter(pk=campaign.pk).update(digest=digest, sealed_at=timezone.now()):
            record(actor=campaign.planned_by, action=Action.REVIEW_CANCELLED, target=campaign, **details)


def _record_of(campaign: ReviewCampaign) -> tuple[dict[str, Any], str]:
    """What the sealing entry says, and the digest."""
    digest = digest_of(campaign)
    counts = ReviewItem.objects.filter(campaign=campaign).counts()
    return counts._asdict() | {"digest": digest, "by": "worker"}, digest


def _run(
    change: Callable[[uuid.UUID, Sequence[int]], object], campaign: ReviewCampaign, stopping: threading.Event
) -> None:
    """Changes the unanswered items in batches."""
    unanswered = ReviewItem.objects.filter(campaign=campaign).unanswered()
    found = list(unanswered.order_by("owner_id", "pk").values_list("pk", flat=True))
    batches = (partial(change, campaign.pk, batch) for batch in batches_of(found, BATCH))
    for _ in run_batches(batches, stopping=stopping):
        pass


def _note_unanswered(campaign_id: uuid.UUID, item_ids: Sequence[int]) -> None:
    now = timezone.now()
    with job_transaction():
        if ReviewCampaign.objects.to_seal().filter(pk=campaign_id).exists():
            items = ReviewItem.objects.filter(pk__in=item_ids).unanswered()
            items.ended_otherwise().update(answer=Answer.ENDED, answered_at=now)
            items.update(answer=Answer.UNANSWERED, answered_at=now)


def _is_due(campaign: ReviewCampaign, now: datetime) -> bool:
    return campaign.reminded_at is not None and campaign.due_at is not None and campaign.due_at <= now


def _expire(items: list[ReviewItem], campaign: ReviewCampaign, mails: EarlyEndMails) -> list[Token]:
    ended = end_tokens(
        with_replaced(items),
        action=Action.TOKEN_ENDED_UNCONFIRMED,
        reason=UNCONFIRMED,
        campaign=str(campaign.pk),
    )
    mails.add(ended)
    return ended
