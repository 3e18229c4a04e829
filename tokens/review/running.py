"""The worker's job for review campaigns: each step finds what is due, and does nothing the second time."""

import threading
from datetime import timedelta

from django.utils import timezone

from tokens.review.closing import close, finish_answered
from tokens.review.models import ReviewCampaign
from tokens.review.starting import start
from tokens.review.telling import ask, warn

EVERY = timedelta(minutes=1)


def run(stopping: threading.Event) -> None:
    """Starts planned campaigns, asks people, warns them, and closes campaigns whose time is over."""
    campaigns = ReviewCampaign.objects
    for campaign_id in list(campaigns.to_start(timezone.now()).values_list("pk", flat=True)):
        start(campaign_id)
    for campaign in campaigns.to_tell():
        ask(campaign, stopping)
    for campaign in campaigns.to_remind(timezone.now()):
        warn(campaign, stopping)
    for campaign in campaigns.due(timezone.now()):
        close(campaign, stopping)
    finish_answered()
