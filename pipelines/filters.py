"""Filters of the list of pipelines."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import django_filters
from django import forms
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from core.filters import SearchFilter, StrictFilterSet
from core.pages.widgets import MOST_CHOICES, LongSelect, SuggestingInput
from pipelines.models import TAG_MAX_LENGTH, Pipeline
from pipelines.run_states import OCCUPYING, PipelineState, RunState

LOCKED = "locked"
STATE_CHOICES = [*PipelineState.choices, (LOCKED, "Locked")]


class PipelineFilter(StrictFilterSet):
    """Over a queryset `for_pipeline_table`."""

    api_help: ClassVar = {"q": "Part of the name, the description or the owner.", "tag": "One of the tags."}

    q = SearchFilter(label="Search", method="filter_text")
    tag = django_filters.CharFilter(label="Tag", method="filter_tag", max_length=TAG_MAX_LENGTH)
    state = django_filters.ChoiceFilter(
        label="State", choices=STATE_CHOICES, method="filter_state", empty_label="Any state"
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
    there are too many for a select, it suggests some of them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        seen = Pipeline.objects.filter(pk__in=self.queryset.order_by().values("pk")).order_by()
        lists = seen.exclude(tags=[]).values_list("tags", flat=True).distinct()
        # The chosen one too, if no pipeline has it: otherwise the form would say that none is chosen.
        chosen = {self.data["tag"]} if self.data.get("tag") else set()
        tags = sorted({tag for tags in lists for tag in tags} | chosen, key=str.lower)
        self.filters["tag"].extra["widget"] = _tag_widget(tags)


def _tag_widget(tags: Sequence[str]) -> forms.Widget:
    if len(tags) > MOST_CHOICES:
        return SuggestingInput(tags, attrs={"placeholder": "Any tag"})
    return LongSelect(choices=[("", "Any tag"), *((tag, tag) for tag in tags)])
