"""How lists of the API are filtered, with the filter sets of the pages."""

from typing import Any

from django import forms
from django.db.models import QuerySet
from django_filters import Filter
from rest_framework.exceptions import ValidationError
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request

from core.filters import (
    AddressField,
    IdField,
    IdOrWordField,
    MomentField,
    RowField,
    SearchFilter,
    StrictFilterSet,
)


class StrictFilterBackend(BaseFilterBackend):
    """Narrows a list by the view's ``filterset_class``. A value that the filter can't read is a 400: without the
    filter, the answer would have rows that the client did not ask for."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        filterset_class: type[StrictFilterSet] | None = view.filterset_class
        if filterset_class is None:
            return queryset
        filterset = filterset_class(request.query_params, queryset, request=request)
        if errors := filterset.strict_errors:
            raise ValidationError(errors)
        rows: QuerySet[Any] = filterset.qs
        return rows

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        filterset_class: type[StrictFilterSet] | None = view.filterset_class
        if filterset_class is None:
            return []
        return [
            _parameter(name, filter_, filterset_class.description_of(name))
            for name, filter_ in filterset_class.base_filters.items()
        ]


def _parameter(name: str, filter_: Filter, description: str) -> dict[str, Any]:
    parameter = {"in": "query", "name": name, "schema": _schema(filter_)}
    return {**parameter, "description": description} if description else parameter


_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
# There is no standard format for a network. IPv6 can be written in more ways than this one.
ADDRESS_OR_NETWORK = [
    {"format": "ipv4"},
    {"format": "ipv6"},
    {"pattern": rf"^({_BYTE}\.){{3}}{_BYTE}/(3[0-2]|[12]?[0-9])$"},
    {"pattern": r"^([0-9a-f]{1,4}:){1,7}:/(12[0-8]|1[01][0-9]|[1-9]?[0-9])$"},
]


def _schema(filter_: Filter) -> dict[str, Any]:
    """The values of a filter in JSON Schema."""
    field_class = filter_.field_class
    if issubclass(field_class, IdOrWordField):
        return {"type": "string", "anyOf": [{"format": "uuid"}, {"enum": [filter_.extra["word"]]}]}
    if issubclass(field_class, IdField | RowField):
        return {"type": "string", "format": "uuid"}
    if issubclass(field_class, forms.DateField):
        return {"type": "string", "format": "date"}
    if issubclass(field_class, MomentField):
        return {"type": "string", "format": "date-time"}
    if issubclass(field_class, AddressField):
        return {"type": "string", "anyOf": ADDRESS_OR_NETWORK, "minLength": 1}
    schema: dict[str, Any] = {"type": "string"}
    if issubclass(field_class, forms.ChoiceField):
        schema["enum"] = [str(value) for value, _ in filter_.extra["choices"]]
    if "max_length" in filter_.extra:
        schema["maxLength"] = filter_.extra["max_length"]
    return schema if isinstance(filter_, SearchFilter) else {**schema, "minLength": 1}
