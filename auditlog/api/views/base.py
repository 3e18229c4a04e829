"""What the API operations of both logs share: a list, one record, and a file."""

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


class CsvRenderer(JSONRenderer):
    """Lets callers ask for the file by `Accept` as well. What is rendered by it is only ever an error."""

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
        """The entries before they are filtered."""
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
    is_own = True

    def get_renderers(self) -> list[Any]:
        files = [CsvRenderer(), JsonLinesRenderer()] if self.action == "export" else []
        return [*super().get_renderers(), *files]

    def list(self, request: Request) -> Response:
        """Records, refused uses and failed sign-ins included, newest first.

        Other filters than `date`, `date_to`, `token_id` of a use, and `request_id` search: one answer looks through
        50,000 records at most. Where that ends first, `data` has fewer records than `page_size` allows, or none, and
        `next` goes on from there. Only where `next` is null is the end.

        With `after`, records come in the order in which they became final, oldest first. A record that is committed
        late is never skipped, and `next` is never null: keep it and ask again, after a pause where `data` is empty.
        """
        return self.page_of(self.entries)

    def retrieve(self, request: Request, pk: str) -> Response:
        """One record, as it stands in the list."""
        return Response(self.serializer_class(self.get_object()).data)

    @action(detail=False)
    def export(self, request: Request) -> StreamingHttpResponse:
        """All records that the filters find, newest first, in one answer of any length.

        One line for each, with the record's fields as columns: CSV (RFC 4180, UTF-8, with a header) or JSON Lines.
        In CSV, a text that a spreadsheet would take for a formula has an apostrophe before it.

        Where the portal fails in the middle, the last line says that the file is not complete; it is neither CSV nor
        JSON, and the connection breaks off. A search that finds nothing for long sends a byte every few seconds: part
        of the line before or, in JSON Lines, a space before the next record.
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
            raise Throttled(exports.TRY_AGAIN_SECONDS, "Several files are being written already.") from None


class OrganizationLogViewSet(LogViewSet):
    is_own = False
    pagination_class = PublishedLogPages

    @cached_property
    def entries(self) -> QuerySet[Any]:
        """As published: without a date, the last seven days. A client that follows the log must not miss what came
        while it was away for longer than that."""
        entries: QuerySet[Any] = self.get_queryset()
        if self.request.query_params.keys() & {"date", "after"}:
            return entries
        return entries.filter(at__gte=timezone.now() - DEFAULT_SPAN)


def described(name: str) -> Callable[[type[LogViewSet]], type[LogViewSet]]:
    """Puts the three operations of a log into the API's schema; ``name`` begins their ids."""

    def describe(view: type[LogViewSet]) -> type[LogViewSet]:
        file = {(200, media_type): OpenApiTypes.STR for media_type in ("text/csv", "application/jsonl")}
        return extend_schema_view(
            list=extend_schema(operation_id=name),
            retrieve=extend_schema(operation_id=f"{name}_retrieve"),
            export=extend_schema(operation_id=f"{name}_export", filters=True, parameters=[ExportQuery], responses=file),
        )(view)

    return describe
