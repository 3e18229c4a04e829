"""Serializers of requests to approve a token."""

from typing import Any

from django.db.models import DateTimeField
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.api.serializers import EmailOfField, StrictSerializer, TextField, UtcDateTimeField
from tokens.api.serializers import OrganizationTokenSerializer
from tokens.approval.models import DECISION_REASON_MAX_LENGTH, ApprovalRequest, RequestState


class ApprovalSerializer(serializers.ModelSerializer[ApprovalRequest]):
    """A request to approve a token, with the token's metadata and the decision."""

    state = serializers.SerializerMethodField()
    reason = serializers.CharField(read_only=True, help_text="Why the token is needed.")
    asked_by = EmailOfField("Who created the token.")
    decided_by = EmailOfField("Who approved, rejected or withdrew it; null if nobody did.", allow_null=True)
    decision_reason = serializers.CharField(read_only=True, help_text="Why it was approved or rejected; may be empty.")
    token = OrganizationTokenSerializer(read_only=True)
    serializer_field_mapping = {**serializers.ModelSerializer.serializer_field_mapping, DateTimeField: UtcDateTimeField}

    class Meta:
        model = ApprovalRequest
        fields = [
            "id",
            "state",
            "asked_at",
            "asked_by",
            "reason",
            "decided_at",
            "decided_by",
            "decision_reason",
            "token",
        ]

    @extend_schema_field(
        serializers.ChoiceField(
            choices=RequestState.choices,
            help_text="`lapsed`: nobody decided in time. `ended`: the token expired early before anybody decided.",
        )
    )
    def get_state(self, approval: ApprovalRequest) -> str:
        return approval.state.value


class ApproveTokenBody(StrictSerializer):
    reason = TextField(
        required=False,
        allow_blank=True,
        default="",
        max_length=DECISION_REASON_MAX_LENGTH,
        help_text="For the mail to the person who asked, and for the log.",
    )


class RejectTokenBody(StrictSerializer):
    reason = TextField(
        max_length=DECISION_REASON_MAX_LENGTH, help_text="For the mail to the person who asked, and for the log."
    )


def shown(approval: ApprovalRequest) -> dict[str, Any]:
    return dict(ApprovalSerializer(approval).data)
