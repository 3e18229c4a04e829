"""API operations for found tokens."""

from typing import ClassVar

from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.serializers import TokenUseSerializer
from core.api.changes import begin_change
from core.api.operations import READ_API, Operation
from core.api.serializers import represent
from core.api.views import ApiViewSet
from tokens.api.serializers import (
    OrganizationTokenSerializer,
    TokenLookupBody,
    TokenLookupSerializer,
    TokenReportBody,
    TokenReportSerializer,
)
from tokens.leaks import finding, reporting
from tokens.models import Token


class TokenLookupViewSet(ApiViewSet):
    """Looks up a found token. POST, because a token must not be in a URL; it changes nothing."""

    operations: ClassVar[dict[str, Operation]] = {
        "look_up": Operation(_("Look up a found token"), READ_API, only_reads=True),
    }
    serializer_class = TokenLookupSerializer
    queryset = Token.objects.none()

    def check_throttles(self, request: Request) -> None:
        super().check_throttles(request)
        wait = finding.LOOK_UPS.take(str(self.person.pk))
        if wait is not None:
            raise Throttled(wait)

    @extend_schema(operation_id="token_lookup", request=TokenLookupBody, responses=TokenLookupSerializer)
    @method_decorator(sensitive_variables())
    def look_up(self, request: Request) -> Response:
        """The metadata and the last uses of a found token, if it is yours. Administrators and Security Managers can
        look up every token of their organization. The answer for all other tokens is the same, genuine or not."""
        body = self.read_body(TokenLookupBody)
        token = finding.look_up_token(actor=self.person, pasted=body["token"], request=request._request)
        uses = finding.last_uses(token, reader=self.person)
        return Response(
            represent(OrganizationTokenSerializer, token) | {"last_uses": TokenUseSerializer(uses, many=True).data}
        )


class TokenReportViewSet(ApiViewSet):
    """Expires reported tokens. No account is needed: anyone who has a token may end it."""

    operations: ClassVar[dict[str, Operation]] = {
        "report": Operation(_("Report found tokens"), is_public=True),
    }
    # Credentials are ignored. So a signed-in browser needs no CSRF token, and a client may send a token that has ended.
    # The use of a genuine token is logged.
    authentication_classes = []
    serializer_class = TokenReportSerializer
    queryset = Token.objects.none()

    def check_limits(self, request: Request) -> None:
        reporting.check_limit(request._request)

    @extend_schema(operation_id="token_report", request=TokenReportBody, responses={202: TokenReportSerializer})
    @method_decorator(sensitive_variables())
    def report(self, request: Request) -> Response:
        """Permanently expires every token of this installation among the found ones, and tells its owner. The answer is
        always the same, so that it reveals nothing about them."""
        body = self.read_body(TokenReportBody)
        token_ids = finding.genuine_token_ids(body["tokens"])
        if token_ids and "HTTP_AUTHORIZATION" in request.META:
            # The use of the sent token is logged, and the change must be committed together with that entry.
            begin_change(request._request)
        reporting.report_tokens(token_ids=token_ids, url=body.get("url", ""), request=request._request)
        return Response({"status": "received"}, status=202)
