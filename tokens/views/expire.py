"""Confirms and expires one token."""

import uuid
from datetime import timedelta
from urllib.parse import urlsplit

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.generic import View

from accounts.models import User
from auditlog import usage
from core import ids
from core.pages.addresses import back_to, match_of
from core.pages.views import MemberPageMixin
from tokens import services
from tokens.filters import TokenFilter
from tokens.forms import ExpireTokenForm
from tokens.models import Token
from tokens.tables import anchor_of, anchor_of_name
from tokens.views.places import back_link, list_of

# The page that replaces a token names so many addresses.
ADDRESSES_SHOWN = 3


class TokenExpireView(MemberPageMixin, View):
    """Asks for confirmation, then ends the token."""

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        token = self._token(pk)
        if token.has_ended:
            return self._had_ended(request, token)
        return self._confirm(request, token, self._form(token))

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        token = self._token(pk)
        form = self._form(token, request.POST)
        if not form.is_valid():
            return self._confirm(request, token, form, status=400)
        try:
            services.revoke_token(actor=self.person, token=token, reason=form.cleaned_data["reason"], request=request)
        except services.AlreadyEnded:
            return self._had_ended(request, token)
        messages.success(
            request, _("“%(name)s” is expired. Scripts that use it get 401 from now on.") % {"name": token.name}
        )
        return redirect(self._place_in_list(token))

    def _had_ended(self, request: HttpRequest, token: Token) -> HttpResponse:
        messages.info(request, _("“%(name)s” had already expired.") % {"name": token.name})
        return redirect(self._place_in_list(token))

    def _list_of(self, token: Token) -> str:
        """The list as the person left it."""
        return back_to(self.request, list_of(token, self.person))

    def _place_in_list(self, token: Token) -> str:
        """Its row, or the row that was next to it if a filter hides the token now."""
        address, next_row = self._list_of(token), self._next_row()
        if next_row is None or is_found_by_filters(token, address):
            return f"{address}#{anchor_of(token)}"
        return f"{address}#{anchor_of_name(next_row)}"

    def _next_row(self) -> uuid.UUID | None:
        try:
            return ids.read(self.request.POST.get("next_row") or self.request.GET.get("next_row") or "")
        except ValueError:
            return None

    def _token(self, pk: str) -> Token:
        token: Token = get_object_or_404(Token.objects.revocable_by(self.person).for_token_page(), pk=pk)
        return token

    def _form(self, token: Token, data: QueryDict | None = None) -> ExpireTokenForm:
        return ExpireTokenForm(data, needs_reason=services.needs_reason(actor=self.person, token=token))

    def _confirm(self, request: HttpRequest, token: Token, form: ExpireTokenForm, status: int = 200) -> HttpResponse:
        context = {
            "token": token,
            "form": form,
            "cancel_url": self._list_of(token),
            "back_url": self._list_of(token),
            "next_row": self._next_row(),
            "back": back_link(token, self.person, self._list_of(token)),
            "uses_lately": uses_lately(token, self.person),
        }
        return render(request, "tokens/token_confirm_expire.html", context, status=status)


def is_found_by_filters(token: Token, address: str) -> bool:
    """Whether the filters of the list of tokens at this address find the token. True for other addresses."""
    url = urlsplit(address)
    view = getattr(getattr(match_of(url.path), "func", None), "view_class", None)
    filterset_class = getattr(view, "filterset_class", None)
    if filterset_class is None or not issubclass(filterset_class, TokenFilter):
        return True
    filterset = filterset_class(QueryDict(url.query), Token.objects.filter(pk=token.pk))
    return not filterset.is_valid() or bool(filterset.qs.exists())


def uses_lately(token: Token, reader: User) -> int | None:
    """The number of uses in the last 7 days that the reader may see; ``None`` if some are not counted yet."""
    return number_lately(usage.of_token(token.pk, reader=reader))


def number_lately(uses: usage.Uses) -> int | None:
    return sum(day.total for day in usage.days(uses)[-7:]) if uses.is_complete else None


def addresses_lately(uses: usage.Uses) -> list[str]:
    """From where a token was used in the last 7 days: the newest few."""
    since = timezone.now() - timedelta(days=7)
    found = usage.addresses(uses)
    return [address.ip for address in found if address.ip and address.last_at >= since][:ADDRESSES_SHOWN]
