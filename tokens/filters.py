"""Filters of the lists of tokens."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, time, timedelta
from typing import Any, ClassVar

from django import forms
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy, pgettext_lazy

from accounts.models import User
from accounts.services_for_tokens import TokenService
from core import ids
from core.api import scopes
from core.filters import ChoiceFilter, DayFilter, SearchFilter, StrictFilterSet, TextFilter, is_address
from core.pages.widgets import PickerInput, QuickSelect
from tokens.narrowing import PERIODS
from tokens.querysets import TokenQuerySet
from tokens.service_choice import MAX_LENGTH as MAX_SERVICE_LENGTH
from tokens.states import CHOICES as STATE_CHOICES
from tokens.states import TokenState

SOON = "soon"
THIS_MONTH = "month"
TIMES_TO_END = [
    (SOON, gettext_lazy("Soon (highlighted)")),
    (THIS_MONTH, gettext_lazy("This month")),
    ("1", gettext_lazy("Within 1 day")),
    ("7", gettext_lazy("Within 7 days")),
    ("30", gettext_lazy("Within 30 days")),
    ("90", gettext_lazy("Within 90 days")),
]

LIMITED, UNLIMITED = "true", "false"
LIMITS = [(LIMITED, gettext_lazy("Only chosen pipelines")), (UNLIMITED, gettext_lazy("All that the owner can use"))]

# Tokens that have not ended, whether or not they work now: the number beside a person counts them.
LIVE = "live"


DAYS_UNUSED = [
    ("30", gettext_lazy("30 days")),
    ("90", gettext_lazy("90 days")),
    ("180", gettext_lazy("180 days")),
]


# Filters of several lists. They bring their own labels, choices and descriptions.


class ScopeFilter(ChoiceFilter):
    """Tokens with one scope, and perhaps others."""

    def __init__(self, **kwargs: Any) -> None:
        labels = {"label": gettext_lazy("Scope"), "empty_label": gettext_lazy("Any scope")}
        super().__init__(**{**labels, "choices": scopes.CHOICES, **kwargs})

    def filter(self, qs: TokenQuerySet, value: str) -> TokenQuerySet:
        return qs.with_scope(value) if value else qs


class LimitFilter(ChoiceFilter):
    """Tokens that reach only chosen pipelines, or all others."""

    api_help = "`true` finds tokens that reach only chosen pipelines, `false` all others."

    def __init__(self, **kwargs: Any) -> None:
        labels = {"label": gettext_lazy("Pipelines"), "empty_label": gettext_lazy("Limited or not")}
        super().__init__(**{**labels, "choices": LIMITS, **kwargs})

    def filter(self, qs: TokenQuerySet, value: str) -> TokenQuerySet:
        return qs.filter(is_limited=value == LIMITED) if value else qs


class ServiceFilter(TextFilter):
    """Tokens for one service. `offer_services` makes it a select on pages."""

    api_help = "The short name or the id of a service: finds the tokens for it."

    def __init__(self, **kwargs: Any) -> None:
        labels = {"label": gettext_lazy("Service"), "max_length": MAX_SERVICE_LENGTH}
        super().__init__(**{**labels, **kwargs})

    def filter(self, qs: TokenQuerySet, value: str) -> TokenQuerySet:
        if not value:
            return qs
        found = Q(service__slug=value)
        with suppress(ValueError):
            found |= Q(service=ids.read(value))
        return qs.filter(found)


def offer_services(filterset: StrictFilterSet, name: str, services: Sequence[TokenService]) -> None:
    """Lets people choose one of these services by name. Without any, the page has no such filter."""
    given = filterset.data.get(name, "") if filterset.data else ""
    if not services and not given:
        del filterset.filters[name]
        return
    choices = {"": gettext("Any"), **{service.slug: service.name for service in services}}
    choices.setdefault(given, given)
    filterset.filters[name].extra["widget"] = QuickSelect(choices=list(choices.items()))


class OwnerFilter(TextFilter):
    """A complete address finds only its person, and nobody whose address ends with it."""

    api_help = "Part of the owner's name or e-mail. A complete address finds only its owner."

    def __init__(self, **kwargs: Any) -> None:
        widget = PickerInput("accounts:suggested_addresses")
        super().__init__(**{"label": gettext_lazy("Owner"), "max_length": 254, "widget": widget, **kwargs})

    def filter(self, qs: TokenQuerySet, value: str) -> TokenQuerySet:
        if not value:
            return qs
        if is_address(value):
            return qs.filter(owner__in=User.objects.filter(email__iexact=value).order_by().values("pk"))
        return qs.filter(_owner_has(value))


class UnusedFilter(ChoiceFilter):
    """Tokens that could be used for so many days, and were not."""

    api_help = "Days since the last use, or since creation if the token was never used."

    def __init__(self, **kwargs: Any) -> None:
        labels = {"label": gettext_lazy("Not used for"), "empty_label": gettext_lazy("Used or not")}
        super().__init__(**{**labels, "choices": DAYS_UNUSED, **kwargs})

    def filter(self, qs: TokenQuerySet, value: str) -> TokenQuerySet:
        return qs.unused_since(timezone.now() - timedelta(days=int(value))) if value else qs


class TokenFilter(StrictFilterSet):
    api_help: ClassVar = {
        "q": "Part of the name or of the description.",
        "state": "`live` finds all tokens that are neither `expired` nor `revoked`. On pages, `revoked` is “Expired "
        "early”.",
        "ends_within": "Days; `soon`: in the last 7 days of a token, or in the last quarter of its lifetime if "
        "that is shorter; `month`: until the end of this month (UTC). Finds active tokens only.",
    }

    q = SearchFilter(label=gettext_lazy("Name or description"), method="filter_text")
    state = ChoiceFilter(
        label=gettext_lazy("State"),
        choices=[(LIVE, pgettext_lazy("state of a token", "Live: not expired")), *STATE_CHOICES],
        method="filter_state",
        empty_label=gettext_lazy("Any state"),
    )
    scope = ScopeFilter()
    service = ServiceFilter()
    is_limited = LimitFilter()
    ends_within = ChoiceFilter(
        label=gettext_lazy("Expires"),
        choices=TIMES_TO_END,
        method="filter_end",
        empty_label=gettext_lazy("Any time"),
    )

    def filter_text(self, queryset: TokenQuerySet, name: str, value: str) -> TokenQuerySet:
        return queryset.filter(_texts_have(value))

    def filter_state(self, queryset: TokenQuerySet, name: str, value: str) -> TokenQuerySet:
        if value == TokenState.REVOKED.id:
            return queryset.revoked()
        if value == TokenState.EXPIRED.id:
            return queryset.expired()
        live = queryset.live()
        if value == LIVE:
            return live
        if value == TokenState.OWNER_DEACTIVATED.id:
            return live.filter(owner__is_active=False)
        # The few people who are deactivated are found once, and not looked up for each token.
        live = live.exclude(owner__in=User.objects.deactivated().order_by().values("pk"))
        if value == TokenState.PENDING.id:
            return live.pending()
        if value == TokenState.WAITING.id:
            return live.waiting()
        shown = live.filter(revealed_at__isnull=False)
        if value == TokenState.BLOCKED_BY_POLICY.id:
            return shown.outside_policy()
        working = shown.within_policy()
        return working.scheduled() if value == TokenState.SCHEDULED.id else working.started()

    def filter_end(self, queryset: TokenQuerySet, name: str, value: str) -> TokenQuerySet:
        if value == SOON:
            return queryset.expiring_soon()
        if value == THIS_MONTH:
            return queryset.expiring_before(_end_of_month())
        return queryset.expiring_before(timezone.now() + timedelta(days=int(value)))


def _end_of_month() -> datetime:
    """The last second of the current month: in the reader's time zone on a page, in UTC in the API."""
    first = timezone.localdate().replace(day=1)
    next_first = (first + timedelta(days=31)).replace(day=1)
    return datetime.combine(next_first, time(), timezone.get_current_timezone()) - timedelta(seconds=1)


class OwnTokenPageFilter(TokenFilter):
    """The same on the page with the form for a new token, whose address has ``service`` for the form."""

    service = None  # type: ignore[assignment]
    for_service = ServiceFilter()


class OrganizationTokenFilterForm(forms.Form):
    def clean(self) -> dict[str, Any]:
        first, last = self.cleaned_data.get("created_from"), self.cleaned_data.get("created_to")
        if first and last and last < first:
            self.add_error("created_to", gettext("Choose the same day as “Created from”, or a later one."))
        return self.cleaned_data


class OrganizationTokenFilter(TokenFilter):
    usual: ClassVar = frozenset({"q", "state", "scope", "ends_within", "unused_for"})
    api_help: ClassVar = {
        "q": "Part of the token's name or description or of the owner's name or e-mail, or the token's whole id.",
        "created_from": "Created on this day (UTC) or later.",
        "created_to": "Created on this day (UTC) or earlier.",
    }

    q = SearchFilter(label=gettext_lazy("Name, owner or ID"), method="filter_text")
    owner = OwnerFilter()
    unused_for = UnusedFilter()
    created_from = DayFilter(label=gettext_lazy("Created from"), since=True, of="created_at")
    created_to = DayFilter(label=gettext_lazy("Created until"), since=False, of="created_at")

    class Meta:
        form = OrganizationTokenFilterForm

    def filter_text(self, queryset: TokenQuerySet, name: str, value: str) -> TokenQuerySet:
        """Part of a text, or a whole id copied from a log or a mail."""
        found = _texts_have(value) | _owner_has(value)
        with suppress(ValueError):
            found |= Q(pk=uuid.UUID(value.strip()))
        return queryset.filter(found)


class AccessReviewFilter(StrictFilterSet):
    """Some of the same filters, for the access review."""

    owner = OwnerFilter(label=gettext_lazy("Person"))
    scope = ScopeFilter()
    service = ServiceFilter()
    is_limited = LimitFilter()
    unused_for = UnusedFilter()


class UnusedScopesFilter(StrictFilterSet):
    """``days`` changes what is said of each token, and not which tokens are listed."""

    api_help: ClassVar = {
        "days": "What the tokens did in so many days: 90, unless you give 30.",
    }

    days = ChoiceFilter(
        label=gettext_lazy("In the last"),
        choices=[(str(days), gettext_lazy("30 days") if days == 30 else gettext_lazy("90 days")) for days in PERIODS],
        method="keep_all",
        empty_label=None,
        null_label=None,
    )
    scope = ScopeFilter()
    is_limited = LimitFilter()

    def keep_all(self, queryset: TokenQuerySet, name: str, value: str) -> TokenQuerySet:
        return queryset


def days_chosen(query: Mapping[str, Any]) -> int:
    """90, unless the reader chose 30."""
    return next((days for days in PERIODS if str(days) == query.get("days")), PERIODS[0])


class OrganizationUnusedScopesFilter(UnusedScopesFilter):
    owner = OwnerFilter()


def _texts_have(text: str) -> Q:
    return Q(name__icontains=text) | Q(description__icontains=text)


def _owner_has(text: str) -> Q:
    """As a subquery: a join would compare the text once for each token, not once for each person."""
    return Q(owner__in=User.objects.filter(Q(email__icontains=text) | Q(name__icontains=text)).order_by().values("pk"))
