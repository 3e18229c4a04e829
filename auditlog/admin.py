from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.safestring import SafeString

from auditlog.models import Activity, TokenUse
from auditlog.tables import outcome_badge
from core.admin_site import ReadOnlyAdmin
from core.db.unreadable import mark_unreadable
from core.http.request_context import person_of
from core.pages.templatetags.portal import badge

MAX_COUNTED = 10_000


class CappedPaginator(Paginator[Any]):
    """Counts up to a limit. People find older entries with filters, not by paging."""

    @cached_property
    def count(self) -> int:
        return int(self.object_list.values("pk")[:MAX_COUNTED].count())  # type: ignore[attr-defined]


class LogAdmin(ReadOnlyAdmin):
    """Entries of a log, read-only. Large logs are not counted completely."""

    show_full_result_count = False
    list_per_page = 50
    paginator = CappedPaginator

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        # Operators see all organizations together. No index orders those by time, but ids are in order of arrival.
        return ["-id"] if person_of(request).is_superuser else ["-at", "-id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: QuerySet[Any] = self.model.objects.visible_to(person_of(request))
        return queryset

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        entry = super().get_object(request, object_id, from_field)
        return entry and mark_unreadable(entry)


@admin.register(TokenUse)
class TokenUseAdmin(LogAdmin):
    list_display = ["at", "owner_email", "token_name", "method", "target", "status", "outcome_badge", "ip"]
    list_filter = ["outcome", "reason"]
    search_fields = ["owner_email", "token_name", "target"]
    list_select_related = False

    @admin.display(description="Outcome")
    def outcome_badge(self, use: TokenUse) -> SafeString:
        return badge(outcome_badge(use))


@admin.register(Activity)
class ActivityAdmin(LogAdmin):
    list_display = ["at", "actor_email", "action", "target_name", "token_name", "ip"]
    list_filter = ["type", "action"]
    search_fields = ["actor_email", "target_name"]
