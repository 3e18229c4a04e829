"""An open review campaign in the demo: some tokens are confirmed, the others wait."""

from collections.abc import Mapping

from django.utils import timezone

from accounts.models import User
from tokens.review.answering import confirm
from tokens.review.models import ReviewCampaign, ReviewItem
from tokens.review.planning import plan


def create_review(people: Mapping[str, User]) -> None:
    """Nobody gets a mail about it: the demo begins when everyone was told."""
    campaign = plan(actor=people["admin"], repeat_months=6)
    ReviewCampaign.objects.filter(pk=campaign.pk).update(told_at=timezone.now())
    for login in ("user", "security"):
        first = ReviewItem.objects.filter(campaign=campaign, owner=people[login]).order_by("id")[:1]
        ids = list(first.values_list("token_id", flat=True))
        confirm(actor=people[login], token_ids=ids, note="Still needed every night.")
