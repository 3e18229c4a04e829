"""Narrowing lists of tokens. The page and the API use the same filter set."""

from typing import Any

import django_filters
from django import forms
from django.db.models import Q

from opsera_portal.api import scopes
from tokens.querysets import TokenQuerySet
from tokens.states import CHOICES as STATE_CHOICES
from tokens.states import TokenState


class TokenFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(
        label="Name",
        max_length=100,
        field_name="name",
        lookup_expr="icontains",
        widget=forms.TextInput(attrs={"type": "search"}),
    )
    state = django_filters.ChoiceFilter(
        label="State", choices=STATE_CHOICES, method="filter_state", empty_label="Any state"
    )
    scope = django_filters.ChoiceFilter(
        label="Scope",
        choices=scopes.CHOICES,
        method="filter_scope",
        empty_label="Any scope",
    )

    def filter_state(self, queryset: TokenQuerySet, name: str, value: str) -> TokenQuerySet:
        if value == TokenState.REVOKED.id:
            return queryset.revoked()
        if value == TokenState.EXPIRED.id:
            return queryset.expired()
        live = queryset.live()
        if value == TokenState.OWNER_DEACTIVATED.id:
            return live.filter(owner__is_active=False)
        live = live.filter(owner__is_active=True)
        if value == TokenState.PENDING.id:
            return live.pending()
        shown = live.filter(revealed_at__isnull=False)
        if value == TokenState.BLOCKED_BY_POLICY.id:
            return shown.exclude(pk__in=shown.within_policy().values("pk"))
        return shown.within_policy()

    def filter_scope(self, queryset: TokenQuerySet, name: str, value: str) -> TokenQuerySet:
        return queryset.with_scope(value)


class OrganizationTokenFilter(TokenFilter):
    owner = django_filters.CharFilter(
        label="Owner", max_length=254, method="filter_owner", widget=forms.TextInput(attrs={"type": "search"})
    )

    def filter_owner(self, queryset: TokenQuerySet, name: str, value: str) -> Any:
        return queryset.filter(Q(owner__email__icontains=value) | Q(owner__name__icontains=value))
