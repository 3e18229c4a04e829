"""The operation with which services report uses of tokens."""

import uuid
from dataclasses import asdict
from typing import ClassVar

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.response import Response

from core.api.operations import Operation
from core.api.parsers import LongListParser
from core.api.problems import Forbidden
from core.api.views import ApiViewSet
from core.rate_limits import Limit
from gateway.api.service_credentials import authenticated_service
from gateway.api.use_serializers import ReportedUsesBody, ReportedUsesSerializer
from gateway.models import Service
from gateway.reported_uses import ReportedUse, report_uses

# 10,000 uses a second.
BATCHES = Limit("reported-uses", amount=600, seconds=60, batch=10)


class ReportedUsesViewSet(ApiViewSet):
    """Takes the uses that a service has seen itself."""

    operations: ClassVar[dict[str, Operation]] = {
        "report": Operation(_("Report uses of a service's tokens"), is_for_services=True),
    }
    # `check_limits` checks the credentials of the service.
    authentication_classes = []
    parser_classes = [LongListParser]
    serializer_class = ReportedUsesSerializer
    queryset = Service.objects.none()
    service: Service | None = None

    def check_limits(self, request: Request) -> None:
        """Before the body is read. A service has a limit of its own, and all others have that of their address."""
        if request.method == "OPTIONS":
            super().check_limits(request)
            return
        self.service = authenticated_service(request._request, self.kwargs["pk"])
        wait = BATCHES.take(self.service.pk)
        if wait is not None:
            raise Throttled(wait)

    @extend_schema(operation_id="service_report_uses", request=ReportedUsesBody, responses=ReportedUsesSerializer)
    def report(self, request: Request, pk: uuid.UUID) -> Response:
        """A service that checks tokens itself, with a status list, reports how they were used. Each use appears in the
        log of the token's owner.

        The answer comes when the entries are stored. After an error or without an answer, send the same batch again:
        each id is stored once. If a time is impossible, nothing of the batch is stored."""
        if self.service is None or not self.service.uses_status_list:
            raise Forbidden("Only a service that checks tokens itself, with a status list, reports uses.")
        uses = [ReportedUse(**use) for use in self.read_body(ReportedUsesBody)["uses"]]
        return Response(asdict(report_uses(self.service, uses)))
