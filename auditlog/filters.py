"""Narrowing the two logs. Pages, exports and API use the same filter sets, by the same names."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, ClassVar
from uuid import UUID

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import validate_email, validate_ipv46_address
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Concat

from auditlog.actions_list import Action, ActionType
from auditlog.models import TokenUse
from auditlog.querysets import TokenUseQuerySet
from core import ids
from core.api import scopes

AFTER_END = [("true", "Only uses after it")]


class DayFilter(django_filters.DateFilter):
    """A whole day, UTC. ``since`` takes what came on it or later, otherwise what came on it or before.

    ``of`` is the field that says when it came.
    """

    def __init__(self, *, since: bool, of: str = "at", **kwargs: Any) -> None:
        self.since = since
        self.of = of
        kwargs.setdefault("widget", forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
        kwargs.setdefault("input_formats", ["%Y-%m-%d"])
        super().__init__(**kwargs)

    def filter(self, qs: QuerySet[Any], value: date | None) -> QuerySet[Any]:
        if value is None:
            return qs
        start = datetime.combine(value, time(), UTC)
        if self.since:
            return qs.filter(**{f"{self.of}__gte": start})
        return qs.filter(**{f"{self.of}__lt": start + timedelta(days=1)}) if value < date.max else qs


class IdField(forms.CharField):
    """An id in the one form that the API takes (core/ids.py)."""

    default_error_messages: ClassVar = {"invalid": forms.UUIDField.default_error_messages["invalid"]}

    def to_python(self, value: Any) -> UUID | None:  # type: ignore[override]
        text = super().to_python(value)
        if not text:
            return None
        try:
            return ids.read(text)
        except ValueError:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None


class IdFilter(django_filters.Filter):
    field_class = IdField


class AddressFilter(django_filters.Filter):
    field_class = forms.GenericIPAddressField


def _search_input() -> forms.TextInput:
    return forms.TextInput(attrs={"type": "search"})


class PersonFilter(django_filters.CharFilter):
    """Part of an e-mail address. A complete one finds its person alone, and nobody whose address ends with it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": 254, "widget": _search_input(), **kwargs})

    def filter(self, qs: QuerySet[Any], value: str) -> QuerySet[Any]:
        if not value:
            return qs
        try:
            validate_email(value)
        except ValidationError:
            return qs.filter(**{f"{self.field_name}__icontains": value})
        return qs.filter(**{f"{self.field_name}__iexact": value})


class LogFilterForm(forms.Form):
    def clean(self) -> dict[str, Any]:
        since, until = self.cleaned_data.get("date"), self.cleaned_data.get("date_to")
        if since and until and until < since:
            self.add_error("date_to", "This day is before the one since which entries are shown.")
        return self.cleaned_data


class LogFilter(django_filters.FilterSet):
    """What both logs are narrowed by.

    ``indexed`` names the filters that an index serves, whoever's log it is. All others are a search: whoever walks
    the list bounds how much of it is looked through (`core/db/keyset.py`).
    """

    indexed: ClassVar[frozenset[str]] = frozenset({"date", "date_to", "request_id"})
    searched_texts: ClassVar[tuple[str, ...]]
    searched_ids: ClassVar[tuple[str, ...]]

    q = django_filters.CharFilter(label="Search", method="filter_text", max_length=100, widget=_search_input())
    date = DayFilter(label="Since", since=True)
    date_to = DayFilter(label="Until", since=False)

    class Meta:
        form = LogFilterForm

    @classmethod
    def searched(cls, data: Mapping[str, Any], queryset: QuerySet[Any]) -> QuerySet[Any] | None:
        """The list that these filters search, which is the one that an index serves; ``None`` if they search none."""
        if not any(data.get(name) for name in cls.base_filters.keys() - cls.indexed):
            return None
        rows: QuerySet[Any] = cls({name: data[name] for name in cls.indexed & data.keys()}, queryset).qs
        return rows

    def filter_text(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Part of a text; or a whole id or address, as it was copied from somewhere."""
        found = Q()
        for field in self.searched_texts:
            found |= Q(**{f"{field}__icontains": value})
        with suppress(ValueError):
            pasted = UUID(value.strip())
            for field in self.searched_ids:
                found |= Q(**{field: pasted})
        with suppress(ValidationError):
            validate_ipv46_address(value.strip())
            found |= Q(ip=value.strip())
        return queryset.filter(found)


class TokenUseFilter(LogFilter):
    """A person's own authentication log."""

    indexed = LogFilter.indexed | {"token_id"}
    searched_texts = ("target", "token_name", "user_agent", "owner_email")
    searched_ids = ("request_id", "token_id")

    outcome = django_filters.ChoiceFilter(label="Outcome", choices=TokenUse.Outcome.choices, empty_label="Any outcome")
    reason = django_filters.ChoiceFilter(label="Reason", choices=TokenUse.Reason.choices, empty_label="Any reason")
    after_end = django_filters.ChoiceFilter(
        label="Token's end",
        choices=AFTER_END,
        method="filter_after_end",
        empty_label="Before and after",
    )
    scope = django_filters.ChoiceFilter(
        label="Scope",
        choices=scopes.CHOICES,
        method="filter_scope",
        empty_label="Any scope",
    )
    token_id = IdFilter(label="Token", field_name="token_id", widget=_search_input())
    ip = AddressFilter(label="Address", widget=_search_input())
    request_id = IdFilter(label="Request ID", widget=_search_input())

    def filter_after_end(self, queryset: TokenUseQuerySet, name: str, value: str) -> TokenUseQuerySet:
        return queryset.of_ended_tokens()

    def filter_scope(self, queryset: QuerySet[TokenUse], name: str, value: str) -> QuerySet[TokenUse]:
        padded = queryset.annotate(_padded=Concat(Value(" "), "scope", Value(" ")))
        return padded.filter(_padded__contains=f" {value} ")


class OrganizationTokenUseFilter(TokenUseFilter):
    user_email = PersonFilter(label="Owner", field_name="owner_email")


class OneTokenUseFilter(TokenUseFilter):
    """For the log of one token, all of whose entries have its id and its scopes."""

    scope = None
    token_id = None  # type: ignore[assignment]


class ActivityFilter(LogFilter):
    """A person's own activity log."""

    searched_texts = ("target_name", "actor_email", "token_name")
    searched_ids = ("public_id", "request_id", "token_id", "target_id")

    type = django_filters.ChoiceFilter(label="Type", choices=ActionType.choices, empty_label="Any type")
    action = django_filters.ChoiceFilter(label="Action", choices=Action.choices, empty_label="Any action")
    token_id = IdFilter(label="Token", field_name="token_id", widget=_search_input())
    ip = AddressFilter(label="Address", widget=_search_input())
    request_id = IdFilter(label="Request ID", widget=_search_input())


class OrganizationActivityFilter(ActivityFilter):
    user_email = PersonFilter(label="Who", field_name="actor_email")
