from typing import TYPE_CHECKING, Self

from django.db.models import Case, Exists, OuterRef, Prefetch, Q, Subquery, Sum, When

import pipelines.models
from accounts.models import User
from accounts.querysets import OrganizationRowsQuerySet, SubjectRuleQuerySet
from core.db.expressions import number_of
from pipelines.access import ALLOWED, PipelineAction, item_roles_allowing, position_of
from pipelines.run_states import OCCUPYING, RunStatus, states_with_status

# Up to so many visible runs, reading all of them is quicker than looking for them among those of the organization.
# Measured on SQLite with 500,000 runs.
MANY_FOR_A_PAGE, MANY_FOR_A_SEARCH = 10_000, 100_000
NONE = Q(pk__in=[])
ALL = ~NONE
# What the API shows of a step of a run, and so what lists of runs read.
STEP_RESULT = (
    "position",
    "name",
    "kind",
    "state",
    "started_at",
    "finished_at",
    "response_status",
    "response_bytes",
    "message",
    "decided_by_email",
)

if TYPE_CHECKING:
    import uuid
    from collections.abc import Collection

    from pipelines.models import AccessRule, Pipeline, Run  # noqa: F401  (in the class's base)


class PipelineQuerySet(OrganizationRowsQuerySet["Pipeline"]):
    def visible_to(self, user: User) -> Self:
        """Pipelines that the person can see."""
        return self.allowing(user, PipelineAction.SEE)

    def allowing(self, user: User, action: PipelineAction) -> Self:
        """Pipelines for which the person is allowed this action: `access.standing` as a query.

        Operators of the installation belong to no organization: they see every pipeline in Django admin and can change
        none.
        """
        rows = self if user.limited_by_token is None else self.chosen_for(user.limited_by_token)
        return rows._allowing(user, action)

    def chosen_for(self, token_id: "uuid.UUID") -> Self:
        """The pipelines of a limited token, without asking who can see them."""
        links = pipelines.models.TokenPipeline.objects.filter(token_id=token_id, pipeline=OuterRef("pk"))
        return self.filter(Exists(links))

    def count_allowing(
        self, user: User, *actions: PipelineAction, among: "Collection[uuid.UUID] | None" = None
    ) -> dict[PipelineAction, int]:
        """For how many pipelines the person is allowed each action, in one query. ``among``: counts only these."""
        rows = self if among is None else self.filter(pk__in=among)
        numbers = (number_of(rows.allowing(user, action)) for action in actions)
        return dict(zip(actions, User.objects.filter(pk=user.pk).values_list(*numbers).get(), strict=True))

    def with_allowed(self, user: User, **actions: PipelineAction) -> Self:
        """Annotates whether the person is allowed each action, for rows that they can see."""
        is_allowed = {
            name: Case(When(self._condition(user, action), then=True), default=False)
            for name, action in actions.items()
        }
        return self.annotate(**is_allowed)

    def _allowing(self, user: User, action: PipelineAction) -> Self:
        condition = self._condition(user, action)
        return self.none() if condition == NONE else self.in_organization(user).filter(condition)

    def _condition(self, user: User, action: PipelineAction) -> Q:
        """For pipelines of the person's organization."""
        if not user.is_active:
            return NONE
        if user.is_superuser:
            return ALL if action is PipelineAction.SEE else NONE
        position = position_of(user)
        if user.organization_id is None or action not in ALLOWED[position.at_most]:
            return NONE
        if position.always is not None and action in ALLOWED[position.always]:
            return ALL
        return self._given(user, action)

    def _given(self, user: User, action: PipelineAction) -> Q:
        """By ownership, by the absence of rules, or by a rule. Subqueries instead of joins, so that each row appears
        once, however many groups match."""
        rules = pipelines.models.AccessRule.objects.filter(pipeline=OuterRef("pk"))
        roles = item_roles_allowing(action)
        given = Q(owner=user) | Q(Exists(rules.filter(user=user, role__in=roles)))
        of_groups = Q(Exists(rules.filter(group__in=user.member_groups.order_by().values("pk"), role__in=roles)))
        # Every role allows to see, so which of two rules applies only matters for the other actions.
        given |= of_groups if action is PipelineAction.SEE else of_groups & ~Q(Exists(rules.filter(user=user)))
        if action in ALLOWED[position_of(user).without_rules]:
            given |= ~Q(Exists(rules))
        return given

    def for_pipeline_table(self) -> Self:
        latest = pipelines.models.Run.objects.filter(pipeline=OuterRef("pk")).order_by("-number")
        return self.select_related("owner").annotate(
            last_run_number=Subquery(latest.values("number")[:1]),
            last_run_state=Subquery(latest.values("state")[:1]),
            last_run_outcome=Subquery(latest.values("outcome")[:1]),
            last_run_at=Subquery(latest.values("requested_at")[:1]),
            state_of_current_run=Subquery(
                pipelines.models.Run.objects.filter(pipeline=OuterRef("pk"), state__in=OCCUPYING).values("state")[:1]
            ),
        )

    def for_summary(self) -> Self:
        return self.select_related("owner").prefetch_related("steps", "notified_people")


class AccessRuleQuerySet(SubjectRuleQuerySet["AccessRule"]):
    pass


class RunQuerySet(OrganizationRowsQuerySet["Run"]):
    def visible_to(self, user: User) -> Self:
        """Runs of pipelines that the person can see. Runs of deleted pipelines are for roles that read everything, and
        for no token that is limited to chosen pipelines."""
        seen = Q(pipeline__in=pipelines.models.Pipeline.objects.visible_to(user))
        if user.limited_by_token is not None:
            return self.filter(seen)
        if user.is_superuser:
            return self.filter(seen | Q(pipeline=None))
        if user.is_active and user.organization_id is not None and position_of(user).always is not None:
            seen |= Q(pipeline=None, organization_id=user.organization_id)
        return self.filter(seen)

    def listed_for(self, user: User, *, is_search: bool = False) -> Self:
        """`visible_to`, so that the newest are found quickly among all runs of the organization.

        With the organization as a condition, the database reads its runs in the order of an index until the page is
        full. For people who see few of them, it would read nearly all. Without the condition, it reads only the runs of
        the pipelines that they see. A search reads more runs before its page is full.
        """
        rows = self.visible_to(user)
        many = MANY_FOR_A_SEARCH if is_search else MANY_FOR_A_PAGE
        return rows.in_organization(user) if self._sees_more_than(many, user) else rows

    def _sees_more_than(self, many: int, user: User) -> bool:
        """At most one query, of pipelines: each counts its runs."""
        if position_of(user).always is not None and user.limited_by_token is None:
            return True
        seen = pipelines.models.Pipeline.objects.visible_to(user).order_by()
        return (seen.aggregate(runs=Sum("run_count"))["runs"] or 0) > many

    def with_status(self, status: RunStatus) -> Self:
        """Runs with this published status (`run_states.status_of_run`)."""
        states = states_with_status(status)
        return self.filter(state__in=states, outcome="") if states else self.filter(outcome=status)

    def for_run_table(self) -> Self:
        return self.select_related("pipeline").defer("pipeline__description", "pipeline__tags")

    def for_run_list(self) -> Self:
        """`for_run_table` with the steps, without what they call and send."""
        shown = pipelines.models.StepRun.objects.order_by("position").only("run_id", *STEP_RESULT)
        return self.for_run_table().prefetch_related(Prefetch("step_runs", queryset=shown))

    def for_run_page(self) -> Self:
        steps = Prefetch("step_runs", queryset=pipelines.models.StepRun.objects.order_by("position"))
        return self.select_related("pipeline", "started_by").prefetch_related(steps)
