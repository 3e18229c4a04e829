"""What pages share: who may open them, tabs, and lists paged by keyset."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.contrib.auth.mixins import AccessMixin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.generic.base import ContextMixin, View
from django_filters.views import FilterView
from django_tables2 import SingleTableMixin

from opsera_portal.keyset import InvalidCursor, Keyset, KeysetPage
from opsera_portal.request_context import person_of

if TYPE_CHECKING:
    from accounts.models import User


class MemberPageMixin(AccessMixin, View):
    """A page for signed-in people of an organization. Operators of the installation are sent to Django admin."""

    @property
    def person(self) -> "User":
        return person_of(self.request)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return self.handle_no_permission()
        if request.user.organization_id is None:
            return redirect("admin:index")
        if not self.role_allows(request.user):
            raise PermissionDenied("Your site role does not open this page.")
        return super().dispatch(request, *args, **kwargs)

    def role_allows(self, user: Any) -> bool:
        """Whether the person's site role opens this page at all; rows are decided by the queryset."""
        return True


@dataclass(frozen=True)
class Tab:
    label: str
    view_name: str
    opens_for: Callable[[Any], bool] = lambda user: True


class TabsMixin(ContextMixin):
    """Tabs under the page's title: real links, the current one marked."""

    tabs: ClassVar[list[Tab]] = []
    current_tab = ""
    request: HttpRequest

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        shown = [
            {"label": tab.label, "url": reverse(tab.view_name), "current": tab.view_name == self.current_tab}
            for tab in self.tabs
            if tab.opens_for(self.request.user)
        ]
        return super().get_context_data(tabs=shown, **kwargs)


@dataclass(frozen=True)
class PageLinks:
    """Where the pager of a list leads; ``None`` where there is nothing."""

    next_url: str | None
    previous_url: str | None
    newest_url: str | None
    is_invalid: bool = False


class KeysetTableMixin(SingleTableMixin, FilterView):
    """A filtered table that is paged by keyset, for lists that grow while one reads them."""

    keyset: ClassVar[Keyset]
    page_size = 50
    table_pagination = False

    def get_table_data(self) -> list[Any]:
        return self.keyset_page.rows

    @property
    def keyset_page(self) -> KeysetPage[Any]:
        if not hasattr(self, "_keyset_page"):
            self._keyset_page = self._read_page(self.object_list)
        return self._keyset_page

    def _read_page(self, queryset: QuerySet[Any]) -> KeysetPage[Any]:
        self._cursor_is_invalid = False
        cursor = self.request.GET.get("cursor")
        try:
            return self.keyset.page(queryset, cursor=cursor, size=self.page_size)
        except InvalidCursor:
            self._cursor_is_invalid = True
            return self.keyset.page(queryset, cursor=None, size=self.page_size)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        page = self.keyset_page
        links = PageLinks(
            next_url=self._url(page.next_cursor),
            previous_url=self._url(page.previous_cursor),
            newest_url=self._url("") if self.request.GET.get("cursor") else None,
            is_invalid=self._cursor_is_invalid,
        )
        return cast(dict[str, Any], super().get_context_data(page=links, **kwargs))

    def _url(self, cursor: str | None) -> str | None:
        if cursor is None:
            return None
        query = self.request.GET.copy()
        query.pop("cursor", None)
        if cursor:
            query["cursor"] = cursor
        return f"{self.request.path}?{query.urlencode()}" if query else self.request.path
