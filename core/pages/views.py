"""Bases of pages: who can open them, their section, and lists with keyset paging."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, ClassVar

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.mixins import AccessMixin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.generic.base import ContextMixin, View
from django_filters.views import FilterView
from django_tables2 import SingleTableMixin

from core.db.keyset import InvalidCursor, Keyset, KeysetPage
from core.filters import LOOKS_LIKE_TOKEN
from core.http.request_context import person_of
from core.pages.forms import focus_first_error
from core.pages.submissions import answered_once
from core.text import counted, grouped
from core.types import User


class MemberPageMixin(AccessMixin, View):
    """A page for signed-in people of an organization. Operators are redirected to Django admin."""

    @property
    def person(self) -> User:
        return person_of(self.request)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return self.handle_no_permission()
        if request.user.organization_id is None:
            return redirect("admin:index")
        if not self.role_allows(request.user):
            raise PermissionDenied(_("Your site role can't open this page."))
        answer = partial(super().dispatch, request, *args, **kwargs)
        return answered_once(request, person_id=self.person.pk, answer=answer) if request.method == "POST" else answer()

    def role_allows(self, user: Any) -> bool:
        """Whether the person's site role can open this page at all. The queryset decides about rows."""
        return True


def _without_tokens(request: HttpRequest) -> str:
    """The address of the same list without values that look like tokens, which links of the page would repeat. Empty if
    there are none."""
    kept = request.GET.copy()
    for name, values in request.GET.lists():
        if any(map(LOOKS_LIKE_TOKEN.search, values)):
            del kept[name]
    if len(kept) == len(request.GET):
        return ""
    return f"{request.path}?{kept.urlencode()}" if kept else request.path


class SectionMixin(ContextMixin):
    """A page among the tabs of a section: "profile" or "organization" (opsera_portal/navigation.py)."""

    section: str
    # The URL name of the tab that is marked as current.
    current_tab: str


@dataclass(frozen=True)
class PageLinks:
    """The links and texts of a list's pager; ``None`` for a link that does not exist.

    ``searched_to`` is where the search ended before the page was full. ``searched_url`` continues there: further back
    or, for a page of newer entries, forward.
    """

    next_url: str | None
    previous_url: str | None
    newest_url: str | None
    count: str | None = None
    searched_to: datetime | None = None
    searched_url: str | None = None
    searches_back: bool = True
    is_invalid: bool = False


@dataclass(frozen=True)
class Chip:
    """One active filter, with the address of the list without it."""

    name: str
    label: str
    value: str
    url: str | None


class FilteredListMixin(FilterView):
    """A filtered list that names its active filters. A search for a token is left out."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if address := _without_tokens(request):
            messages.warning(
                request, _("You searched for a token, so the search was left out. Use “Found a leaked token?”.")
            )
            return redirect(address)
        answer: HttpResponseBase = super().get(request, *args, **kwargs)
        return answer

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        # Not before, because the form is created when it is first read, and pages change the filters until then.
        focus_first_error(self.filterset.form)
        context: dict[str, Any] = super().get_context_data(**kwargs)
        return context

    @property
    def is_readable(self) -> bool:
        """Whether all active filters are valid. If not, the list is not searched."""
        return not self.filterset.is_bound or self.filterset.is_valid()

    def chips(self) -> list[Chip]:
        form = self.filterset.form
        chips = []
        for field in form:
            value = self.request.GET.get(field.name)
            if value:
                widget = form.fields[field.name].widget
                choices = {str(key): label for key, label in getattr(widget, "choices", ())}
                # A field that suggests rows shows the name of a row, also if the address has its id.
                in_words = getattr(form.fields[field.name], "words", None)
                shown = str(choices.get(value) or (in_words and in_words(value)) or field.value() or value)
                chips.append(Chip(field.name, str(field.label), shown, self.narrowed_url(without=field.name)))
        return chips

    def narrowing(self) -> QueryDict:
        """The parameters of the address that are filters of this list and not empty."""
        query = QueryDict(mutable=True)
        query.update(
            {name: value for name, value in self.request.GET.items() if value and name in self.filterset.filters}
        )
        return query

    def narrowed_url(self, *, without: str = "", **further: str) -> str:
        """The address of the list with its filters, except for the filter ``without``."""
        query = self.narrowing()
        query.pop(without, None)
        for name, value in further.items():
            query[name] = value
        return f"{self.request.path}?{query.urlencode()}" if query else self.request.path


class KeysetTableMixin(SingleTableMixin, FilteredListMixin):
    """A filtered table with keyset paging, for lists that grow while people read them.

    Entries are only counted up to 10,000, so that every page costs the same.
    """

    keyset: ClassVar[Keyset]
    page_size = 50
    counts_up_to = 10_000
    table_pagination = False

    def get_searched(self) -> QuerySet[Any] | None:
        """The list that the filters search if no index serves them (`Keyset.page`)."""
        return None

    def count_rows(self, *, up_to: int) -> int | None:
        """The number of rows, where ``up_to`` means many. ``None`` if the index alone can't tell, because reading the
        rows would take too long."""
        return self.keyset.count(self.object_list, up_to=up_to) if self._searched is None else None

    def get_table_kwargs(self) -> dict[str, Any]:
        return {**super().get_table_kwargs(), "empty_text": self._empty_text()}

    def _empty_text(self) -> str | None:
        """Why there are no rows; ``None`` for the table's own text."""
        if not self.is_readable:
            return _("Correct the marked filter to see entries.")
        if self.keyset_page.searched_to is not None:
            return _("No matches in this part of the list.")
        if self.request.GET.get("cursor") and not self._cursor_is_invalid:
            return _("No more entries in this direction.")
        return None

    def get_table_data(self) -> list[Any]:
        return self.keyset_page.rows

    @property
    def keyset_page(self) -> KeysetPage[Any]:
        if not hasattr(self, "_keyset_page"):
            self._keyset_page = self._read_page(self.object_list)
        return self._keyset_page

    def _read_page(self, queryset: QuerySet[Any]) -> KeysetPage[Any]:
        self._cursor_is_invalid = False
        self._searched = self.get_searched() if self.is_readable else None
        cursor = self.request.GET.get("cursor")
        try:
            return self.keyset.page(queryset, cursor=cursor, size=self.page_size, searched=self._searched)
        except InvalidCursor:
            self._cursor_is_invalid = True
            return self.keyset.page(queryset, cursor=None, size=self.page_size, searched=self._searched)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        page = self.keyset_page
        ended = page.searched_to is not None
        next_url, previous_url = self._url(page.next_cursor), self._url(page.previous_cursor)
        links = PageLinks(
            next_url=None if ended and not page.is_backward else next_url,
            previous_url=None if ended and page.is_backward else previous_url,
            newest_url=self._url("") if self.request.GET.get("cursor") else None,
            count=self._count(page),
            searched_to=page.searched_to,
            searched_url=(previous_url if page.is_backward else next_url) if ended else None,
            searches_back=not page.is_backward,
            is_invalid=self._cursor_is_invalid,
        )
        view_url = f"{settings.PORTAL_URL}{self.narrowed_url()}"
        return super().get_context_data(page=links, chips=self.chips(), view_url=view_url, **kwargs)

    def _count(self, page: KeysetPage[Any]) -> str | None:
        """The number of entries, if it can be determined quickly."""
        if not self.is_readable:
            return None
        if page.next_cursor is None and page.previous_cursor is None and not self.request.GET.get("cursor"):
            number: int | None = len(page.rows)
        else:
            number = self.count_rows(up_to=self.counts_up_to + 1)
        if number is None:
            return None
        if number > self.counts_up_to:
            return _("More than %(count)s entries") % {"count": grouped(self.counts_up_to)}
        return counted(number, "entry", "entries")

    def _url(self, cursor: str | None) -> str | None:
        if cursor is None:
            return None
        return self.narrowed_url(cursor=cursor) if cursor else self.narrowed_url()
