"""The lists of all pipelines and of all runs."""

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django_tables2 import SingleTableMixin

from accounts.roles import Ability
from core.pages.views import FilteredListMixin, KeysetTableMixin, MemberPageMixin
from pipelines.filters import PipelinePageFilter, RunPageFilter
from pipelines.models import NEWEST_RUNS_FIRST, Pipeline, Run
from pipelines.tables import AllRunsTable, PipelineTable


class PipelineListView(MemberPageMixin, SingleTableMixin, FilteredListMixin):
    """The pipelines that the person can see."""

    table_class = PipelineTable
    filterset_class = PipelinePageFilter
    template_name = "pipelines/pipeline_list.html"

    def get_queryset(self) -> QuerySet[Pipeline]:
        return Pipeline.objects.visible_to(self.person).for_pipeline_table()

    def get_table_kwargs(self) -> dict[str, Any]:
        return {"knows_people": self.person.may(Ability.READ_USERS)}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        return context | {"may_create": self.person.may(Ability.CREATE_PIPELINES)}


class RunListView(MemberPageMixin, KeysetTableMixin):
    """The runs of all pipelines that the person can see, newest first."""

    table_class = AllRunsTable
    filterset_class = RunPageFilter
    keyset = NEWEST_RUNS_FIRST
    template_name = "pipelines/run_list.html"

    def get_queryset(self) -> QuerySet[Run]:
        is_search = RunPageFilter.is_search(self.request.GET)
        return Run.objects.listed_for(self.person, is_search=is_search).for_run_table()

    def get_searched(self) -> QuerySet[Run] | None:
        searched: QuerySet[Run] | None = self.filterset.searched
        return searched

    def count_rows(self, *, up_to: int) -> int | None:
        """Counting reads as many runs as a search."""
        if self._searched is not None:
            return None
        rows = Run.objects.listed_for(self.person, is_search=True)
        if self.filterset.is_bound:
            rows = self.filterset.filter_queryset(rows)
        return self.keyset.count(rows, up_to=up_to)

    def _empty_text(self) -> str | None:
        text = super()._empty_text()
        if text is None and not self.narrowing():
            return _("No runs yet. A run is listed here as soon as someone requests it.")
        return text
