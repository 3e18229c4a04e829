"""Filters of the list of requests."""

from typing import Any, ClassVar

from django.db.models import Q
from django.utils.translation import gettext_lazy

from accounts.models import User
from core.filters import ChoiceFilter, SearchFilter, StrictFilterSet, TextFilter, is_address
from core.pages.widgets import PickerInput
from tokens.approval.models import RequestState
from tokens.approval.querysets import ApprovalRequestQuerySet


class ApprovalFilter(StrictFilterSet):
    api_help: ClassVar = {
        "q": "Part of the token's name, or of the reason.",
        "state": "`lapsed`: nobody decided in time. `ended`: the token expired early before anybody decided.",
        "asked_by": "Part of the name or e-mail of the person who asked. A complete address finds only that person.",
    }

    q = SearchFilter(label=gettext_lazy("Token or reason"), method="filter_text")
    state = ChoiceFilter(
        label=gettext_lazy("State"),
        choices=RequestState.choices,
        method="filter_state",
        empty_label=gettext_lazy("Any state"),
    )
    asked_by = TextFilter(
        label=gettext_lazy("Requested by"),
        max_length=254,
        method="filter_person",
        widget=PickerInput("accounts:suggested_addresses"),
    )

    def filter_text(self, queryset: Any, name: str, value: str) -> Any:
        return queryset.filter(Q(token__name__icontains=value) | Q(reason__icontains=value))

    def filter_state(self, queryset: ApprovalRequestQuerySet, name: str, value: str) -> Any:
        if value == RequestState.WAITING:
            return queryset.waiting()
        if value == RequestState.LAPSED:
            return queryset.lapsed()
        return queryset.ended() if value == RequestState.ENDED else queryset.filter(decision=value)

    def filter_person(self, queryset: Any, name: str, value: str) -> Any:
        if is_address(value):
            people = User.objects.filter(email__iexact=value)
        else:
            people = User.objects.filter(Q(email__icontains=value) | Q(name__icontains=value))
        return queryset.filter(asked_by__in=people.order_by().values("pk"))
