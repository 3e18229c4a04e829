"""The worker's job for review campaigns: each step finds what is due, and does nothing the second time."""

import logging
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta

from django.utils import timezone

from core.periodic_jobs import JobFailed
from tokens.review.closing import close, finish_answered, seal_cancelled
from tokens.review.models import ReviewCampaign
from tokens.review.starting import start
from tokens.review.telling import ask, warn

logger = logging.getLogger(__name__)

EVERY = timedelta(minutes=1)

Step = Callable[[ReviewCampaign, threading.Event], None]


def run(stopping: threading.Event) -> None:
    """Starts planned campaigns, asks people, warns them, closes campaigns whose time is over, and seals the records of
    canceled ones.

    If one campaign fails, the others go on. Raises ``JobFailed`` at the end, after each error was logged.
    """
    campaigns, failed = ReviewCampaign.objects, set()
    steps: list[tuple[Step, Callable[[], Iterable[ReviewCampaign]]]] = [
        (_start, lambda: campaigns.to_start(timezone.now())),
        (ask, campaigns.to_tell),
        (warn, lambda: campaigns.to_remind(timezone.now())),
        (close, lambda: campaigns.due(timezone.now())),
        (finish_answered, campaigns.told),
        (seal_cancelled, campaigns.to_seal),
    ]
    for step, found in steps:
        for campaign in found():
            if not _succeeds(step, campaign, stopping):
                failed.add(campaign.pk)
    if failed:
        raise JobFailed(f"{len(failed)} failed, see above.")


def _succeeds(step: Step, campaign: ReviewCampaign, stopping: threading.Event) -> bool:
    try:
        step(campaign, stopping)
    except Exception:
        logger.exception("The review campaign %s failed", campaign.pk)
        return False
    return True


def _start(campaign: ReviewCampaign, stopping: threading.Event) -> None:
    start(campaign.pk)
