"""The request to approve a token. It is kept after the decision."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import pgettext_lazy

from accounts.models import User
from core.badges import Badge, Tone
from tokens.approval.querysets import ApprovalRequestQuerySet
from tokens.descriptions import MAX_LENGTH as REASON_MAX_LENGTH

# As long as the reason for expiring a token, because a rejected token has ended for this reason.
DECISION_REASON_MAX_LENGTH = 200


class Decision(models.TextChoices):
    """Stored when somebody decides."""

    APPROVED = "approved", pgettext_lazy("state of a request", "Approved")
    REJECTED = "rejected", pgettext_lazy("state of a request", "Rejected")
    WITHDRAWN = "withdrawn", pgettext_lazy("state of a request", "Withdrawn")


class RequestState(models.TextChoices):
    """Computed from the decision, the token and the clock, never stored."""

    WAITING = "waiting", pgettext_lazy("state of a request", "Waiting")
    APPROVED = Decision.APPROVED.value, Decision.APPROVED.label
    REJECTED = Decision.REJECTED.value, Decision.REJECTED.label
    WITHDRAWN = Decision.WITHDRAWN.value, Decision.WITHDRAWN.label
    LAPSED = "lapsed", pgettext_lazy("state of a request", "Lapsed")
    ENDED = "ended", pgettext_lazy("state of a request", "Token expired early")


_SIGNS: dict[RequestState, tuple[str, Tone]] = {
    RequestState.WAITING: ("◷", "waiting"),
    RequestState.APPROVED: ("●", "good"),
    RequestState.REJECTED: ("⊘", "bad"),
    RequestState.WITHDRAWN: ("○", "neutral"),
    RequestState.LAPSED: ("○", "neutral"),
    RequestState.ENDED: ("⊘", "bad"),
}


class ApprovalRequest(models.Model):
    """Somebody asks for a token that needs a second person's word.

    ``asked_by`` created the token, for themselves or for a service account. ``reason`` says why they need it. The other
    fields are set by the decision, which ``asked_by`` makes by withdrawing the request.
    """

    id = models.UUIDField("ID", primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(
        "accounts.Organization", on_delete=models.PROTECT, related_name="+", db_index=False
    )
    token = models.OneToOneField("tokens.Token", on_delete=models.PROTECT, related_name="approval_request")
    asked_by = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+", db_index=False)
    asked_at = models.DateTimeField(default=timezone.now)
    reason = models.CharField(max_length=REASON_MAX_LENGTH)
    decision = models.CharField(max_length=10, choices=Decision, blank=True, default="")
    decided_by = models.ForeignKey(
        "accounts.User", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    decided_at = models.DateTimeField(null=True)
    decision_reason = models.CharField(
        "reason for the decision", max_length=DECISION_REASON_MAX_LENGTH, blank=True, default=""
    )

    objects: ClassVar[ApprovalRequestQuerySet] = ApprovalRequestQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        app_label = "tokens"
        ordering = ["-asked_at", "-id"]
        indexes = [
            models.Index(fields=["organization", "-asked_at", "-id"], name="approval_org_newest"),
            models.Index(fields=["asked_by", "-asked_at", "-id"], name="approval_asker_newest"),
            # For "2 tokens wait for your approval" on the overview: most requests are decided.
            models.Index(fields=["organization"], condition=Q(decision=""), name="approval_undecided"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(decision="", decided_by__isnull=True, decided_at__isnull=True)
                | (~Q(decision="") & Q(decided_by__isnull=False, decided_at__isnull=False)),
                name="approval_decision_has_person_and_time",
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="approval_has_a_reason"),
        ]

    def __str__(self) -> str:
        return self.token.name

    @property
    def state(self) -> RequestState:
        if self.decision:
            return RequestState(self.decision)
        if self.token.revoked_at is not None:
            return RequestState.ENDED
        return RequestState.LAPSED if self.token.is_expired else RequestState.WAITING

    @property
    def badge(self) -> Badge:
        sign, tone = _SIGNS[self.state]
        return Badge(sign, self.state.label, tone)

    @property
    def is_waiting(self) -> bool:
        return self.state is RequestState.WAITING

    def is_made_by(self, person: User) -> bool:
        return person.pk == self.asked_by_id
