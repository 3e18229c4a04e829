"""Replaces one of my tokens by a new one with the same name, scopes and limits."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.generic import View

from accounts.privileges import Privilege
from accounts.security.reauthentication import RecentSignInMixin
from auditlog import usage
from core.pages.forms import refusals_in
from core.pages.views import MemberPageMixin
from tokens import replacement
from tokens.forms import ReplaceTokenForm
from tokens.models import Token
from tokens.pipeline_choice import pipelines_seen_by
from tokens.views.expire import addresses_lately, number_lately
from tokens.views.places import back_link


class TokenReplaceView(RecentSignInMixin, MemberPageMixin, View):
    """Shows what the new token gets, and creates it. The reveal page shows it."""

    privilege = Privilege.REPLACE_TOKEN

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        token = self._token(pk)
        return self._ask(token, ReplaceTokenForm(token=token))

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        token = self._token(pk)
        form = ReplaceTokenForm(request.POST, token=token)
        if form.is_valid() and (new := self._replace(token, form)):
            return redirect("tokens:token_reveal", pk=new.pk)
        return self._ask(token, form, status=400)

    def _token(self, pk: str) -> Token:
        token: Token = get_object_or_404(Token.objects.managed_by(self.person).for_token_page(), pk=pk)
        return token

    def _replace(self, token: Token, form: ReplaceTokenForm) -> Token | None:
        with refusals_in(form):
            return replacement.replace_token(actor=self.person, token=token, request=self.request, **form.cleaned_data)
        return None

    def _ask(self, token: Token, form: ReplaceTokenForm, status: int = 200) -> HttpResponse:
        if not form.errors and (closed := token.service_closed_because):
            text = _("“%(name)s” can't be replaced. %(why)s")
            messages.info(self.request, text % {"name": token.name, "why": closed})
            return redirect("tokens:token_detail", pk=token.pk)
        if not form.errors and not replacement.can_be_replaced(token):
            text = _(
                "“%(name)s” can't be replaced: it has not started, has ended, was replaced before, was never shown, "
                "has a limited number of uses, or a token like it needs approval now."
            )
            messages.info(self.request, text % {"name": token.name})
            return redirect("tokens:token_detail", pk=token.pk)
        uses = usage.of_token(token.pk, reader=self.person)
        context = {
            "token": token,
            "form": form,
            "back": back_link(token, self.person),
            "pipelines": pipelines_seen_by(self.person, token),
            "uses_lately": number_lately(uses),
            "addresses_lately": addresses_lately(uses),
            "new_end": replacement.end_of_replacement(token),
        }
        return render(self.request, "tokens/token_replace.html", context, status=status)
