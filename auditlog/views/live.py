"""Live: the first page of a log adds new entries at the top by itself.

The page requests its own address every few seconds, with the cursor up to which it has read (`auditlog/following.py`,
`assets/js/live-log.js`). This finds entries of slow requests, too, which the order by time places below newer ones. A
request costs the same lookup by primary key whatever the filters are, and one more query if the log has grown.
"""

from dataclasses import dataclass, replace
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import ngettext
from django_htmx.http import HttpResponseClientRefresh, trigger_client_event

from auditlog import following
from core.db.keyset import InvalidCursor, KeysetPage
from core.pages.views import KeysetTableMixin
from core.text import grouped

# Rows of a live page: when there are more, the oldest are removed.
MOST_ROWS = 200


@dataclass(frozen=True)
class Live:
    """The switch of a page.

    ``url`` turns it on or off. ``cursor``: up to where the page has read, if the switch is on. ``is_kept``: whether
    links and the filter form keep it on, also from pages that are not the first. ``is_delayed``: it cannot be on,
    because an open transaction delays new entries.
    """

    url: str
    cursor: str | None = None
    is_kept: bool = False
    is_delayed: bool = False
    most_rows: int = MOST_ROWS

    @property
    def is_on(self) -> bool:
        return self.cursor is not None


class LiveTableMixin(KeysetTableMixin):
    """A log whose first page can be live (`live=1` in its address)."""

    # Up to where the page has read, if it is live: the last id and a cursor.
    read_to: tuple[int, str] | None = None

    @property
    def wants_live(self) -> bool:
        return bool(self.request.GET.get("live") == "1")

    @property
    def is_first_page(self) -> bool:
        return self.is_readable and not self.request.GET.get("cursor")

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        after = request.GET.get("after")
        if after is not None and "HX-Request" in request.headers:
            return self.new_rows(after)
        answer: HttpResponseBase = super().get(request, *args, **kwargs)
        return answer

    def new_rows(self, after: str) -> HttpResponse:
        """The rows of new entries; 204 if there are none. The event says how many, and up to where the log was read."""
        self.filterset = self.filterset_class(self.request.GET, self.get_queryset(), request=self.request)
        if not self.is_readable:
            return HttpResponse(status=204)
        try:
            found = following.newest_entries(self.filterset.qs, after=after, size=MOST_ROWS)
        except InvalidCursor:
            return HttpResponseClientRefresh()
        number = len(found.entries)
        event = {"cursor": found.cursor, "count": number, "isCut": found.is_cut}
        if not number:
            return trigger_client_event(HttpResponse(status=204), "log-read", event)
        rows = self.get_table_class()(found.entries, narrowing=self.kept_in_links()).body()
        said = ngettext("%(count)s new entry", "%(count)s new entries", number) % {"count": grouped(number)}
        return trigger_client_event(HttpResponse(rows), "log-read", {**event, "said": said}, after="swap")

    def _read_page(self, queryset: QuerySet[Any]) -> KeysetPage[Any]:
        if not (self.wants_live and self.is_first_page):
            return super()._read_page(queryset)
        # Read before the list. The first request for new entries brings those that were added in between.
        self.read_to = following.end_of(queryset.model)
        page = super()._read_page(queryset)
        if self.read_to is None:
            return page
        return replace(page, rows=[row for row in page.rows if row.pk <= self.read_to[0]])

    def _count(self, page: KeysetPage[Any]) -> str | None:
        # It would soon be wrong.
        return None if self.read_to else super()._count(page)

    def kept_in_links(self) -> dict[str, Any]:
        """The filters, and the switch if it is on."""
        return {**self.narrowing().dict(), **({"live": "1"} if self.wants_live else {})}

    def narrowed_url(self, *, without: str = "", **further: str) -> str:
        return super().narrowed_url(without=without, **({"live": "1"} if self.wants_live else {}), **further)

    def get_table_kwargs(self) -> dict[str, Any]:
        return {**super().get_table_kwargs(), "narrowing": self.kept_in_links()}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        context["live"] = self.live()
        return context

    def live(self) -> Live:
        cursor = self.read_to[1] if self.read_to else None
        url = super().narrowed_url(**({} if cursor else {"live": "1"}))
        is_delayed = self.wants_live and self.is_first_page and cursor is None
        return Live(url, cursor, is_kept=self.wants_live, is_delayed=is_delayed)
