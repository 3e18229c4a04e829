"""What the API operations of both logs share: a list, one entry, and an export."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone
from django.utils.functional import cached_property
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.exceptions import Throttled
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ModelSerializer

from auditlog import exports
from auditlog.api.paging import LogPages, PublishedLogPages
from auditlog.api.serializers import ExportQuery
from auditlog.filters import LogFilter
from auditlog.models import NEWEST_FIRST
from core.api.views import ApiViewSet

DEFAULT_SPAN = timedelta(days=7)


def busy() -> Throttled:
    return Throttled(exports.TRY_AGAIN_SECONDS, "The portal is writing as many files as it can at the same time.")


class CsvRenderer(JSONRenderer):
    """Allows clients to request the file by `Accept`. It renders nothing but errors."""

    media_type = "text/csv"
    format = "csv"


class JsonLinesRenderer(JSONRenderer):
    media_type = "application/jsonl"
    format = "jsonl"


def may_read_logs(user: Any) -> bool:
    return bool(user.may_read_organization_logs)


class LogListViewSet(ApiViewSet):
    """The entries of a log, page by page."""

    keyset = NEWEST_FIRST
    pagination_class = LogPages
    filterset_class: type[LogFilter]

    @cached_property
    def entries(self) -> QuerySet[Any]:
        """The entries before filtering."""
        entries: QuerySet[Any] = self.get_queryset()
        return entries

    def get_searched(self) -> QuerySet[Any] | None:
        return self.filterset_class.searched(self.request.query_params, self.entries)


class LogViewSet(LogListViewSet):
    """A log: its entries page by page, one of them, and all that are filtered as a file."""

    filtered_actions = frozenset({"list", "export"})
    queries: ClassVar = {"export": ExportQuery}
    lookup_url_kwarg = "pk"
    serializer_class: type[ModelSerializer[Any]]
    # Of one entry.
    detail_serializer_class: type[ModelSerializer[Any]]
    is_own = True

    def get_renderers(self) -> list[Any]:
        files = [CsvRenderer(), JsonLinesRenderer()] if self.action == "export" else []
        return [*super().get_renderers(), *files]

    def list(self, request: Request) -> Response:
        """Entries, newest first. Refused uses and failed sign-ins are included.

        An index supports the filters `date`, `date_to`, `since_at`, `before_at`, `request_id` and, in the
        authentication log, `token_id`; in that of the organization also the id of a `service`. All other filters
        search: one request looks through at most 25,000 entries. If it finds fewer than `page_size`, `data` is shorter
        or empty, and `next` continues from there. The list has ended only when `next` is null.

        With `after`, entries come in the order in which they became final, oldest first. An entry that is committed
        late is never skipped, and `next` is never null: store it and request it again, after a pause if `data` is
        empty.
        """
        return self.page_of(self.entries)

    def retrieve(self, request: Request, pk: str) -> Response:
        """One entry, as in the list, with the name of its address."""
        return Response(self.detail_serializer_class(self.get_object()).data)

    @action(detail=False)
    def export(self, request: Request) -> StreamingHttpResponse:
        """All entries that match the filters, newest first, in one answer.

        Each entry is a line of CSV (RFC 4180, UTF-8, with a header line) or of JSON Lines. In CSV, a text that a
        spreadsheet would read as a formula has an apostrophe before it.

        If the portal fails halfway, the last line says that the file is not complete. This line is neither valid CSV
        nor valid JSON, and the connection is closed with an error. During a long search without results, the portal
        sends one byte every few seconds: part of the previous line or, in JSON Lines, a space before the next entry.
        """
        query = self.read_query()
        try:
            return exports.response(
                request._request,
                self.narrowed(self.entries),
                searched=self.get_searched(),
                serializer_class=self.serializer_class,
                file_format=query["format"],
                is_own=self.is_own,
                has_mark=query["bom"],
            )
        except exports.TooManyExports:
            raise busy() from None


class OrganizationLogViewSet(LogViewSet):
    is_own = False
    pagination_class = PublishedLogPages

    @cached_property
    def entries(self) -> QuerySet[Any]:
        """As published: without a beginning, the last seven days.

        This does not apply to clients that follow the log: they must not miss entries after a longer pause.
        """
        entries: QuerySet[Any] = self.get_queryset()
        if self.request.query_params.keys() & {"date", "since_at", "after"}:
            return entries
        return entries.filter(at__gte=timezone.now() - DEFAULT_SPAN)


def described(name: str) -> Callable[[type[LogViewSet]], type[LogViewSet]]:
    """Describes the three operations of a log in the API schema; their ids start with ``name``."""

    def describe(view: type[LogViewSet]) -> type[LogViewSet]:
        file = {(200, media_type): OpenApiTypes.STR for media_type in ("text/csv", "application/jsonl")}
        return extend_schema_view(
            list=extend_schema(operation_id=name),
            retrieve=extend_schema(operation_id=f"{name}_retrieve", responses=view.detail_serializer_class),
            export=extend_schema(operation_id=f"{name}_export", filters=True, parameters=[ExportQuery], responses=file),
        )(view)

    return describe
