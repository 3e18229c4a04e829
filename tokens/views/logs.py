"""The log pages that know tokens and people: they offer a person's tokens by name, suggest people of the organization,
and link to the pages of tokens.

`auditlog/views` has everything else about these pages; auditlog knows neither people nor the tokens' table.
"""

import uuid
from collections.abc import Iterable
from operator import itemgetter
from typing import Any

from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from auditlog.filters import PORTAL
from auditlog.models import TokenUse
from auditlog.views import activity, token_uses
from auditlog.views.base import LogDetailView, LogListView
from core.pages.widgets import MOST_CHOICES, PickerInput, QuickSelect
from core.reading import local
from tokens.form_links import form_link_like
from tokens.models import Token
from tokens.refusals import Refusal, ServiceRefusal, refusal_of
from tokens.views.places import is_managed


class TokenChoicesMixin(LogListView):
    """A person's own log, filtered by one of their tokens, which they choose by name. People with more tokens than a
    select can have filter by the id of a token."""

    def get_filterset(self, filterset_class: Any) -> Any:
        filterset = super().get_filterset(filterset_class)
        tokens = Token.objects.owned_by(self.person).order_by("-created_at")
        found = tokens.values("pk", "name", "created_at", "service_id", "service__name")[: MOST_CHOICES + 1]
        if len(found) <= MOST_CHOICES:
            names = {str(row["pk"]): f"{row['name']} ({local(row['created_at']):%Y-%m-%d})" for row in found}
            offer(filterset, "token_id", names, empty_label=_("Any token"))
            filterset.form.fields["token_id"].label = _("Token")
            if "service" in filterset.filters:
                offer_services(
                    filterset, {(row["service_id"], row["service__name"]) for row in found if row["service_id"]}
                )
        return filterset


def offer_services(filterset: Any, services: Iterable[tuple[uuid.UUID, str]]) -> None:
    """No filter for readers whose entries are all of the portal's own API, unless the address has one."""
    names = {str(pk): name for pk, name in sorted(services, key=itemgetter(1))}
    if names or filterset.data.get("service"):
        offer(filterset, "service", {PORTAL: _("The portal's API"), **names}, empty_label=_("Any service"))
    else:
        del filterset.form.fields["service"]


def offer(filterset: Any, name: str, choices: dict[str, str], *, empty_label: str) -> None:
    """A select for a filter that is otherwise an id. An id that is not among them stays chosen."""
    chosen = filterset.data.get(name)
    if chosen and chosen not in choices:
        choices[chosen] = chosen
    filterset.form.fields[name].widget = QuickSelect(choices=[("", empty_label), *choices.items()])


class SuggestedPeopleMixin(LogListView):
    """A log of the organization, filtered by one of its people. The search finds tokens by name, the filter by id."""

    def get_filterset(self, filterset_class: Any) -> Any:
        filterset = super().get_filterset(filterset_class)
        says = _("Enter the ID of a token. “Search” finds the name.")
        filterset.filters["token_id"].extra["error_messages"] = {"invalid": says}
        filterset.filters["user_email"].extra["widget"] = PickerInput("accounts:suggested_addresses")
        return filterset


class TokenLinksMixin(LogDetailView):
    """An entry with links to the pages of the tokens that it names."""

    def token_url(self, token_id: uuid.UUID | None) -> str | None:
        if token_id is None or not Token.objects.visible_to(self.person).filter(pk=token_id).exists():
            return None
        return reverse("tokens:token_detail", args=[token_id])


class RefusalMixin(TokenLinksMixin, token_uses.TokenUseDetailView):
    """A use with the cause of its refusal. If it lacked a scope: the scopes that allow it and, for those who manage the
    token, a link to the form for a token that has one of them."""

    @cached_property
    def refusal(self) -> Refusal | ServiceRefusal | None:
        return refusal_of(self.object, reader=self.person)

    def explanation(self) -> str:
        return self.refusal.explanation if self.refusal else ""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        found = self.refusal
        url = self._form_url(found) if found else ""
        return super().get_context_data(
            needed_scopes=[scope.label for scope in found.needed_scopes] if found else [],
            least_scope=found.least_scope if found and url else None,
            form_url=url,
            pipeline=found.pipeline if found and found.token and is_managed(found.token, self.person) else None,
            **kwargs,
        )

    def _form_url(self, found: Refusal | ServiceRefusal) -> str:
        """The form for a token like this one with one scope more, or for the pipeline that it doesn't reach; empty if
        none helps, or for people who can't create it."""
        token = found.token
        if token is None or not is_managed(token, self.person):
            return ""
        if found.pipeline:
            return form_link_like(token, pipelines=[found.pipeline.id])
        return form_link_like(token, scopes=found.scopes_with_least) if found.scopes_with_least else ""


class TokenUseListView(TokenChoicesMixin, token_uses.TokenUseListView):
    pass


class TokenUseDetailView(RefusalMixin):
    pass


class OrganizationTokenUseListView(SuggestedPeopleMixin, token_uses.OrganizationTokenUseListView):
    def get_filterset(self, filterset_class: Any) -> Any:
        """An organization with more services than a select can have filters by their ids."""
        filterset = super().get_filterset(filterset_class)
        services = TokenUse.objects.services().filter(organization_id=self.person.organization_id).order_by("name")
        found = services.values_list("pk", "name")[: MOST_CHOICES + 1]
        if len(found) <= MOST_CHOICES:
            offer_services(filterset, found)
        return filterset


class OrganizationTokenUseDetailView(RefusalMixin, token_uses.OrganizationTokenUseDetailView):
    pass


class ActivityListView(TokenChoicesMixin, activity.ActivityListView):
    pass


class OrganizationActivityListView(SuggestedPeopleMixin, activity.OrganizationActivityListView):
    pass


class ActivityDetailView(TokenLinksMixin, activity.ActivityDetailView):
    pass


class OrganizationActivityDetailView(TokenLinksMixin, activity.OrganizationActivityDetailView):
    pass
