"""The API's doors to the two logs."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.exceptions import Throttled, ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ModelSerializer, Serializer

from auditlog import exports, following
from auditlog.api.serializers import (
    ActivityExportQuery,
    ActivityQuery,
    ActivitySerializer,
    MyActivityExportQuery,
    MyActivityQuery,
    MyTokenUseExportQuery,
    MyTokenUseQuery,
    TokenActivityQuery,
    TokenUseExportQuery,
    TokenUseQuery,
    TokenUseSerializer,
)
from auditlog.filters import (
    ActivityFilter,
    LogFilter,
    OneTokenUseFilter,
    OrganizationActivityFilter,
    OrganizationTokenUseFilter,
    TokenUseFilter,
)
from auditlog.models import NEWEST_FIRST, Activity, TokenUse
from core.api.operations import READ_API, READ_LOGS, Operation
from core.api.paging import next_url, page_response
from core.api.views import ApiViewSet
from core.db.keyset import InvalidCursor

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


def since_default(queryset: QuerySet[Any], query: dict[str, Any]) -> QuerySet[Any]:
    """As published: without a date, the last seven days."""
    return queryset if "date" in query else queryset.filter(at__gte=timezone.now() - DEFAULT_SPAN)


def log_page(
    view: ApiViewSet,
    entries: QuerySet[Any],
    query: dict[str, Any],
    *,
    filter_class: type[LogFilter],
    serializer_class: type[ModelSerializer[Any]],
) -> Response:
    """One page of a log, filtered as the request asks."""
    narrowed = view.narrowed(filter_class, entries)
    if "after" in query:
        return _followed(view.request, narrowed, serializer_class, after=query["after"], size=query["page_size"])
    return page_response(
        view.request,
        narrowed,
        serializer_class,
        keyset=NEWEST_FIRST,
        cursor=query.get("cursor"),
        size=query["page_size"],
        searched=filter_class.searched(view.request.query_params, entries),
    )


def _followed(
    request: Request,
    entries: QuerySet[Any],
    serializer_class: type[ModelSerializer[Any]],
    *,
    after: str,
    size: int,
) -> Response:
    try:
        rows, cursor = following.follow(entries, after=after, size=size)
    except InvalidCursor as error:
        raise ValidationError({"after": [str(error)]}) from error
    data = serializer_class(rows, many=True, context={"request": request}).data
    return Response({"count": len(rows), "data": data, "next": next_url(request, after=cursor)})


def token_use_page(view: ApiViewSet, entries: QuerySet[TokenUse]) -> Response:
    """One page of one token's uses."""
    query = view.read_query(TokenActivityQuery)
    return log_page(view, entries, query, filter_class=OneTokenUseFilter, serializer_class=TokenUseSerializer)


class LogViewSet(ApiViewSet):
    """A log: its entries page by page, one of them, and all that are filtered as a file."""

    actions_with_query = frozenset({"list", "export"})
    lookup_url_kwarg = "pk"
    serializer_class: type[ModelSerializer[Any]]
    filter_class: ClassVar[type[LogFilter]]
    query_class: ClassVar[type[Serializer[Any]]]
    export_query_class: ClassVar[type[Serializer[Any]]]
    is_own = True

    def get_renderers(self) -> list[Any]:
        files = [CsvRenderer(), JsonLinesRenderer()] if self.action == "export" else []
        return [*super().get_renderers(), *files]

    def entries(self, query: dict[str, Any]) -> QuerySet[Any]:
        """Whose entries, before what the request asks for."""
        entries: QuerySet[Any] = self.get_queryset()
        return entries

    def list(self, request: Request) -> Response:
        """Records, refused uses and failed sign-ins included, newest first.

        Other filters than `date`, `date_to`, `token_id` of a use, and `request_id` search: one answer looks through
        50,000 records at most. Where that ends first, `data` has fewer records than `page_size` allows, or none, and
        `next` goes on from there. Only where `next` is null is the end.

        With `after`, records come in the order in which they became final, oldest first. A record that is committed
        late is never skipped, and `next` is never null: keep it and ask again, after a pause where `data` is empty.
        """
        query = self.read_query(self.query_class)
        return log_page(
            self, self.entries(query), query, filter_class=self.filter_class, serializer_class=self.serializer_class
        )

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
        query = self.read_query(self.export_query_class)
        entries = self.entries(query)
        try:
            return exports.response(
                request._request,
                self.narrowed(self.filter_class, entries),
                searched=self.filter_class.searched(request.query_params, entries),
                serializer_class=self.serializer_class,
                file_format=query["format"],
                is_own=self.is_own,
                has_mark=query["bom"],
            )
        except exports.TooManyExports:
            raise Throttled(exports.TRY_AGAIN_SECONDS, "Several files are being written already.") from None


class OrganizationLogViewSet(LogViewSet):
    is_own = False

    def entries(self, query: dict[str, Any]) -> QuerySet[Any]:
        entries = super().entries(query)
        # A follower that was away for longer than that must not miss what came in between.
        return entries if "after" in query else since_default(entries, query)


def described(name: str) -> Callable[[type[LogViewSet]], type[LogViewSet]]:
    """Puts the three operations of a log into the API's schema; ``name`` begins their ids."""

    def describe(view: type[LogViewSet]) -> type[LogViewSet]:
        file = {(200, media_type): OpenApiTypes.STR for media_type in ("text/csv", "application/jsonl")}
        return extend_schema_view(
            list=extend_schema(operation_id=name, parameters=[view.query_class]),
            retrieve=extend_schema(operation_id=f"{name}_retrieve"),
            export=extend_schema(operation_id=f"{name}_export", parameters=[view.export_query_class], responses=file),
        )(view)

    return describe


@described("logs_user_tokens")
class TokenUseLogViewSet(OrganizationLogViewSet):
    """The organization's authentication log."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(
            "Read the organization's authentication log", READ_LOGS, only_reads=True, role_allows=may_read_logs
        ),
        "retrieve": Operation(
            "See one use of a token in the organization", READ_LOGS, only_reads=True, role_allows=may_read_logs
        ),
        "export": Operation(
            "Export the organization's authentication log", READ_LOGS, only_reads=True, role_allows=may_read_logs
        ),
    }
    serializer_class = TokenUseSerializer
    filter_class = OrganizationTokenUseFilter
    query_class = TokenUseQuery
    export_query_class = TokenUseExportQuery
    lookup_field = "request_id"

    def get_queryset(self) -> Any:
        return TokenUse.objects.of_organization_of(self.person)


@described("logs_user_actions")
class ActivityLogViewSet(OrganizationLogViewSet):
    """The organization's activity log."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(
            "Read the organization's activity log", READ_LOGS, only_reads=True, role_allows=may_read_logs
        ),
        "retrieve": Operation(
            "See one action in the organization", READ_LOGS, only_reads=True, role_allows=may_read_logs
        ),
        "export": Operation(
            "Export the organization's activity log", READ_LOGS, only_reads=True, role_allows=may_read_logs
        ),
    }
    serializer_class = ActivitySerializer
    filter_class = OrganizationActivityFilter
    query_class = ActivityQuery
    export_query_class = ActivityExportQuery
    lookup_field = "public_id"

    def get_queryset(self) -> Any:
        return Activity.objects.of_organization_of(self.person)


@described("me_authentication_log")
class MyTokenUseLogViewSet(LogViewSet):
    """A person's own authentication log."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation("Read my authentication log", READ_API, only_reads=True),
        "retrieve": Operation("See one use of my tokens", READ_API, only_reads=True),
        "export": Operation("Export my authentication log", READ_API, only_reads=True),
    }
    serializer_class = TokenUseSerializer
    filter_class = TokenUseFilter
    query_class = MyTokenUseQuery
    export_query_class = MyTokenUseExportQuery
    lookup_field = "request_id"

    def get_queryset(self) -> Any:
        return TokenUse.objects.of(self.person)


@described("me_activity_log")
class MyActivityLogViewSet(LogViewSet):
    """A person's own activity log."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation("Read my activity log", READ_API, only_reads=True),
        "retrieve": Operation("See one of my actions", READ_API, only_reads=True),
        "export": Operation("Export my activity log", READ_API, only_reads=True),
    }
    serializer_class = ActivitySerializer
    filter_class = ActivityFilter
    query_class = MyActivityQuery
    export_query_class = MyActivityExportQuery
    lookup_field = "public_id"

    def get_queryset(self) -> Any:
        return Activity.objects.of(self.person)
