"""The end of a campaign: unconfirmed tokens expire in batches, then the record is sealed with its digest.

Running it twice is harmless. If the worker is killed, the next run continues: an item with an answer is not touched.
"""

import threading
import uuid
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from django.db import transaction
from django.utils import timezone

from accounts.notifications.kinds import EXPIRED_UNCONFIRMED
from auditlog.actions import Action
from auditlog.record import record
from core.db.batches import batches_of, run_batches
from core.db.locks import lock_all, lock_if_exists
from tokens.mails import tell_owners, unconfirmed_mail
from tokens.models import Token
from tokens.review.models import Answer, ReviewCampaign, ReviewItem
from tokens.review.planning import plan_next
from tokens.review.record import digest_of
from tokens.services import end_tokens

# How many tokens end in one transaction, with one mail to each owner.
BATCH = 100
UNCONFIRMED = "Nobody confirmed it in a review campaign."


def close(campaign: ReviewCampaign, stopping: threading.Event) -> None:
    """Expires what nobody confirmed until the end, and finishes the campaign."""
    unanswered = ReviewItem.objects.filter(campaign=campaign).unanswered()
    found = list(unanswered.order_by("owner_id", "pk").values_list("pk", flat=True))
    batches = (partial(close_batch, campaign.pk, batch) for batch in batches_of(found, BATCH))
    for _ in run_batches(batches, stopping=stopping):
        pass
    finish(campaign.pk)


def close_batch(campaign_id: uuid.UUID, item_ids: Sequence[int]) -> list[Token]:
    """Expires those of the tokens that are still unconfirmed, and returns them. None if the campaign was cancelled.

    Before the end, it only notes which tokens have ended otherwise.
    """
    with transaction.atomic():
        campaign = lock_if_exists(ReviewCampaign.objects.open(), campaign_id)
        if campaign is None:
            return []
        now = timezone.now()
        items = lock_all(ReviewItem.objects.filter(pk__in=item_ids).unanswered())
        ended = _expire(items, campaign) if _is_due(campaign, now) else []
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
    items = ReviewItem.objects.filter(campaign=campaign_id)
    if campaign is None or items.unanswered().exists():
        return
    counts, digest = items.counts(), digest_of(campaign)
    with transaction.atomic():
        won = ReviewCampaign.objects.unfinished().filter(pk=campaign_id).update(ended_at=timezone.now(), digest=digest)
        if not won:
            return
        details = counts._asdict() | {"digest": digest, "by": "worker"}
        record(actor=campaign.planned_by, action=Action.REVIEW_FINISHED, target=campaign, **details)
        plan_next(campaign)


def finish_answered() -> None:
    """Finishes campaigns in which no token waits for an answer any more, before their time."""
    for campaign in ReviewCampaign.objects.open().filter(told_at__isnull=False):
        items = ReviewItem.objects.filter(campaign=campaign)
        if not items.waiting().exists():
            for batch in batches_of(list(items.unanswered().values_list("pk", flat=True)), BATCH):
                close_batch(campaign.pk, batch)
            finish(campaign.pk)


def _is_due(campaign: ReviewCampaign, now: datetime) -> bool:
    return campaign.reminded_at is not None and campaign.due_at is not None and campaign.due_at <= now


def _expire(items: list[ReviewItem], campaign: ReviewCampaign) -> list[Token]:
    ended = end_tokens(
        [item.token_id for item in items],
        action=Action.TOKEN_ENDED_UNCONFIRMED,
        reason=UNCONFIRMED,
        campaign=str(campaign.pk),
    )
    tell_owners(EXPIRED_UNCONFIRMED, unconfirmed_mail, ended)
    return ended
