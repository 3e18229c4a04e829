"""The base of every API view: how a row is found and how query parameters are read."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve
from django.utils.encoding import escape_uri_path, iri_to_uri
from django_filters import FilterSet
from rest_framework.exceptions import NotFound, ParseError, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer, Serializer
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from core.api import idempotency, throttling
from core.api.operations import Operation
from core.api.problems import CONTENT_TYPE, Forbidden, SchemeUnknown, problem_body
from core.api.serializers import StrictSerializer
from core.http.public_address import scheme_is_unknown
from core.http.request_context import person_of, use_of

if TYPE_CHECKING:
    from accounts.models import User

METHODS = ["get", "post", "put", "patch", "delete", "head", "options"]


class NoQuery(StrictSerializer):
    """Of an operation that has no query parameters: any is unknown."""


class AuthenticatedFirst(APIView):
    """Looks at the token before anything else can refuse the request: each use of a genuine token is logged."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        self.perform_authentication(request)
        if settings.SECURE_SSL_REDIRECT and not request.is_secure():
            if scheme_is_unknown(request._request):
                raise SchemeUnknown
            # A redirect would hide from the caller that the token has crossed the network in clear.
            raise Forbidden("Use https. What was sent in clear must be taken for lost: expire the token.")
        self.check_limits(request)
        if request.method != "OPTIONS":
            super().initial(request, *args, **kwargs)

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """204 with ``Allow``, for anyone: the schema says the same. It looks at no object, so it reveals none."""
        return Response(status=204)

    def check_limits(self, request: Request) -> None:
        """Counts the request. Raises ``Throttled``."""
        throttling.check(request)


class ApiViewSet(AuthenticatedFirst, GenericViewSet[Any]):
    """A view of the API. ``operations`` says, for each action, what opens it; ``queryset`` who sees which rows.

    A row outside of the queryset and a row that does not exist are one and the same 403.
    ``actions_with_query`` read query parameters, by ``read_query``; to all others any parameter is a mistake.
    """

    operations: ClassVar[dict[str, Operation]]
    actions_with_query: ClassVar[frozenset[str]] = frozenset({"list"})
    http_method_names = METHODS
    pagination_class = None
    # Of a request that brings an `Idempotency-Key`.
    _claim: idempotency.Claim | None = None
    _own_change: ExitStack
    _has_own_change = False

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method == "OPTIONS":
            return
        if "HTTP_TRANSFER_ENCODING" in request.META and "CONTENT_LENGTH" not in request.META:
            # WSGI has no body of unknown length: it would be taken for an empty one.
            raise ParseError("Send the body with its Content-Length, not in chunks.")
        if request.query_params and self.action not in self.actions_with_query:
            self.read_query(NoQuery)
        operation = self.operations.get(self.action)
        if operation is None or operation.only_reads:
            return
        key = idempotency.key_of(request) if idempotency.takes_key(request.method or "", operation) else None
        if request.auth is not None:
            request.data  # noqa: B018  (the body is here, and can be read, before anything waits for this request)
            use_of(request._request).begin_change()
        if key is not None:
            self._claim_key(request, key, operation)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if "HTTP_IDEMPOTENCY_KEY" not in request.META:
            return super().dispatch(request, *args, **kwargs)
        with ExitStack() as self._own_change:
            response = super().dispatch(request, *args, **kwargs)
            if self._has_own_change and response.status_code >= 400:
                transaction.set_rollback(True)
        return response

    def _claim_key(self, request: Request, key: str, operation: Operation) -> None:
        if request.auth is None:
            # Of a session nothing else binds the change and what is kept of its answer.
            request.data  # noqa: B018
            self._own_change.enter_context(transaction.atomic())
            self._has_own_change = True
        self._claim = idempotency.claim(request, self.person.pk, key, operation)

    def handle_exception(self, exc: Exception) -> Response:
        return exc.response if isinstance(exc, idempotency.Replay) else super().handle_exception(exc)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if self._claim is not None and response.status_code < 400:
            self._claim.keep(response)
        return response

    @property
    def person(self) -> "User":
        return person_of(self.request)

    def get_object(self) -> Any:
        try:
            return super().get_object()
        except Http404:
            raise Forbidden from None

    def read_query(self, query_class: type[Serializer[Any]]) -> dict[str, Any]:
        """The query parameters, checked; an unknown or repeated one is a 400 like an unknown field."""
        repeated = [name for name, values in self.request.query_params.lists() if len(values) > 1]
        if repeated:
            raise ValidationError({name: ["This parameter stands here twice."] for name in repeated})
        return read(query_class, self.request.query_params.dict())

    def narrowed(self, filter_class: Callable[..., FilterSet], queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows that the page would show for the same parameters. What the filter cannot read is a 400: left out,
        it would show rows that were not asked for."""
        filtered = filter_class(self.request.query_params, queryset)
        if not filtered.is_valid():
            raise ValidationError({name: list(messages) for name, messages in filtered.errors.items()})
        rows: QuerySet[Any] = filtered.qs
        return rows

    def read_body(self, body_class: type[Serializer[Any]]) -> dict[str, Any]:
        return read(body_class, self.request.data)


def read(serializer_class: type[Serializer[Any]], data: Any) -> dict[str, Any]:
    serializer: BaseSerializer[Any] = serializer_class(data=data)
    serializer.is_valid(raise_exception=True)
    validated: dict[str, Any] = serializer.validated_data
    return validated


class UnknownRouteView(AuthenticatedFirst):
    """What answers under the API's address where no operation is.

    It authenticates like any other view, so that a token's use of a wrong address stands in its log as well.
    """

    http_method_names = METHODS
    permission_classes = []
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if not _leads_to_operation(request.path_info.rstrip("/")):
            raise NotFound("There is no such operation. The API reference lists them.")

    def redirect(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Of an address with a slash too many. 308 keeps method and body; clients that don't follow it are told."""
        address = escape_uri_path(request.path.rstrip("/"))
        query = request.META.get("QUERY_STRING")
        return Response(
            problem_body(request._request, 308, detail=f"Addresses of the API don't end with a slash. Use {address}"),
            status=308,
            headers={"Location": f"{address}?{iri_to_uri(query)}" if query else address},
            content_type=CONTENT_TYPE,
        )

    get = post = put = patch = delete = options = redirect


def _leads_to_operation(path: str) -> bool:
    try:
        view = getattr(resolve(path).func, "cls", None)
    except Resolver404:
        return False
    return isinstance(view, type) and issubclass(view, ApiViewSet)
