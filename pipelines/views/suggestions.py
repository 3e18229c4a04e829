"""What fields about pipelines suggest: pipelines and tags that the person can see, and people for one pipeline."""

from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from accounts import finding
from accounts.models import User
from accounts.roles import Ability
from core.pages.suggestions import Suggestion, SuggestionsView
from pipelines.access import PipelineAction
from pipelines.filters import tags_of
from pipelines.models import Pipeline
from pipelines.people import people_who_see, possible_owners
from pipelines.views.base import PipelinePage


class SuggestedPipelinesView(SuggestionsView):
    def rows(self) -> Iterator[Suggestion]:
        names = Pipeline.objects.visible_to(self.person).order_by("name").values_list("name", flat=True)
        return (Suggestion(name, name) for name in names)


class SuggestedTagsView(SuggestionsView):
    def rows(self) -> Iterator[Suggestion]:
        return (Suggestion(tag, tag) for tag in tags_of(Pipeline.objects.visible_to(self.person)))


class PeopleForPipelineView(PipelinePage, SuggestionsView):
    """Base of the views that suggest people whom a form of one pipeline accepts, to people who can send that form."""

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.READ_USERS)

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        self.pipeline = self.find(kwargs["pk"])
        return super().post(request)

    def rows(self) -> Iterator[Suggestion]:
        return finding.suggested(self.people())

    def people(self) -> QuerySet[User]:
        raise NotImplementedError


class SuggestedOwnersView(PeopleForPipelineView):
    action = PipelineAction.ADMINISTER

    def people(self) -> QuerySet[User]:
        return possible_owners(self.pipeline).exclude(pk=self.pipeline.owner_id)


class SuggestedRecipientsView(PeopleForPipelineView):
    action = PipelineAction.EDIT_STEPS

    def people(self) -> QuerySet[User]:
        return people_who_see(self.pipeline)
