from typing import TYPE_CHECKING, Self

from django.db import models
from django.db.models import OuterRef, Prefetch, Subquery

from accounts.querysets import OrganizationRowsQuerySet

if TYPE_CHECKING:
    from accounts.models import User
    from pipelines.models import Pipeline, Run  # noqa: F401  (in the class's base)


class PipelineQuerySet(OrganizationRowsQuerySet["Pipeline"]):
    def visible_to(self, user: "User") -> Self:
        """Pipelines that exist for this person; the reading of `access.standing_of` as a query."""
        return self.of_organization_of(user) if user.is_active else self.none()

    def for_pipeline_table(self) -> Self:
        from pipelines.models import Run

        latest = Run.objects.filter(pipeline=OuterRef("pk")).order_by("-number")
        return self.select_related("owner").annotate(
            last_run_number=Subquery(latest.values("number")[:1]),
            last_run_state=Subquery(latest.values("state")[:1]),
            last_run_outcome=Subquery(latest.values("outcome")[:1]),
            last_run_at=Subquery(latest.values("requested_at")[:1]),
        )

    def for_summary(self) -> Self:
        return self.select_related("owner").prefetch_related("steps")


class RunQuerySet(models.QuerySet["Run"]):
    def visible_to(self, user: "User") -> Self:
        from pipelines.models import Pipeline

        return self.filter(pipeline__in=Pipeline.objects.visible_to(user))

    def for_run_page(self) -> Self:
        from pipelines.models import StepRun

        steps = Prefetch("step_runs", queryset=StepRun.objects.order_by("position"))
        return self.select_related("pipeline", "started_by").prefetch_related(steps)
