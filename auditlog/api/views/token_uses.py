"""The API operations of the authentication log."""

from typing import Any, ClassVar

from django.utils.translation import gettext_lazy as _

from auditlog.api.serializers import TokenUseDetailSerializer, TokenUseSerializer
from auditlog.api.views.base import LogViewSet, OrganizationLogViewSet, described, may_read_logs
from auditlog.filters import OrganizationTokenUseFilter, TokenUseFilter
from auditlog.models import TokenUse
from core.api.operations import READ_API, READ_LOGS, Operation


@described("logs_user_tokens")
class TokenUseLogViewSet(OrganizationLogViewSet):
    """The organization's authentication log."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(
            _("Read the organization's authentication log"), READ_LOGS, only_reads=True, role_allows=may_read_logs
        ),
        "retrieve": Operation(
            _("See one use of a token in the organization"), READ_LOGS, only_reads=True, role_allows=may_read_logs
        ),
        "export": Operation(
            _("Export the organization's authentication log"), READ_LOGS, only_reads=True, role_allows=may_read_logs
        ),
    }
    serializer_class = TokenUseSerializer
    detail_serializer_class = TokenUseDetailSerializer
    filterset_class = OrganizationTokenUseFilter
    lookup_field = "request_id"

    def get_queryset(self) -> Any:
        return TokenUse.objects.readable_org_entries(self.person).with_services()


@described("me_authentication_log")
class MyTokenUseLogViewSet(LogViewSet):
    """A person's own authentication log."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("Read my authentication log"), READ_API, only_reads=True),
        "retrieve": Operation(_("See one use of my tokens"), READ_API, only_reads=True),
        "export": Operation(_("Export my authentication log"), READ_API, only_reads=True),
    }
    serializer_class = TokenUseSerializer
    detail_serializer_class = TokenUseDetailSerializer
    filterset_class = TokenUseFilter
    lookup_field = "request_id"

    def get_queryset(self) -> Any:
        return TokenUse.objects.of(self.person).with_services()
