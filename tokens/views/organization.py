"""The tokens of the whole organization: the list, and expiring several of them."""

import uuid
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext, gettext_lazy, ngettext
from django.views.generic import View
from django_tables2 import SingleTableMixin

from accounts.models import User
from accounts.roles import Ability
from accounts.services_for_tokens import services_for_tokens
from auditlog import usage
from core.pages.addresses import back_to
from core.pages.forms import add_error
from core.pages.views import FilteredListMixin, MemberPageMixin, SectionMixin
from core.text import Text, grouped
from tokens import services
from tokens.ended_in_use import listed_in_use
from tokens.filters import OrganizationTokenFilter, offer_services
from tokens.forms import ExpireManyForm
from tokens.models import Token
from tokens.querysets import TokenQuerySet, TokenSummary
from tokens.tables import OrganizationTokenTable, TokensToExpireTable
from tokens.views.networks import networks_of_policy
from tokens.views.places import ids_in

LISTED = 50
LATELY = timedelta(days=7)


class OrganizationTokenListView(SectionMixin, MemberPageMixin, SingleTableMixin, FilteredListMixin):
    """The metadata of all tokens, for roles that read it."""

    table_class = OrganizationTokenTable
    filterset_class = OrganizationTokenFilter
    template_name = "tokens/organization_token_list.html"
    section = "organization"
    current_tab = "tokens:organization_token_list"

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.READ_TOKENS)

    def get_queryset(self) -> TokenQuerySet:
        return (
            Token.objects.of_organization_readable_by(self.person).for_token_table().with_pipelines(seen_by=self.person)
        )

    def get_filterset(self, filterset_class: Any) -> Any:
        filterset = super().get_filterset(filterset_class)
        offer_services(filterset, "service", services_for_tokens().of_organization(self.person))
        return filterset

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            ended_in_use=listed_in_use(usage.readable_org_entries(self.person)),
            may_expire=self.person.may(Ability.EXPIRE_TOKENS),
            narrowing=narrowing(self.request),
            **networks_of_policy(self.person.own_organization, self.request),
            # The links to expire tokens contain the filters already, but not the sorting and the page.
            back_url=self.request.get_full_path() if self.request.GET.keys() - narrowing(self.request).keys() else "",
            **kwargs,
        )

    def get_table_kwargs(self) -> dict[str, Any]:
        wrong = {} if self.is_readable else {"empty_text": gettext("Correct the marked filter to see tokens.")}
        return {"may_expire": self.person.may(Ability.EXPIRE_TOKENS), **wrong}


class ExpireManyView(MemberPageMixin, View):
    """Lists the tokens, asks for a reason, and expires them. The URL says which tokens."""

    nothing_to_end: Text

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.EXPIRE_TOKENS)

    def get_tokens(self) -> TokenQuerySet:
        """The tokens that the URL names, including ended ones."""
        raise NotImplementedError

    def expire(self, form: ExpireManyForm) -> int:
        """Ends them; returns how many were live. Raises ``CountChanged``."""
        raise NotImplementedError

    def get(self, request: HttpRequest) -> HttpResponse:
        count = self._summary.tokens
        if not count:
            messages.info(request, self.nothing_to_end)
            return redirect(self._list_url)
        return self._ask(ExpireManyForm(needs_reason=True, initial={"count": count}), count)

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = ExpireManyForm(request.POST, needs_reason=True)
        if not form.is_valid():
            return self._ask(form, self._summary.tokens, status=400)
        try:
            ended = self.expire(form)
        except services.CountChanged as changed:
            reason = {"reason": form.cleaned_data["reason"], "count": changed.count}
            form = ExpireManyForm(reason, needs_reason=True)
            add_error(form, changed)
            return self._ask(form, changed.count, status=409)
        messages.success(request, _expired(ended))
        return redirect(self._list_url)

    @cached_property
    def _live(self) -> TokenQuerySet:
        return self.get_tokens().live()

    @cached_property
    def _summary(self) -> TokenSummary:
        return self._live.summary(used_since=timezone.now() - LATELY)

    @property
    def _list_url(self) -> str:
        """The list as the person left it, or if that is not known, with the filters."""
        url, query = reverse("tokens:organization_token_list"), narrowing(self.request)
        return back_to(self.request, f"{url}?{query.urlencode()}" if query else url)

    def _ask(self, form: ExpireManyForm, count: int, status: int = 200) -> HttpResponse:
        tokens = self._live.for_token_table().with_pipelines(seen_by=self.person)
        context = {
            "form": form,
            "question": ngettext("Expire %(count)s token?", "Expire %(count)s tokens?", count)
            % {"count": grouped(count)},
            "table": TokensToExpireTable(list(tokens.order_by("owner__email", "name", "pk")[:LISTED])),
            "further": max(count - LISTED, 0),
            "owners": self._summary.owners,
            "used_lately": self._summary.used_lately,
            "action": self.request.get_full_path(),
            "cancel_url": self._list_url,
        }
        return render(self.request, "tokens/organization_token_expire.html", context, status=status)


class ExpireSelectedView(ExpireManyView):
    """The tokens that were selected in the list: an ``id`` in the URL for each."""

    nothing_to_end = gettext_lazy("Nothing to expire. Select tokens that have not expired.")

    def get_tokens(self) -> TokenQuerySet:
        found = Token.objects.revocable_by(self.person).filter(pk__in=self._ids)
        if found.count() != len(self._ids):
            raise Http404
        return found

    def expire(self, form: ExpireManyForm) -> int:
        # Tokens of other people that the person may not see do not exist on pages.
        self.get_tokens()
        reason = form.cleaned_data["reason"]
        return len(services.revoke_tokens(actor=self.person, token_ids=self._ids, reason=reason, request=self.request))

    @cached_property
    def _ids(self) -> set[uuid.UUID]:
        return ids_in(self.request.GET.getlist("id"))


class ExpireMatchingView(ExpireManyView):
    """All tokens that match the filters in the URL, which are those of the list; without filters, all tokens."""

    nothing_to_end = gettext_lazy("Nothing to expire. No live token matches.")

    def get_tokens(self) -> TokenQuerySet:
        query = narrowing(self.request)
        filtered = OrganizationTokenFilter(query, Token.objects.revocable_by(self.person))
        # A filter that is unknown or wrong would be ignored, and more tokens would be expired than intended.
        if query.keys() != self.request.GET.keys() - {"next"} or not filtered.is_valid():
            raise BadRequest("A filter in this address is not valid.")
        tokens: TokenQuerySet = filtered.qs
        return tokens

    def expire(self, form: ExpireManyForm) -> int:
        return services.revoke_all(
            actor=self.person,
            tokens=self.get_tokens(),
            expected=form.cleaned_data["count"],
            reason=form.cleaned_data["reason"],
            request=self.request,
        )


def _expired(count: int) -> str:
    return ngettext(
        "Expired %(count)s token. Scripts that use them get 401 from now on.",
        "Expired %(count)s tokens. Scripts that use them get 401 from now on.",
        count,
    ) % {"count": grouped(count)}


def narrowing(request: HttpRequest) -> QueryDict:
    """The parameters of the URL that are filters of the list and not empty."""
    query = QueryDict(mutable=True)
    names = OrganizationTokenFilter.base_filters
    for name in request.GET:
        if name in names and (value := request.GET[name]):
            query[name] = str(value)
    return query
