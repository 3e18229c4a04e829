"""Narrowing the organization's people and groups. Pages and API use the same filter sets, by the same names."""

from typing import Any

import django_filters
from django import forms
from django.db.models import Q, QuerySet

from accounts.models import Group, User, UserState
from accounts.querysets import UserQuerySet
from accounts.roles import SiteRole


def _search_input() -> forms.TextInput:
    return forms.TextInput(attrs={"type": "search"})


class UserFilter(django_filters.FilterSet):
    """``of``: the person who looks, whose organization's groups are offered."""

    q = django_filters.CharFilter(label="Name or e-mail", method="filter_text", max_length=100, widget=_search_input())
    site_role = django_filters.ChoiceFilter(label="Site role", choices=SiteRole.choices, empty_label="Any role")
    state = django_filters.ChoiceFilter(
        label="State", choices=UserState.choices, method="filter_state", empty_label="Any state"
    )
    group = django_filters.ModelChoiceFilter(
        label="Group", field_name="member_groups", queryset=Group.objects.none(), empty_label="Any group"
    )

    def __init__(self, *args: Any, of: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.filters["group"].queryset = Group.objects.readable_by(of)

    def filter_text(self, queryset: QuerySet[User], name: str, value: str) -> QuerySet[User]:
        return queryset.filter(Q(name__icontains=value) | Q(email__icontains=value))

    def filter_state(self, queryset: UserQuerySet, name: str, value: str) -> UserQuerySet:
        if value == UserState.DEACTIVATED:
            return queryset.deactivated()
        invited = queryset.invited()
        return invited if value == UserState.INVITED else queryset.active().exclude(pk__in=invited.values("pk"))


class GroupFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(
        label="Name", field_name="name", lookup_expr="icontains", max_length=100, widget=_search_input()
    )
