"""Filters of the lists of pipelines and of runs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from django import forms
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest
from django.utils.translation import gettext, gettext_lazy, pgettext_lazy

from accounts.roles import Ability
from core.filters import (
    ChoiceFilter,
    DayFilter,
    PeriodForm,
    PersonFilter,
    RowFilter,
    RowSearchFilter,
    SearchFilter,
    StrictFilterSet,
    TextFilter,
)
from core.http.request_context import person_of
from core.pages.widgets import MOST_TO_READ, PickerInput, QuickSelect
from pipelines.models import TAG_MAX_LENGTH, Pipeline, Run
from pipelines.querysets import RunQuerySet
from pipelines.run_states import OCCUPYING, PipelineState, RunState, RunStatus

LOCKED = "locked"
STATE_CHOICES = [*PipelineState.choices, (LOCKED, pgettext_lazy("pipeline", "Locked"))]


class PipelineFilter(StrictFilterSet):
    """Over a queryset `for_pipeline_table`."""

    api_help: ClassVar = {"q": "Part of the name, the description or the owner.", "tag": "One of the tags."}

    q = SearchFilter(label=gettext_lazy("Search"), method="filter_text")
    tag = TextFilter(label=gettext_lazy("Tag"), method="filter_tag", max_length=TAG_MAX_LENGTH)
    state = ChoiceFilter(
        label=gettext_lazy("State"),
        choices=STATE_CHOICES,
        method="filter_state",
        empty_label=gettext_lazy("Any state"),
    )

    def filter_text(self, queryset: QuerySet[Pipeline], name: str, value: str) -> QuerySet[Pipeline]:
        return queryset.filter(
            Q(name__icontains=value) | Q(description__icontains=value) | Q(owner__email__icontains=value)
        )

    def filter_tag(self, queryset: QuerySet[Pipeline], name: str, value: str) -> QuerySet[Pipeline]:
        """Searches the JSON text, because only PostgreSQL could search inside the list. PostgreSQL stores letters
        unchanged, SQLite as Django escapes them."""
        spellings = {json.dumps(value), json.dumps(value, ensure_ascii=False)}
        found = Q()
        for spelling in spellings:
            found |= Q(_tags__contains=spelling)
        return queryset.annotate(_tags=Cast("tags", TextField())).filter(found)

    def filter_state(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        if value == LOCKED:
            return queryset.filter(locked_at__isnull=False)
        if value == PipelineState.STOPPED:
            return queryset.filter(state_of_current_run__isnull=True)
        paused = {RunState.PAUSED}
        states = paused if value == PipelineState.PAUSED else set(OCCUPYING) - paused
        return queryset.filter(state_of_current_run__in=states)


class PipelinePageFilter(PipelineFilter):
    """The same filters. The form offers the tags of pipelines that the person can see, which costs one more query; if
    there are too many for a select, it suggests them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        seen = Pipeline.objects.filter(pk__in=self.queryset.order_by().values("pk"))
        # The chosen one too, if no pipeline has it: otherwise the form would say that none is chosen.
        chosen = {self.data["tag"]} if self.data.get("tag") else set()
        self.filters["tag"].extra["widget"] = _tag_widget(_in_order({*tags_of(seen), *chosen}))


def tags_of(pipelines: QuerySet[Pipeline]) -> list[str]:
    lists = pipelines.order_by().exclude(tags=[]).values_list("tags", flat=True).distinct()
    return _in_order({tag for tags in lists for tag in tags})


def _in_order(tags: Iterable[str]) -> list[str]:
    return sorted(tags, key=str.lower)


def _tag_widget(tags: Sequence[str]) -> forms.Widget:
    if len(tags) > MOST_TO_READ:
        return PickerInput("pipelines:suggested_tags", attrs={"placeholder": gettext("Any tag")})
    return QuickSelect(choices=[("", gettext("Any tag")), *((tag, tag) for tag in tags)])


def pipelines_offered(request: HttpRequest) -> QuerySet[Pipeline]:
    return Pipeline.objects.visible_to(person_of(request)).only("name")


class RunFilter(StrictFilterSet):
    """Over a queryset `listed_for`.

    ``indexed`` are the filters that an index serves. All others are a search, which reads a limited number of runs at a
    time (`core/db/keyset.py`).
    """

    indexed: ClassVar[frozenset[str]] = frozenset({"pipeline", "date", "date_to"})

    api_help: ClassVar = {
        "pipeline": "The id of a pipeline that you can see.",
        "started_by_email": "Part of the requester's address. A complete address finds only this person.",
        "date": "Requested on this day (UTC) or later.",
        "date_to": "Requested on this day (UTC) or earlier.",
    }

    status = ChoiceFilter(
        label=gettext_lazy("State"),
        choices=RunStatus.choices,
        method="filter_status",
        empty_label=gettext_lazy("Any state"),
    )
    pipeline = RowFilter(
        label=gettext_lazy("Pipeline"), queryset=pipelines_offered, empty_label=gettext_lazy("Any pipeline")
    )
    started_by_email = PersonFilter(label=gettext_lazy("Requested by"))
    date = DayFilter(label=gettext_lazy("Since"), since=True, of="requested_at")
    date_to = DayFilter(label=gettext_lazy("Until"), since=False, of="requested_at")

    class Meta:
        form = PeriodForm

    def filter_status(self, queryset: RunQuerySet, name: str, value: str) -> RunQuerySet:
        return queryset.with_status(RunStatus(value))

    @classmethod
    def is_search(cls, data: Mapping[str, Any]) -> bool:
        """Whether there are filters that no index serves."""
        return any(data.get(name) for name in cls.base_filters.keys() - cls.indexed)

    @property
    def searched(self) -> QuerySet[Run] | None:
        """The runs that a search looks through, found by index; ``None`` if it is no search."""
        if not (self.is_search(self.data) and self.is_valid()):
            return None
        rows: QuerySet[Run] = self.queryset.all()
        for name in self.indexed:
            rows = self.filters[name].filter(rows, self.form.cleaned_data.get(name))
        return rows


class RunPageFilter(RunFilter):
    """The same filters. If there are too many pipelines for a select, people type the name of one. People who can see
    the organization's people get suggestions for the requester."""

    pipeline = RowSearchFilter(
        label=gettext_lazy("Pipeline"),
        queryset=pipelines_offered,
        empty_label=gettext_lazy("Any pipeline"),
        source="pipelines:suggested_pipelines",
        error_messages={"no_such_name": gettext_lazy("No pipeline has this name.")},
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if person_of(self.request).may(Ability.READ_USERS):
            self.filters["started_by_email"].extra["widget"] = PickerInput("accounts:suggested_addresses")
