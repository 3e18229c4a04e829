"""The API's doors for tokens that were found where they should not be."""

from typing import ClassVar

from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_variables
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.serializers import TokenUseSerializer
from core.api.changes import begin_change
from core.api.operations import READ_API, Operation
from core.api.serializers import represent
from core.api.throttling import neighborhood
from core.api.views import ApiViewSet
from core.rate_limits import Limit
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
    """What a found token is. POST, since what is asked about must stand in no address; it changes nothing."""

    operations: ClassVar[dict[str, Operation]] = {
        "look_up": Operation("Look up a found token", READ_API, only_reads=True),
    }
    serializer_class = TokenLookupSerializer
    queryset = Token.objects.none()

    def check_throttles(self, request: Request) -> None:
        super().check_throttles(request)
        _take(finding.LOOK_UPS, str(self.person.pk))

    @extend_schema(operation_id="token_lookup", request=TokenLookupBody, responses=TokenLookupSerializer)
    @method_decorator(sensitive_variables())
    def look_up(self, request: Request) -> Response:
        """The metadata and the last uses of a token that was found: one's own, or anyone's in the organization for
        Administrators and Security Managers. Every other token is refused alike, whether or not it is genuine."""
        body = self.read_body(TokenLookupBody)
        token = finding.look_up_token(actor=self.person, pasted=body["token"], request=request._request)
        uses = finding.last_uses(token, reader=self.person)
        return Response(
            represent(OrganizationTokenSerializer, token) | {"last_uses": TokenUseSerializer(uses, many=True).data}
        )


class TokenReportViewSet(ApiViewSet):
    """Whoever presents a token ends it. Open to everyone: the tokens themselves are all the right it takes."""

    operations: ClassVar[dict[str, Operation]] = {
        "report": Operation("Report found tokens", is_public=True),
    }
    # Credentials are not asked for and open nothing here: a browser that is signed in needs no CSRF token, and one's
    # own ended token stands in nobody's way. The use of a genuine token is logged all the same.
    authentication_classes = []
    serializer_class = TokenReportSerializer
    queryset = Token.objects.none()

    def check_limits(self, request: Request) -> None:
        """By a limit of its own: what an address has used up otherwise must not keep a leaked token alive."""
        _take(reporting.REPORTS, neighborhood(request._request))

    @extend_schema(operation_id="token_report", request=TokenReportBody, responses={202: TokenReportSerializer})
    @method_decorator(sensitive_variables())
    def report(self, request: Request) -> Response:
        """Ends each token of this installation among those that were found, at once and for good, and tells its owner.
        The answer is always the same, so that it tells nothing about them."""
        body = self.read_body(TokenReportBody)
        token_ids = finding.genuine_token_ids(body["tokens"])
        if token_ids and "HTTP_AUTHORIZATION" in request.META:
            # Whoever sends a token along has its use logged: the change is committed with that entry or not at all.
            begin_change(request._request)
        reporting.report_tokens(token_ids=token_ids, url=body.get("url", ""), request=request._request)
        return Response({"status": "received"}, status=202)


def _take(limit: Limit, key: str) -> None:
    wait = limit.take(key)
    if wait is not None:
        raise Throttled(wait)
