"""Says whether a name is free for a new token, while a person types it."""

from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.generic import View

from accounts.models import User
from accounts.roles import Ability
from core.pages import errors
from core.rate_limits import Limit
from tokens import services
from tokens.names import clean_name
from tokens.views.owners import OwnTokensMixin

# For each person. In batches, because each check while typing would otherwise cost a write.
NAME_CHECKS = Limit("token-name-check", amount=120, seconds=60, batch=20)


class TokenNameView(OwnTokensMixin, View):
    """Part of the page of my tokens. By POST, because addresses are logged, and people can paste a token by mistake."""

    http_method_names = ["post"]

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.OWN_TOKENS)

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        owner = self.owner
        wait = NAME_CHECKS.take(str(self.person.pk))
        if wait is not None:
            return errors.too_many_requests(
                request, _("You have checked many names in a short time. Try again in a minute."), retry_after=wait
            )
        return self._answer(request.POST.get("name", ""), owner)

    def _answer(self, typed: str, owner: User) -> HttpResponse:
        context = {"problem": problem_of(typed, owner=owner) if typed.strip() else None}
        return render(self.request, "tokens/includes/name_check.html", context)


def problem_of(typed: str, *, owner: User) -> str:
    """Why the person can't use this name for a new token; empty if they can."""
    try:
        name = clean_name(typed)
    except ValidationError as error:
        return " ".join(error.messages)
    if not services.is_name_in_use(owner=owner, name=name):
        return ""
    return str(services.NAME_TAKEN_THERE) if owner.is_service_account else _("You already have a token with this name.")
