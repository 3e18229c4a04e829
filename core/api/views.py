"""The base of every API view: how a request begins, how query parameters are checked, and how a row is found."""

from functools import lru_cache
from typing import Any, ClassVar

from django.conf import settings
from django.db.models import QuerySet
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve
from django.utils.encoding import escape_uri_path, iri_to_uri
from rest_framework.exceptions import NotFound, ParseError, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer, Serializer
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from core.api import idempotency, throttling
from core.api.changes import begin_change, change_of
from core.api.filtering import StrictFilterBackend
from core.api.operations import Operation
from core.api.paging import WholeList
from core.api.problems import Forbidden, SchemeUnknown, content_type_for, error_body
from core.api.serializers import unknown_fields
from core.db.keyset import Keyset
from core.filters import StrictFilterSet
from core.http.public_address import scheme_is_unknown
from core.http.request_context import carries_token, person_of, without_tokens
from core.types import User

REPEATED = "This parameter is given twice."
METHODS = ["get", "post", "put", "patch", "delete", "head", "options"]


@lru_cache
def _instances_of(classes: tuple[type[Any], ...]) -> list[Any]:
    return [made() for made in classes]


class AuthenticatedFirst(APIView):
    """Checks the token before anything else can refuse the request, so that each use of a genuine token is logged."""

    # DRF creates these for each request. Ours keep no state.
    def get_authenticators(self) -> list[Any]:
        return _instances_of(tuple(self.authentication_classes))

    def get_parsers(self) -> list[Any]:
        return _instances_of(tuple(self.parser_classes))

    def get_renderers(self) -> list[Any]:
        return _instances_of(tuple(self.renderer_classes))

    def get_permissions(self) -> list[Any]:
        return _instances_of(tuple(self.permission_classes))

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        self.perform_authentication(request)
        if settings.SECURE_SSL_REDIRECT and not request.is_secure():
            if scheme_is_unknown(request._request):
                raise SchemeUnknown
            # A redirect would hide that the token was sent over the network without encryption.
            raise Forbidden("Use https. This token was sent without encryption, so others may have read it: expire it.")
        self.check_limits(request)
        if request.method != "OPTIONS":
            super().initial(request, *args, **kwargs)

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """204 with ``Allow``, for everyone. It reveals nothing that the schema does not say."""
        return Response(status=204)

    @property
    def default_response_headers(self) -> dict[str, str]:
        """``Allow`` only where it says something: for OPTIONS, and for methods that are not allowed."""
        if self.request.method != "OPTIONS" and self.answers(self.request.method or ""):
            return {}
        return {"Allow": ", ".join(self.allowed_methods)}

    def answers(self, method: str) -> bool:
        """Whether this is one of ``allowed_methods``, without making a list of them."""
        name = method.lower()
        return name in self.http_method_names and hasattr(self, name)

    def check_limits(self, request: Request) -> None:
        """Counts the request. Raises ``Throttled``."""
        throttling.check(request)


class ApiViewSet(AuthenticatedFirst, GenericViewSet[Any]):
    """A view of the API. ``operations`` says who can use each action, and the queryset which rows a person sees.

    A row outside of the queryset gets the same 403 as a row that does not exist.

    Query parameters that an action doesn't know are refused. ``filtered_actions`` know those of ``filterset_class``,
    ``paged_actions`` those of ``pagination_class``, and ``queries`` has serializers of further ones, by action.
    """

    operations: ClassVar[dict[str, Operation]]
    filtered_actions: ClassVar[frozenset[str]] = frozenset({"list"})
    paged_actions: ClassVar[frozenset[str]] = frozenset({"list"})
    queries: ClassVar[dict[str, type[Serializer[Any]]]] = {}
    http_method_names = METHODS
    filter_backends = [StrictFilterBackend]
    filterset_class: type[StrictFilterSet] | None = None
    pagination_class: type[WholeList] | None = None
    keyset: ClassVar[Keyset]
    # Only for a request with an `Idempotency-Key`.
    _claim: idempotency.Claim | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method == "OPTIONS":
            return
        meta = request.META
        if "HTTP_TRANSFER_ENCODING" in meta and "CONTENT_LENGTH" not in meta:
            # WSGI would treat a body of unknown length as empty.
            raise ParseError("Send the body with its Content-Length, not in chunks.")
        if meta.get("QUERY_STRING"):
            self._check_query(request)
        operation = self.operations.get(self.action)
        if operation is None or operation.only_reads:
            return
        key = idempotency.key_of(request) if idempotency.takes_key(request.method or "", operation) else None
        if request.auth is not None or key is not None:
            request.data  # noqa: B018  (reads the body before the transaction makes others wait)
            begin_change(request._request)
        if key is not None:
            self._claim = idempotency.claim(request, self.person.pk, key, operation)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if carries_token(request) or "HTTP_IDEMPOTENCY_KEY" not in request.META:
            return super().dispatch(request, *args, **kwargs)
        # In a browser session: the change is committed together with the answer that is kept for its key.
        with change_of(request) as change:
            response = super().dispatch(request, *args, **kwargs)
            change.end(keep=response.status_code < 400)
        return response

    def handle_exception(self, exc: Exception) -> Response:
        return exc.response if isinstance(exc, idempotency.Replay) else super().handle_exception(exc)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if self._claim is not None and response.status_code < 400:
            self._claim.keep(response)
        return response

    @property
    def person(self) -> User:
        return person_of(self.request)

    def get_object(self) -> Any:
        try:
            return super().get_object()
        except Http404:
            raise Forbidden from None

    def _check_query(self, request: Request) -> None:
        """Raises ``ValidationError`` for parameters that are unknown or repeated."""
        known: set[str] = set(self.queries[self.action]().fields) if self.action in self.queries else set()
        if self.action in self.filtered_actions and self.filterset_class is not None:
            known |= self.filterset_class.base_filters.keys()
        if self.action in self.paged_actions and self.pagination_class is not None:
            known |= self.pagination_class().query_names
        repeated = [name for name, values in request.query_params.lists() if len(values) > 1]
        unknown = request.query_params.keys() - known
        if repeated or unknown:
            raise ValidationError({without_tokens(name): [REPEATED] for name in repeated} | unknown_fields(unknown))

    def read_query(self) -> dict[str, Any]:
        """The action's parameters of ``queries``."""
        query_class = self.queries[self.action]
        names = query_class().fields.keys() & self.request.query_params.keys()
        return read(query_class, {name: self.request.query_params[name] for name in names})

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """DRF calls this also for the row of an address, to which no filters apply."""
        return queryset

    def narrowed(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows that the page shows for the same parameters. Raises ``ValidationError``."""
        return super().filter_queryset(queryset)

    def get_searched(self) -> QuerySet[Any] | None:
        """The list that the filters search, where no index serves them (``Keyset.page``)."""
        return None

    def page_of(self, rows: Any, serializer_class: type[BaseSerializer[Any]] | None = None, **context: Any) -> Response:
        """The answer of a list: filtered, one page of it. ``context`` is for the serializer."""
        page = self.paginate_queryset(self.narrowed(rows))
        serializer = (serializer_class or self.get_serializer_class())(
            page, many=True, context={**self.get_serializer_context(), **context}
        )
        return self.get_paginated_response(serializer.data)

    def read_body(self, body_class: type[Serializer[Any]]) -> dict[str, Any]:
        return read(body_class, self.request.data)


def read(serializer_class: type[Serializer[Any]], data: Any) -> dict[str, Any]:
    serializer: BaseSerializer[Any] = serializer_class(data=data)
    serializer.is_valid(raise_exception=True)
    validated: dict[str, Any] = serializer.validated_data
    return validated


class UnknownRouteView(AuthenticatedFirst):
    """Answers addresses below the API's that are not an operation.

    It authenticates like any other view, so that a token's use of a wrong address is logged, too.
    """

    http_method_names = METHODS
    permission_classes = []
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if not _leads_to_operation(request.path_info.rstrip("/")):
            raise NotFound("This operation does not exist. The API reference lists all of them.")

    def redirect(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Redirects an address that ends with a slash. With 308, clients keep method and body."""
        address = escape_uri_path(request.path.rstrip("/"))
        query = request.META.get("QUERY_STRING")
        return Response(
            error_body(request._request, 308, f"Addresses of the API don't end with a slash. Use {address}"),
            status=308,
            headers={"Location": f"{address}?{iri_to_uri(query)}" if query else address},
            content_type=content_type_for(request._request),
        )

    get = post = put = patch = delete = options = redirect


def _leads_to_operation(path: str) -> bool:
    try:
        view = getattr(resolve(path).func, "cls", None)
    except Resolver404:
        return False
    return isinstance(view, type) and issubclass(view, ApiViewSet)
