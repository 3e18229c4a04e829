"""Serializers of review campaigns, their items, and the answers."""

from datetime import UTC, datetime
from typing import Any

from django.db.models import DateTimeField
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.api.paging import MAX_PAGE_SIZE
from core.api.serializers import (
    BoundedListField,
    EmailOfField,
    IdField,
    StrictSerializer,
    TextField,
    UtcDateTimeField,
    WholeNumberField,
)
from tokens.api.serializers import OrganizationTokenSerializer, ScopesField, TokenServiceField, service_answer
from tokens.lifetimes import parse_start
from tokens.review.models import (
    DEFAULT_DAYS,
    FEWEST_DAYS,
    MOST_DAYS,
    MOST_MONTHS,
    NOTE_MAX_LENGTH,
    CampaignState,
    ItemState,
    ReviewCampaign,
    ReviewItem,
)


class ReviewCampaignSerializer(serializers.ModelSerializer[ReviewCampaign]):
    """A review campaign. The times of the run are null until it starts."""

    state = serializers.SerializerMethodField()
    planned_by = EmailOfField("Who planned it, or the first of its series.")
    ended_by = EmailOfField("Who canceled it; null if nobody did.", allow_null=True)
    repeat_months = serializers.IntegerField(
        read_only=True, allow_null=True, help_text="Months until the next one; null: once."
    )
    digest = serializers.CharField(
        read_only=True, help_text="SHA-256 of the record's file, as the activity log has it; empty before the end."
    )
    is_record_pending = serializers.BooleanField(
        read_only=True, help_text="Whether it was canceled, and the record is still being written: `digest` is empty."
    )
    serializer_field_mapping = {**serializers.ModelSerializer.serializer_field_mapping, DateTimeField: UtcDateTimeField}

    class Meta:
        model = ReviewCampaign
        fields = [
            "id",
            "state",
            "planned_at",
            "planned_by",
            "starts_at",
            "answer_days",
            "repeat_months",
            "started_at",
            "reminded_at",
            "due_at",
            "ended_at",
            "ended_by",
            "digest",
            "is_record_pending",
        ]

    @extend_schema_field(serializers.ChoiceField(choices=CampaignState.choices))
    def get_state(self, campaign: ReviewCampaign) -> str:
        return campaign.state.value


class ReviewCountsSerializer(serializers.Serializer[Any]):
    """How many tokens have each answer."""

    total = serializers.IntegerField()
    waiting = serializers.IntegerField()
    confirmed = serializers.IntegerField()
    expired = serializers.IntegerField(help_text="Expired by the answer of an owner.")
    lapsed = serializers.IntegerField(help_text="Expired because nobody answered.")
    ended = serializers.IntegerField(help_text="Ended otherwise before an answer.")
    unanswered = serializers.IntegerField(help_text="Without an answer when the campaign was canceled.")


class ReviewCampaignDetailSerializer(ReviewCampaignSerializer):
    """A review campaign with its counts."""

    counts = serializers.SerializerMethodField()

    class Meta(ReviewCampaignSerializer.Meta):
        fields = [*ReviewCampaignSerializer.Meta.fields, "counts"]

    @extend_schema_field(ReviewCountsSerializer)
    def get_counts(self, campaign: ReviewCampaign) -> dict[str, int]:
        return ReviewItem.objects.filter(campaign=campaign).counts()._asdict()


class ReviewCheckSerializer(serializers.Serializer[Any]):
    """Whether the stored record is the one of the end."""

    digest = serializers.CharField(help_text="SHA-256 of the record as it is stored now.")
    sealed = serializers.CharField(help_text="What the activity log says; empty without an entry.")
    matches = serializers.BooleanField()
    is_pending = serializers.BooleanField(
        help_text="Whether the record of a canceled campaign is still being written. Try again in a minute."
    )


class ReviewItemSerializer(serializers.ModelSerializer[ReviewItem]):
    """A token of a campaign, as it was at the start, with the answer."""

    token_id = serializers.UUIDField(read_only=True)
    service = serializers.SerializerMethodField()
    scopes = serializers.SerializerMethodField()
    state = serializers.SerializerMethodField()
    answered_by = serializers.CharField(
        source="answered_by_email", read_only=True, help_text="E-mail of the person; empty if nobody answered."
    )
    note = serializers.CharField(read_only=True)
    serializer_field_mapping = {**serializers.ModelSerializer.serializer_field_mapping, DateTimeField: UtcDateTimeField}

    class Meta:
        model = ReviewItem
        fields = [
            "token_id",
            "token_name",
            "owner_name",
            "owner_email",
            "service",
            "scopes",
            "expires_at",
            "last_used_at",
            "state",
            "answered_by",
            "answered_at",
            "note",
        ]
        read_only_fields = fields

    @extend_schema_field(TokenServiceField())
    def get_service(self, item: ReviewItem) -> dict[str, Any] | None:
        return service_answer(item.token)

    @extend_schema_field(ScopesField())
    def get_scopes(self, item: ReviewItem) -> list[str]:
        return item.scope.split()

    @extend_schema_field(
        serializers.ChoiceField(
            choices=ItemState.choices,
            help_text="`lapsed`: expired because nobody answered. `ended`: the token ended otherwise before an answer. "
            "`unanswered`: nobody answered before the campaign was canceled.",
        )
    )
    def get_state(self, item: ReviewItem) -> str:
        return item.state.value


class TokenToConfirmSerializer(serializers.ModelSerializer[ReviewItem]):
    """A token that waits for your answer."""

    campaign_id = serializers.UUIDField(read_only=True)
    due_at = UtcDateTimeField(
        source="campaign.due_at", read_only=True, help_text="The token expires then, unless somebody confirms it."
    )
    token = OrganizationTokenSerializer(read_only=True)

    class Meta:
        model = ReviewItem
        fields = ["campaign_id", "due_at", "token"]


class PlanReviewBody(StrictSerializer):
    starts_at = TextField(
        max_length=40,
        required=False,
        allow_null=True,
        default=None,
        help_text="ISO 8601 date and time (without a zone: UTC), or date (its first second, UTC). At most two years "
        "ahead. Null: now.",
    )
    answer_days = WholeNumberField(
        required=False,
        default=DEFAULT_DAYS,
        min_value=FEWEST_DAYS,
        max_value=MOST_DAYS,
        help_text="How long people have to answer. They get a warning 3 days before the end. At most 28 if it repeats "
        "every month, 59 every second month.",
    )
    repeat_months = WholeNumberField(
        required=False,
        allow_null=True,
        default=None,
        min_value=1,
        max_value=MOST_MONTHS,
        help_text="How many months after its start the next one starts. Null: never.",
    )

    def validate_starts_at(self, value: str | None) -> datetime | None:
        return parse_start(value or "", zone=UTC)


class AnswerBody(StrictSerializer):
    ids = BoundedListField(child=IdField(), allow_empty=False, max_length=MAX_PAGE_SIZE, is_set=True)
    note = TextField(
        required=False,
        allow_blank=True,
        default="",
        max_length=NOTE_MAX_LENGTH,
        help_text="For the record and the log.",
    )


class AnswersSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField(help_text="Rows in this answer.")
    data = ReviewItemSerializer(many=True)  # type: ignore[assignment]
    next = serializers.URLField(allow_null=True)
