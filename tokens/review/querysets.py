from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from django.db.models import Count, Exists, OuterRef, Prefetch, Q, QuerySet
from django.utils import timezone

from accounts.models import User
from accounts.querysets import OrganizationRowsQuerySet
from accounts.roles import Ability
from tokens.querysets import not_ended

if TYPE_CHECKING:
    from tokens.review.models import ReviewCampaign, ReviewItem  # noqa: F401  (in the class's base)


class CampaignCounts(NamedTuple):
    """How many items have each state. ``ended``: the token ended otherwise. ``unanswered``: of a canceled campaign."""

    total: int
    waiting: int
    confirmed: int
    expired: int
    lapsed: int
    ended: int
    unanswered: int


class ReviewCampaignQuerySet(OrganizationRowsQuerySet["ReviewCampaign"]):
    def of_organization_readable_by(self, user: User) -> Self:
        """All campaigns of the organization for people whose role reads its tokens; none for others."""
        return self.in_organization_with(Ability.READ_TOKENS, user)

    def manageable_by(self, user: User) -> Self:
        """Those that the person may cancel."""
        return self.in_organization(user) if user.may(Ability.MANAGE_ORGANIZATION) else self.none()

    def unfinished(self) -> Self:
        """Planned and open ones. A constraint allows each organization one."""
        return self.filter(ended_at__isnull=True)

    def open(self) -> Self:
        """People can answer."""
        return self.unfinished().filter(started_at__isnull=False)

    def to_start(self, at: datetime) -> Self:
        return self.unfinished().filter(started_at__isnull=True, starts_at__lte=at)

    def to_tell(self) -> Self:
        """Those whose people were not asked yet."""
        return self.open().filter(told_at__isnull=True)

    def told(self) -> Self:
        """Open ones whose people were asked."""
        return self.open().filter(told_at__isnull=False)

    def to_remind(self, at: datetime) -> Self:
        """Those whose end is near, and nobody was warned. The end may have passed, if no worker ran."""
        return self.open().filter(reminds_at__lte=at, reminded_at__isnull=True)

    def due(self, at: datetime) -> Self:
        """Those whose unconfirmed tokens expire now: nobody can say that they were not warned."""
        return self.open().filter(due_at__lte=at, reminded_at__isnull=False)

    def to_seal(self) -> Self:
        """Canceled ones, whose record the worker still writes."""
        return self.filter(is_cancelled=True, started_at__isnull=False, sealed_at__isnull=True)

    def for_campaign_page(self) -> Self:
        return self.select_related("planned_by", "ended_by", "organization")


class ReviewItemQuerySet(QuerySet["ReviewItem"]):
    def readable_by(self, user: User) -> Self:
        """All of the organization for people whose role reads its tokens; none for others."""
        campaigns = self._campaigns().of_organization_readable_by(user)
        return self.filter(campaign__in=campaigns.order_by().values("pk"))

    def asked_of(self, user: User) -> Self:
        """Those of the open campaign that this person answers: of their own tokens, and of the service accounts that
        they are responsible for. Administrators also answer for service accounts for which nobody active is,
        as `people_answering_for` says."""
        campaigns = self._campaigns().open().filter(organization=user.organization_id)
        accounts = User.objects.service_accounts_of(user).order_by().values("pk")
        owners = Q(owner=user) | Q(owner__in=accounts)
        if user.may(Ability.MANAGE_ORGANIZATION):
            unheard = User.objects.without_reader().filter(organization=user.organization_id)
            owners |= Q(owner__in=unheard.order_by().values("pk"))
        return self.filter(owners, campaign__in=campaigns.order_by().values("pk"))

    def unanswered(self) -> Self:
        """Without an answer in the database. The token of some has ended otherwise."""
        return self.filter(answer="")

    def waiting(self) -> Self:
        """Somebody can still answer (`ReviewItem.state`)."""
        return self.unanswered().filter(self._token_is_live())

    def ended_otherwise(self) -> Self:
        return self.filter(self._is_ended_otherwise())

    def counts(self) -> CampaignCounts:
        """In one query."""
        answers = ("confirmed", "expired", "lapsed", "unanswered")
        found = self.order_by().aggregate(
            total=Count("pk"),
            waiting=Count("pk", filter=Q(answer="") & Q(self._token_is_live())),
            ended=Count("pk", filter=self._is_ended_otherwise()),
            **{answer: Count("pk", filter=Q(answer=answer)) for answer in answers},
        )
        return CampaignCounts(**found)

    def for_item_table(self, *, seen_by: User | None = None) -> Self:
        """With token, owner, organization and chosen pipelines, by queries of their own. ``seen_by``: also with the
        names of the pipelines that this person can see."""
        tokens: Any = self.model._meta.get_field("token").related_model
        rows = tokens.objects.for_token_table().with_pipelines(seen_by=seen_by)
        return self.prefetch_related("campaign", Prefetch("token", rows))

    def _is_ended_otherwise(self) -> Q:
        return Q(answer="ended") | (Q(answer="") & ~Q(self._token_is_live()))

    def _token_is_live(self) -> Exists:
        tokens: Any = self.model._meta.get_field("token").related_model
        return Exists(tokens._default_manager.filter(not_ended(timezone.now()), pk=OuterRef("token_id")))

    def _campaigns(self) -> ReviewCampaignQuerySet:
        campaigns: Any = self.model._meta.get_field("campaign").related_model
        found: ReviewCampaignQuerySet = campaigns._default_manager.all()
        return found
