"""The API operations of the activity log."""

from typing import Any, ClassVar

from django.utils.translation import gettext_lazy as _

from auditlog.api.serializers import ActivityDetailSerializer, ActivitySerializer
from auditlog.api.views.base import LogViewSet, OrganizationLogViewSet, described, may_read_logs
from auditlog.filters import ActivityFilter, OrganizationActivityFilter
from auditlog.models import Activity
from core.api.operations import READ_API, READ_LOGS, Operation


@described("logs_user_actions")
class ActivityLogViewSet(OrganizationLogViewSet):
    """The organization's activity log."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(
            _("Read the organization's activity log"), READ_LOGS, only_reads=True, role_allows=may_read_logs
        ),
        "retrieve": Operation(
            _("See one action in the organization"), READ_LOGS, only_reads=True, role_allows=may_read_logs
        ),
        "export": Operation(
            _("Export the organization's activity log"), READ_LOGS, only_reads=True, role_allows=may_read_logs
        ),
    }
    serializer_class = ActivitySerializer
    detail_serializer_class = ActivityDetailSerializer
    filterset_class = OrganizationActivityFilter
    lookup_field = "public_id"

    def get_queryset(self) -> Any:
        return Activity.objects.readable_org_entries(self.person)


@described("me_activity_log")
class MyActivityLogViewSet(LogViewSet):
    """A person's own activity log."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("Read my activity log"), READ_API, only_reads=True),
        "retrieve": Operation(_("See one of my actions"), READ_API, only_reads=True),
        "export": Operation(_("Export my activity log"), READ_API, only_reads=True),
    }
    serializer_class = ActivitySerializer
    detail_serializer_class = ActivityDetailSerializer
    filterset_class = ActivityFilter
    lookup_field = "public_id"

    def get_queryset(self) -> Any:
        return Activity.objects.of(self.person)
