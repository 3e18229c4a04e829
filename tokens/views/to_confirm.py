"""The tokens that wait for a person's answer in a review campaign, and the two answers."""

import uuid
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.generic import TemplateView
from django_tables2 import SingleTableMixin

from accounts.models import User
from core.pages.forms import refusals_in
from core.pages.views import MemberPageMixin, SectionMixin
from core.text import grouped
from tokens.allowed_operations import OperationCounter
from tokens.models import Token
from tokens.querysets import TokenQuerySet
from tokens.review import answering
from tokens.review.forms import NoteForm
from tokens.review.models import ReviewCampaign, ReviewItem
from tokens.review.tables import TokensToConfirmTable
from tokens.tables import TokensToExpireTable
from tokens.views.places import ids_in


def tokens_waiting_for(person: User) -> TokenQuerySet:
    """The tokens that this person is asked about and that have no answer."""
    items = ReviewItem.objects.asked_of(person).waiting()
    tokens: TokenQuerySet = Token.objects.filter(pk__in=items.order_by().values("token"))
    return tokens.for_token_table().with_pipelines(seen_by=person).order_by("owner__email", "name", "pk")


class ToConfirmPageMixin(SectionMixin, MemberPageMixin):
    section = "profile"
    current_tab = "tokens:token_list"


class ToConfirmView(ToConfirmPageMixin, SingleTableMixin, TemplateView):
    table_class = TokensToConfirmTable
    template_name = "tokens/tokens_to_confirm.html"

    def get_table_data(self) -> TokenQuerySet:
        return tokens_waiting_for(self.person)

    def get_table_kwargs(self) -> dict[str, Any]:
        return {"counter": OperationCounter(), "selected": self.request.POST.getlist("id")}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        campaign = ReviewCampaign.objects.open().filter(organization=self.person.organization_id).first()
        form = kwargs.pop("form", None) or NoteForm()
        return super().get_context_data(campaign=campaign, form=form, **kwargs)


class AnswerView(ToConfirmView):
    """Base of the two answers: a POST with the ids of the tokens and an optional note. ``only``: the button of a row,
    which counts instead of the selected ones."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponseBase:
        ids, form = self._ids(), NoteForm(request.POST)
        if not ids:
            messages.info(request, _("Nothing was changed. Select tokens first."))
            return redirect("tokens:tokens_to_confirm")
        if form.is_valid():
            with refusals_in(form):
                return self.answer(ids, form.cleaned_data["note"])
        return self.render_to_response(self.get_context_data(form=form), status=400)

    def answer(self, ids: set[uuid.UUID], note: str) -> HttpResponseBase:
        raise NotImplementedError

    def _ids(self) -> set[uuid.UUID]:
        """Raises ``Http404`` if this person is not asked about one of them."""
        only = self.request.POST.get("only")
        ids = ids_in([only] if only else self.request.POST.getlist("id"))
        if ids and ReviewItem.objects.asked_of(self.person).filter(token__in=ids).count() != len(ids):
            raise Http404
        return ids


class ConfirmTokensView(AnswerView):
    def answer(self, ids: set[uuid.UUID], note: str) -> HttpResponseBase:
        confirmed = answering.confirm(actor=self.person, token_ids=ids, note=note, request=self.request)
        messages.success(self.request, _confirmed(len(confirmed)))
        return redirect("tokens:tokens_to_confirm")


class ExpireUnneededView(AnswerView):
    """Asks before it expires them: the form of the question says that the person is sure."""

    def answer(self, ids: set[uuid.UUID], note: str) -> HttpResponseBase:
        if self.request.POST.get("sure") != "1":
            return self._ask(ids, note)
        expired = answering.expire(actor=self.person, token_ids=ids, note=note, request=self.request)
        messages.success(self.request, _expired(len(expired)))
        return redirect("tokens:tokens_to_confirm")

    def _ask(self, ids: set[uuid.UUID], note: str) -> HttpResponse:
        tokens = list(tokens_waiting_for(self.person).filter(pk__in=ids))
        if not tokens:
            messages.error(self.request, answering.AlreadyAnswered.message)
            return redirect("tokens:tokens_to_confirm")
        question = ngettext("Expire %(count)s token?", "Expire %(count)s tokens?", len(tokens))
        context: dict[str, Any] = {
            "question": question % {"count": grouped(len(tokens))},
            "table": TokensToExpireTable(tokens),
            "tokens": tokens,
            "form": NoteForm(initial={"note": note}),
        }
        return render(self.request, "tokens/tokens_to_confirm_expire.html", context)


def _confirmed(count: int) -> str:
    said = ngettext("Confirmed %(count)s token.", "Confirmed %(count)s tokens.", count)
    return said % {"count": grouped(count)}


def _expired(count: int) -> str:
    return ngettext(
        "Expired %(count)s token. Scripts that use them get 401 from now on.",
        "Expired %(count)s tokens. Scripts that use them get 401 from now on.",
        count,
    ) % {"count": grouped(count)}
