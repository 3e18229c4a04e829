from typing import TYPE_CHECKING, Any, Self

from django.db.models import Case, IntegerField, Prefetch, Q, Value, When
from django.utils import timezone

from accounts.models import User
from accounts.querysets import OrganizationRowsQuerySet
from accounts.roles import Ability

if TYPE_CHECKING:
    from tokens.approval.models import ApprovalRequest  # noqa: F401  (in the class's base)

# Tables of requests sort by it: what waits comes first.
RANK = "waiting_first"


class ApprovalRequestQuerySet(OrganizationRowsQuerySet["ApprovalRequest"]):
    def visible_to(self, user: User) -> Self:
        """The person's own requests (`_own`); with some roles, the whole organization's."""
        if user.is_superuser or user.may(Ability.READ_TOKENS):
            return self.in_organization(user)
        return self.filter(_own(user))

    def of_organization_readable_by(self, user: User) -> Self:
        """All requests of the organization for people whose role reads its tokens; none for others."""
        return self.in_organization_with(Ability.READ_TOKENS, user)

    def decidable_by(self, user: User) -> Self:
        """Those that the person may approve or reject, decided ones included: never their own (`_own`)."""
        return self.in_organization_with(Ability.APPROVE_TOKENS, user).exclude(_own(user))

    def withdrawable_by(self, user: User) -> Self:
        return self.filter(asked_by=user)

    def waiting(self) -> Self:
        """Somebody can still decide (`ApprovalRequest.state`)."""
        return self.filter(_is_waiting())

    def lapsed(self) -> Self:
        """Nobody decided in time."""
        now = timezone.now()
        is_late = Q(token__waits_until__lte=now) | Q(token__expires_at__lte=now)
        return self.filter(is_late, decision="", token__revoked_at__isnull=True)

    def ended(self) -> Self:
        """The token was expired before anybody decided."""
        return self.filter(decision="", token__revoked_at__isnull=False)

    def waiting_first(self) -> Self:
        """For tables: what waits, then the rest; each with the newest first."""
        rank = Case(When(_is_waiting(), then=Value(0)), default=Value(1), output_field=IntegerField())
        return self.annotate(**{RANK: rank}).order_by(RANK, "-asked_at", "-id")

    def for_approval_table(self) -> Self:
        """With people, token and organization, by queries of their own: a join would also look them up for all the rows
        before the page."""
        tokens: Any = self.model._meta.get_field("token").related_model
        rows = tokens.objects.with_pipelines().prefetch_related(
            "organization", Prefetch("owner", User.objects.with_second_factors())
        )
        return self.prefetch_related(Prefetch("token", rows), "asked_by", "decided_by")

    def for_approval_page(self) -> Self:
        return self.select_related("asked_by", "decided_by", "token__organization", "token__owner", "token__service")


def _own(user: User) -> Q:
    """Those that the person made, or that are for them, or for a service account that they are responsible for."""
    accounts = User.objects.service_accounts_of(user).order_by().values("pk")
    return Q(asked_by=user) | Q(token__owner=user) | Q(token__owner__in=accounts)


def _is_waiting() -> Q:
    now = timezone.now()
    return Q(decision="", token__revoked_at__isnull=True, token__waits_until__gt=now, token__expires_at__gt=now)
