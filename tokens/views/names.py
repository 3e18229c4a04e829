"""Says whether a name is free for a new token, while a person types it."""

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.generic import View

from accounts.models import User
from accounts.roles import Ability
from core.pages import errors
from core.pages.views import MemberPageMixin
from core.rate_limits import Limit
from tokens import services
from tokens.names import clean_name

# For each person. In batches, because each check while typing would otherwise cost a write.
NAME_CHECKS = Limit("token-name-check", amount=120, seconds=60, batch=20)


class TokenNameView(MemberPageMixin, View):
    """Part of the page of my tokens. By POST, because addresses are logged, and people can paste a token by mistake."""

    http_method_names = ["post"]

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.OWN_TOKENS)

    def post(self, request: HttpRequest) -> HttpResponseBase:
        wait = NAME_CHECKS.take(str(self.person.pk))
        if wait is not None:
            return errors.too_many_requests(
                request, _("You have checked many names in a short time. Try again in a minute."), retry_after=wait
            )
        return self._answer(request.POST.get("name", ""))

    def _answer(self, typed: str) -> HttpResponse:
        context = {"problem": problem_of(typed, owner=self.person) if typed.strip() else None}
        return render(self.request, "tokens/includes/name_check.html", context)


def problem_of(typed: str, *, owner: User) -> str:
    """Why the person can't use this name for a new token; empty if they can."""
    try:
        name = clean_name(typed)
    except ValidationError as error:
        return " ".join(error.messages)
    return _("You already have a token with this name.") if services.is_name_in_use(owner=owner, name=name) else ""
