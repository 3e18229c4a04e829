"""An open review campaign in the demo: some tokens are confirmed, the others wait."""

from collections.abc import Mapping

from django.utils import timezone

from accounts.models import User
from tokens.review.answering import confirm
from tokens.review.models import ReviewCampaign, ReviewItem
from tokens.review.planning import plan

CONFIRMED = 2


def create_review(people: Mapping[str, User]) -> None:
    """Nobody gets a mail about it: the demo begins when everyone was told."""
    campaign = plan(actor=people["admin"], repeat_months=6)
    ReviewCampaign.objects.filter(pk=campaign.pk).update(told_at=timezone.now())
    own = ReviewItem.objects.asked_of(people["user"]).order_by("id").values_list("token_id", flat=True)
    confirm(actor=people["user"], token_ids=list(own[:CONFIRMED]), note="Still needed every night.")
