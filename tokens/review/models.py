"""A review campaign, and its items: one for each token that was live when it started. Both are kept."""

import uuid
from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy, pgettext_lazy

from core.api import scopes
from core.badges import Badge, Tone
from tokens.names import MAX_LENGTH
from tokens.review.querysets import ReviewCampaignQuerySet, ReviewItemQuerySet

# How long people have to answer, and after how many months the next campaign starts.
FEWEST_DAYS, MOST_DAYS, DEFAULT_DAYS = 7, 60, 14
MOST_MONTHS = 24
# As long as the reason for expiring a token, because an expired token has ended for this reason.
NOTE_MAX_LENGTH = 200


class CampaignState(models.TextChoices):
    """Computed from the times, never stored."""

    PLANNED = "planned", pgettext_lazy("state of a review campaign", "Planned")
    OPEN = "open", pgettext_lazy("state of a review campaign", "Open")
    FINISHED = "finished", pgettext_lazy("state of a review campaign", "Finished")
    CANCELLED = "cancelled", pgettext_lazy("state of a review campaign", "Canceled")


class Answer(models.TextChoices):
    """Stored in an item. The last three are written at the end of the campaign."""

    CONFIRMED = "confirmed", pgettext_lazy("answer in a review campaign", "Confirmed")
    EXPIRED = "expired", pgettext_lazy("answer in a review campaign", "Expired by answer")
    LAPSED = "lapsed", pgettext_lazy("answer in a review campaign", "Expired without an answer")
    ENDED = "ended", pgettext_lazy("answer in a review campaign", "Ended otherwise")
    UNANSWERED = "unanswered", pgettext_lazy("answer in a review campaign", "Not answered, canceled")


class ItemState(models.TextChoices):
    """Computed from the answer, the token and the clock."""

    WAITING = "waiting", pgettext_lazy("answer in a review campaign", "Waiting")
    CONFIRMED = Answer.CONFIRMED.value, Answer.CONFIRMED.label
    EXPIRED = Answer.EXPIRED.value, Answer.EXPIRED.label
    LAPSED = Answer.LAPSED.value, Answer.LAPSED.label
    ENDED = Answer.ENDED.value, Answer.ENDED.label
    UNANSWERED = Answer.UNANSWERED.value, Answer.UNANSWERED.label


_CAMPAIGN_SIGNS: dict[CampaignState, tuple[str, Tone]] = {
    CampaignState.PLANNED: ("◌", "waiting"),
    CampaignState.OPEN: ("◷", "waiting"),
    CampaignState.FINISHED: ("●", "good"),
    CampaignState.CANCELLED: ("○", "neutral"),
}
_ITEM_SIGNS: dict[ItemState, tuple[str, Tone]] = {
    ItemState.WAITING: ("◷", "waiting"),
    ItemState.CONFIRMED: ("●", "good"),
    ItemState.EXPIRED: ("⊘", "neutral"),
    ItemState.LAPSED: ("⊘", "bad"),
    ItemState.ENDED: ("○", "neutral"),
    ItemState.UNANSWERED: ("○", "neutral"),
}


class ReviewCampaign(models.Model):
    """``due_at``: when unconfirmed tokens expire, and ``reminds_at`` when people are warned of it; set at the start.

    ``told_at`` and ``reminded_at``: when everyone had been asked and warned. ``digest``: SHA-256 of the record's file,
    since ``sealed_at``. A campaign that was canceled before its start has none. ``repeat_months``: the end plans the
    next campaign, unless somebody cancels. ``series_at``: from when these months are counted.
    """

    id = models.UUIDField("ID", primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey("accounts.Organization", on_delete=models.PROTECT, related_name="+")
    planned_by = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+", db_index=False)
    planned_at = models.DateTimeField(default=timezone.now)
    starts_at = models.DateTimeField(default=timezone.now)
    series_at = models.DateTimeField(default=timezone.now)
    answer_days = models.PositiveSmallIntegerField(
        "days to answer",
        default=DEFAULT_DAYS,
        validators=[MinValueValidator(FEWEST_DAYS), MaxValueValidator(MOST_DAYS)],
    )
    repeat_months = models.PositiveSmallIntegerField(
        "months between two campaigns", null=True, validators=[MinValueValidator(1), MaxValueValidator(MOST_MONTHS)]
    )
    started_at = models.DateTimeField(null=True)
    told_at = models.DateTimeField(null=True)
    reminds_at = models.DateTimeField(null=True)
    reminded_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.ForeignKey("accounts.User", on_delete=models.PROTECT, null=True, related_name="+", db_index=False)
    is_cancelled = models.BooleanField(default=False)
    digest = models.CharField("SHA-256 of the record", max_length=64, blank=True, default="")
    sealed_at = models.DateTimeField(null=True)

    objects: ClassVar[ReviewCampaignQuerySet] = ReviewCampaignQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        app_label = "tokens"
        ordering = ["-planned_at", "-id"]
        indexes = [
            models.Index(fields=["organization", "-planned_at", "-id"], name="review_org_newest"),
            # The worker looks for these each minute.
            models.Index(fields=["starts_at"], condition=Q(ended_at__isnull=True), name="review_unfinished"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["organization"], condition=Q(ended_at__isnull=True), name="review_one_unfinished"
            ),
            models.CheckConstraint(
                condition=Q(answer_days__gte=FEWEST_DAYS, answer_days__lte=MOST_DAYS), name="review_answer_days"
            ),
            models.CheckConstraint(
                condition=Q(repeat_months__isnull=True) | Q(repeat_months__gte=1, repeat_months__lte=MOST_MONTHS),
                name="review_repeat_months",
            ),
            models.CheckConstraint(
                condition=Q(started_at__isnull=True, due_at__isnull=True, reminds_at__isnull=True)
                | Q(started_at__isnull=False, due_at__isnull=False, reminds_at__isnull=False),
                name="review_started_has_an_end",
            ),
        ]

    def __str__(self) -> str:
        return f"Review campaign {self.starts_at:%Y-%m-%d}"

    @property
    def state(self) -> CampaignState:
        if self.is_cancelled:
            return CampaignState.CANCELLED
        if self.ended_at is not None:
            return CampaignState.FINISHED
        return CampaignState.PLANNED if self.started_at is None else CampaignState.OPEN

    @property
    def badge(self) -> Badge:
        sign, tone = _CAMPAIGN_SIGNS[self.state]
        return Badge(sign, self.state.label, tone)

    @property
    def is_unfinished(self) -> bool:
        return self.ended_at is None

    @property
    def has_record(self) -> bool:
        """Whether there are items: it has started."""
        return self.started_at is not None

    @property
    def is_record_pending(self) -> bool:
        """Whether it was canceled, and the worker still writes the record."""
        return self.has_record and self.ended_at is not None and self.sealed_at is None


class ReviewItem(models.Model):
    """One token of a campaign. The copied columns are as they were when the campaign started, for the record."""

    id = models.BigAutoField("ID", primary_key=True)
    campaign = models.ForeignKey(ReviewCampaign, on_delete=models.CASCADE, related_name="items", db_index=False)
    token = models.ForeignKey("tokens.Token", on_delete=models.PROTECT, related_name="review_items")
    owner = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+", db_index=False)
    token_name = models.CharField(max_length=MAX_LENGTH)
    owner_name = models.CharField(max_length=100)
    owner_email = models.CharField("owner's e-mail", max_length=254)
    scope = models.CharField("scopes", max_length=scopes.MAX_LENGTH)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)
    answer = models.CharField(max_length=10, choices=Answer, blank=True, default="")
    answered_by = models.ForeignKey(
        "accounts.User", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    answered_by_email = models.CharField("answered by", max_length=254, blank=True, default="")
    answered_at = models.DateTimeField(null=True)
    note = models.CharField(gettext_lazy("note"), max_length=NOTE_MAX_LENGTH, blank=True, default="")

    objects: ClassVar[ReviewItemQuerySet] = ReviewItemQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        app_label = "tokens"
        ordering = ["id"]
        indexes = [
            # For "3 tokens wait for your confirmation" on every overview: most items are answered.
            models.Index(fields=["owner"], condition=Q(answer=""), name="review_item_unanswered"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["campaign", "token"], name="review_item_once"),
            models.CheckConstraint(
                condition=Q(answer="", answered_at__isnull=True) | (~Q(answer="") & Q(answered_at__isnull=False)),
                name="review_item_answer_has_a_time",
            ),
        ]

    def __str__(self) -> str:
        return self.token_name

    @property
    def state(self) -> ItemState:
        if self.answer:
            return ItemState(self.answer)
        return ItemState.WAITING if self.token.ended_at is None else ItemState.ENDED

    @property
    def badge(self) -> Badge:
        sign, tone = _ITEM_SIGNS[self.state]
        return Badge(sign, self.state.label, tone)
