"""Pipelines and tags that fields suggest: only those that the person can see."""

from collections.abc import Iterator

from core.pages.suggestions import Suggestion, SuggestionsView
from pipelines.filters import tags_of
from pipelines.models import Pipeline


class SuggestedPipelinesView(SuggestionsView):
    def rows(self) -> Iterator[Suggestion]:
        names = Pipeline.objects.visible_to(self.person).order_by("name").values_list("name", flat=True)
        return (Suggestion(name, name) for name in names)


class SuggestedTagsView(SuggestionsView):
    def rows(self) -> Iterator[Suggestion]:
        return (Suggestion(tag, tag) for tag in tags_of(Pipeline.objects.visible_to(self.person)))
