"""The API's doors to the two logs."""

from datetime import timedelta
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.serializers import (
    ActivityQuery,
    ActivitySerializer,
    TokenActivityQuery,
    TokenUseQuery,
    TokenUseSerializer,
)
from auditlog.filters import ActivityFilter, OneTokenUseFilter, TokenUseFilter
from auditlog.models import NEWEST_FIRST, Activity, TokenUse
from opsera_portal.api.operations import READ_LOGS, Operation
from opsera_portal.api.paging import page_response
from opsera_portal.api.views import ApiViewSet

DEFAULT_SPAN = timedelta(days=7)


def may_read_logs(user: Any) -> bool:
    return bool(user.may_read_organization_logs)


def since_default(queryset: QuerySet[Any], query: dict[str, Any]) -> QuerySet[Any]:
    """As published: without a date, the last seven days."""
    return queryset if "date" in query else queryset.filter(at__gte=timezone.now() - DEFAULT_SPAN)


def token_use_page(view: ApiViewSet, queryset: QuerySet[TokenUse]) -> Response:
    """One page of one token's uses, filtered as the request asks."""
    query = view.read_query(TokenActivityQuery)
    filtered = view.narrowed(OneTokenUseFilter, queryset)
    return page_response(
        view.request,
        filtered,
        TokenUseSerializer,
        keyset=NEWEST_FIRST,
        cursor=query.get("cursor"),
        size=query["count"],
    )


class TokenUseLogViewSet(ApiViewSet):
    """The organization's authentication log."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(
            "Read the organization's authentication log",
            READ_LOGS,
            only_reads=True,
            role_allows=may_read_logs,
        )
    }
    serializer_class = TokenUseSerializer

    def get_queryset(self) -> Any:
        return TokenUse.objects.of_organization_of(self.person)

    @extend_schema(operation_id="logs_user_tokens", parameters=[TokenUseQuery])
    def list(self, request: Request) -> Response:
        """Every use of every token of the organization, refused uses included, newest first."""
        query = self.read_query(TokenUseQuery)
        filtered = self.narrowed(TokenUseFilter, self.get_queryset())
        return page_response(
            request,
            since_default(filtered, query),
            TokenUseSerializer,
            keyset=NEWEST_FIRST,
            cursor=query.get("cursor"),
            size=query["count"],
        )


class ActivityLogViewSet(ApiViewSet):
    """The organization's activity log."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation("Read the organization's activity log", READ_LOGS, only_reads=True, role_allows=may_read_logs)
    }
    serializer_class = ActivitySerializer

    def get_queryset(self) -> Any:
        return Activity.objects.of_organization_of(self.person)

    @extend_schema(operation_id="logs_user_actions", parameters=[ActivityQuery])
    def list(self, request: Request) -> Response:
        """What people did, and scripts in their name, newest first."""
        query = self.read_query(ActivityQuery)
        filtered = self.narrowed(ActivityFilter, self.get_queryset())
        return page_response(
            request,
            since_default(filtered, query),
            ActivitySerializer,
            keyset=NEWEST_FIRST,
            cursor=query.get("cursor"),
            size=query["count"],
        )
