"""What the form for a new token says about each scope, while a person chooses pipelines."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.generic import View

from accounts.models import User
from accounts.pipelines_for_tokens import NamedPipeline, pipelines_for_tokens
from accounts.roles import Ability
from core.pages import errors
from core.rate_limits import Limit
from tokens.forms import ALL_PIPELINES, ONLY_THESE, TokenForm
from tokens.pipeline_choice import MOST_PIPELINES
from tokens.scope_cards import scope_cards, service_cards
from tokens.views.owners import OwnTokensMixin

# For each person. In batches, because each change of the choice would otherwise cost a write.
CHANGES_OF_CHOICE = Limit("token-scope-notes", amount=120, seconds=60, batch=20)


class ScopeNotesView(OwnTokensMixin, View):
    """Part of the page of my tokens. By POST, because addresses are logged, and people can paste a token by mistake."""

    http_method_names = ["post"]

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.OWN_TOKENS)

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        wait = CHANGES_OF_CHOICE.take(str(self.person.pk))
        if wait is not None:
            return errors.too_many_requests(
                request, _("You have changed the form many times in a short time."), retry_after=wait
            )
        form = TokenForm(request.POST, owner=self.owner)
        context = {
            "account": self.account,
            "service": form.chosen_service,
            **scopes_with(form, pipelines_named_in(form)),
        }
        return render(request, "tokens/includes/scope_notes.html", context)


def pipelines_named_in(form: TokenForm) -> dict[str, NamedPipeline]:
    """The pipelines that the person sees, by the words in the form that name them. No query without a word."""
    words = (form["pipelines"].value() or [])[:MOST_PIPELINES]
    return pipelines_for_tokens().found_by(form.owner, words) if words else {}


def scopes_with(
    form: TokenForm, named: dict[str, NamedPipeline], *, numbers: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """The cards of the scopes for the chosen pipelines, and ``is_limited``: whether they count only these.

    ``numbers``: what a token that reaches all pipelines can do, if the caller has counted it.
    """
    if form.chosen_service is not None:
        return {
            "scope_cards": service_cards(form.chosen_service, chosen=form["scopes"].value() or []),
            "is_limited": False,
        }
    which = form["which_pipelines"].value() or (ONLY_THESE if named else ALL_PIPELINES)
    pipelines = {pipeline.id for pipeline in named.values()} if which == ONLY_THESE else None
    chosen = form["scopes"].value() or []
    return {
        "scope_cards": scope_cards(
            form.owner, chosen=chosen, pipelines=pipelines, numbers=numbers if pipelines is None else None
        ),
        "is_limited": pipelines is not None,
    }
