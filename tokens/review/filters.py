"""Filters of the items of a campaign."""

from typing import Any, ClassVar

from django.db.models import Q
from django.utils.translation import gettext_lazy

from core.filters import ChoiceFilter, SearchFilter, StrictFilterSet, TextFilter, is_address
from core.pages.widgets import PickerInput
from tokens.review.models import ItemState
from tokens.review.querysets import ReviewItemQuerySet


class ReviewItemFilter(StrictFilterSet):
    api_help: ClassVar = {
        "q": "Part of the token's name, or of the note.",
        "state": "`lapsed`: expired because nobody answered. `ended`: the token ended otherwise before an answer. "
        "`unanswered`: nobody answered before the campaign was canceled.",
        "owner": "Part of the name or e-mail of the owner. A complete address finds only that person.",
    }

    q = SearchFilter(label=gettext_lazy("Token or note"), method="filter_text")
    state = ChoiceFilter(
        label=gettext_lazy("Answer"),
        choices=ItemState.choices,
        method="filter_state",
        empty_label=gettext_lazy("Any answer"),
    )
    owner = TextFilter(
        label=gettext_lazy("Owner"),
        max_length=254,
        method="filter_owner",
        widget=PickerInput("accounts:suggested_addresses"),
    )

    def filter_text(self, queryset: Any, name: str, value: str) -> Any:
        return queryset.filter(Q(token_name__icontains=value) | Q(note__icontains=value))

    def filter_state(self, queryset: ReviewItemQuerySet, name: str, value: str) -> Any:
        if value == ItemState.WAITING:
            return queryset.waiting()
        return queryset.ended_otherwise() if value == ItemState.ENDED else queryset.filter(answer=value)

    def filter_owner(self, queryset: Any, name: str, value: str) -> Any:
        if is_address(value):
            return queryset.filter(owner_email__iexact=value)
        return queryset.filter(Q(owner_email__icontains=value) | Q(owner_name__icontains=value))
