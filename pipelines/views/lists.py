from typing import Any

from django.db.models import QuerySet
from django_filters.views import FilterView
from django_tables2 import SingleTableMixin

from accounts.roles import Ability
from core.pages.views import MemberPageMixin
from pipelines.filters import PipelinePageFilter
from pipelines.models import Pipeline
from pipelines.tables import PipelineTable


class PipelineListView(MemberPageMixin, SingleTableMixin, FilterView):
    """The pipelines that the person can see."""

    table_class = PipelineTable
    filterset_class = PipelinePageFilter
    template_name = "pipelines/pipeline_list.html"

    def get_queryset(self) -> QuerySet[Pipeline]:
        return Pipeline.objects.visible_to(self.person).for_pipeline_table()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        return context | {"may_create": self.person.may(Ability.CREATE_PIPELINES)}
