"""Narrowing the two logs. Pages and API use the same filter sets, by the same names."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import django_filters
from django import forms
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Concat

from auditlog.actions_list import Action, ActionType
from auditlog.models import Activity, TokenUse
from opsera_portal.api import scopes


class DayFilter(django_filters.DateFilter):
    """A whole day, UTC. ``since`` takes what came on it or later, otherwise what came on it or before."""

    def __init__(self, *, since: bool, **kwargs: Any) -> None:
        self.since = since
        kwargs.setdefault("widget", forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
        kwargs.setdefault("input_formats", ["%Y-%m-%d"])
        super().__init__(**kwargs)

    def filter(self, qs: QuerySet[Any], value: date | None) -> QuerySet[Any]:
        if value is None:
            return qs
        start = datetime.combine(value, time(), UTC)
        if self.since:
            return qs.filter(at__gte=start)
        return qs.filter(at__lt=start + timedelta(days=1)) if value < date.max else qs


class AddressFilter(django_filters.Filter):
    field_class = forms.GenericIPAddressField


def _search_input() -> forms.TextInput:
    return forms.TextInput(attrs={"type": "search"})


class TokenUseFilter(django_filters.FilterSet):
    date = DayFilter(label="Since", since=True)
    date_to = DayFilter(label="Until", since=False)
    outcome = django_filters.ChoiceFilter(label="Outcome", choices=TokenUse.Outcome.choices, empty_label="Any outcome")
    reason = django_filters.ChoiceFilter(label="Reason", choices=TokenUse.Reason.choices, empty_label="Any reason")
    scope = django_filters.ChoiceFilter(
        label="Scope",
        choices=scopes.CHOICES,
        method="filter_scope",
        empty_label="Any scope",
    )
    token_id = django_filters.UUIDFilter(label="Token ID", field_name="token_id", widget=_search_input())
    ip = AddressFilter(label="Address", widget=_search_input())
    q = django_filters.CharFilter(label="Search", method="filter_text", max_length=100, widget=_search_input())

    def filter_scope(self, queryset: QuerySet[TokenUse], name: str, value: str) -> QuerySet[TokenUse]:
        padded = queryset.annotate(_padded=Concat(Value(" "), "scope", Value(" ")))
        return padded.filter(_padded__contains=f" {value} ")

    def filter_text(self, queryset: QuerySet[TokenUse], name: str, value: str) -> QuerySet[TokenUse]:
        return queryset.filter(
            Q(target__icontains=value)
            | Q(token_name__icontains=value)
            | Q(user_agent__icontains=value)
            | Q(owner_email__icontains=value)
        )


class OneTokenUseFilter(TokenUseFilter):
    """For the log of one token, all of whose entries have its id and its scopes."""

    scope = None
    token_id = None


class ActivityFilter(django_filters.FilterSet):
    date = DayFilter(label="Since", since=True)
    date_to = DayFilter(label="Until", since=False)
    type = django_filters.ChoiceFilter(label="Type", choices=ActionType.choices, empty_label="Any type")
    action = django_filters.ChoiceFilter(label="Action", choices=Action.choices, empty_label="Any action")
    user_email = django_filters.CharFilter(
        label="Who", field_name="actor_email", lookup_expr="icontains", max_length=254, widget=_search_input()
    )
    ip = AddressFilter(label="Address", widget=_search_input())
    q = django_filters.CharFilter(label="Search", method="filter_text", max_length=100, widget=_search_input())

    def filter_text(self, queryset: QuerySet[Activity], name: str, value: str) -> QuerySet[Activity]:
        return queryset.filter(
            Q(target_name__icontains=value) | Q(actor_email__icontains=value) | Q(token_name__icontains=value)
        )
