"""The base of every API view: how a row is found and how query parameters are read."""

from typing import TYPE_CHECKING, Any, ClassVar

from django.http import Http404
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer, Serializer
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from opsera_portal.api.operations import Operation
from opsera_portal.api.problems import Forbidden
from opsera_portal.request_context import person_of

if TYPE_CHECKING:
    from accounts.models import User

# Without OPTIONS: nothing here answers another origin's browser, and the schema describes the operations.
METHODS = ["get", "post", "put", "patch", "delete", "head"]


class ApiViewSet(GenericViewSet[Any]):
    """A view of the API. ``operations`` says, for each action, what opens it; ``queryset`` who sees which rows.

    A row outside of the queryset and a row that does not exist are one and the same 403.
    """

    operations: ClassVar[dict[str, Operation]]
    http_method_names = METHODS
    pagination_class = None

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
        return read(query_class, self.request.query_params.dict())

    def read_body(self, body_class: type[Serializer[Any]]) -> dict[str, Any]:
        return read(body_class, self.request.data)


def read(serializer_class: type[Serializer[Any]], data: Any) -> dict[str, Any]:
    serializer: BaseSerializer[Any] = serializer_class(data=data)
    serializer.is_valid(raise_exception=True)
    validated: dict[str, Any] = serializer.validated_data
    return validated


class UnknownRouteView(APIView):
    """What answers under the API's address where no operation is.

    It authenticates like any other view, so that a token's use of a wrong address stands in its log as well.
    """

    http_method_names = METHODS
    permission_classes = []
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound("There is no such operation. The API reference lists them.")

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        raise NotFound
