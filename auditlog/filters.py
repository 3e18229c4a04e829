"""Filters of the two logs."""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import validate_ipv46_address
from django.db.models import F, Q, QuerySet, Value
from django.db.models.functions import Concat
from django.db.models.lookups import Exact
from django.forms import BoundField
from django.utils.translation import gettext_lazy as _

from auditlog.actions import Action, ActionType
from auditlog.models import TokenUse
from auditlog.querysets import TokenUseQuerySet
from core import ids
from core.api import scopes
from core.db.expressions import Rare, Unindexed
from core.filters import (
    AddressFilter,
    ChoiceFilter,
    DayFilter,
    IdFilter,
    IdOrWordFilter,
    MomentFilter,
    PeriodForm,
    PersonFilter,
    SearchFilter,
    StrictFilterSet,
    search_input,
)

_OF_ORGANIZATION = {
    "date": "From this day on (UTC). Default without `since_at`: the last 7 days.",
    "user_email": "Part of the person's address. A complete address finds only this person.",
}
_STATUS = re.compile(r"[1-5]\d\d", re.ASCII)
_DAYS = frozenset({"date", "date_to"})
# Stands for the portal itself in the filter of services.
PORTAL = "portal"
AFTER_END = [("true", _("After the token expired"))]


class LogFilter(StrictFilterSet):
    """Filters of both logs.

    ``indexed`` are the filters that an index serves. All others are a search, which reads a limited number of entries
    at a time (`core/db/keyset.py`).
    """

    indexed: ClassVar[frozenset[str]] = frozenset({"date", "date_to", "since_at", "before_at", "request_id"})
    usual: ClassVar[frozenset[str]] = frozenset({"q", "since_at", "before_at", "outcome", "action", "user_email"})
    searched_texts: ClassVar[tuple[str, ...]]
    searched_ids: ClassVar[tuple[str, ...]]

    api_help: ClassVar = {
        "date": "From this day on (UTC).",
        "date_to": "Up to and including this day (UTC).",
        "since_at": "From this moment on. UTC, if it has no offset.",
        "before_at": "Before this moment. UTC, if it has no offset.",
        "ip": "Address of the caller, or a network such as `192.0.2.0/24`.",
        "request_id": "`X-Request-ID` of the answer.",
        "q": "Part of a text in the entry, or a complete id or address in it.",
    }

    q = SearchFilter(label=_("Search"), method="filter_text")
    date = DayFilter(label=_("Since (day)"), since=True)
    date_to = DayFilter(label=_("Until (day)"), since=False)
    since_at = MomentFilter(label=_("Since"), field_name="at", lookup_expr="gte")
    before_at = MomentFilter(label=_("Before"), field_name="at", lookup_expr="lt")

    class Meta:
        form = PeriodForm

    @property
    def more_fields(self) -> list[BoundField]:
        """Without the days, which `since_at` and `before_at` can say too, unless the address has one."""
        return [field for field in super().more_fields if field.name not in _DAYS or self.data.get(field.name)]

    @classmethod
    def searched(cls, data: Mapping[str, Any], queryset: QuerySet[Any]) -> QuerySet[Any] | None:
        """The entries that the other filters search, found by index; ``None`` if there are no other filters."""
        indexed = cls.indexed_in(data)
        if not any(data.get(name) for name in cls.base_filters.keys() - indexed):
            return None
        rows: QuerySet[Any] = cls({name: data[name] for name in indexed & data.keys()}, queryset).qs
        return rows

    @classmethod
    def indexed_in(cls, data: Mapping[str, Any]) -> frozenset[str]:
        """The filters that an index serves if these are the values of all filters."""
        return cls.indexed

    def filter_text(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return queryset.filter(self.condition_of(value))

    def condition_of(self, value: str) -> Q:
        """A part of a text, or a complete id or address."""
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
        return found


class TokenUseFilter(LogFilter):
    """A person's own authentication log."""

    usual = LogFilter.usual | {"token_id"}
    indexed = LogFilter.indexed | {"token_id"}
    searched_texts = ("target", "token_name", "user_agent", "owner_email")
    searched_ids = ("request_id", "token_id")
    api_help: ClassVar = {
        "q": "Part of a text in the entry, or a complete id, address or status in it.",
        "reason": "`revoked`: the token had been expired early.",
        "service": "Only uses of this service (its id). `portal`: only uses of the portal's own API.",
        "after_end": "Only uses that were refused because the token had expired, at its normal time or early.",
    }

    outcome = ChoiceFilter(label=_("Outcome"), choices=TokenUse.Outcome.choices, empty_label=_("Any outcome"))
    reason = ChoiceFilter(label=_("Reason"), choices=TokenUse.Reason.choices, empty_label=_("Any reason"))
    after_end = ChoiceFilter(
        label=_("Before or after expiry"),
        choices=AFTER_END,
        method="filter_after_end",
        empty_label=_("Both"),
    )
    scope = ChoiceFilter(
        label=_("Scope"),
        choices=scopes.CHOICES,
        method="filter_scope",
        empty_label=_("Any scope"),
    )
    service = IdOrWordFilter(
        label=_("Service"),
        word=PORTAL,
        method="filter_service",
        error_messages={"invalid": _("Enter the ID of a service, or “portal” for the portal's own API.")},
    )
    token_id = IdFilter(label=_("Token ID"), method="filter_token")
    ip = AddressFilter(label=_("Address"))
    request_id = IdFilter(label=_("Request ID"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.filters["q"].extra["widget"] = search_input(placeholder=_("Path, program, 403 …"))

    @classmethod
    def searched(cls, data: Mapping[str, Any], queryset: QuerySet[Any]) -> QuerySet[Any] | None:
        """As in the base. The owner of a token never changes, so a reader sees all of its entries or none. Without the
        reader's own condition, the index of the token is all that is read to find where a search ends."""
        rows = super().searched(data, queryset)
        is_of_one_token = bool(ids.FORM.fullmatch(data.get("token_id", "")))
        if rows is None or not is_of_one_token or not rows.exists():
            return rows
        return super().searched(data, TokenUse.objects.all())

    def condition_of(self, value: str) -> Q:
        """Or a status such as 403, which is what people see in their script."""
        found = super().condition_of(value)
        return found | Q(status=int(value)) if _STATUS.fullmatch(value.strip()) else found

    def filter_token(self, queryset: TokenUseQuerySet, name: str, value: UUID) -> TokenUseQuerySet:
        """By the index of the token, not by that of the organization, whose entries can be a thousand times as many."""
        return queryset.filter(Rare(Exact(F("token_id"), value)))

    def filter_service(self, queryset: TokenUseQuerySet, name: str, value: Any) -> TokenUseQuerySet:
        if value == PORTAL:
            return queryset.filter(service__isnull=True)
        if name in self.indexed_in(self.data):
            return queryset.filter(Rare(Exact(F("service_id"), value)))
        return queryset.filter(Exact(Unindexed(F("service_id")), value))

    def filter_after_end(self, queryset: TokenUseQuerySet, name: str, value: str) -> TokenUseQuerySet:
        return queryset.of_ended_tokens()

    def filter_scope(self, queryset: QuerySet[TokenUse], name: str, value: str) -> QuerySet[TokenUse]:
        padded = queryset.annotate(_padded=Concat(Value(" "), "scope", Value(" ")))
        return padded.filter(_padded__contains=f" {value} ")


class OrganizationTokenUseFilter(TokenUseFilter):
    usual = LogFilter.usual
    api_help: ClassVar = _OF_ORGANIZATION

    user_email = PersonFilter(label=_("Owner"), field_name="owner_email")

    @classmethod
    def indexed_in(cls, data: Mapping[str, Any]) -> frozenset[str]:
        """Also the service: all of its entries are of one organization. A person's own entries can be few among them,
        and the index of a token serves better."""
        is_of_service = ids.FORM.fullmatch(data.get("service", "")) and not data.get("token_id")
        return cls.indexed | {"service"} if is_of_service else cls.indexed


class OneTokenUseFilter(TokenUseFilter):
    """Filters for the log of one token: all of its entries have the same id and scopes. It is for one service, or for
    the portal's own API."""

    scope = None  # type: ignore[assignment]
    service = None  # type: ignore[assignment]
    token_id = None  # type: ignore[assignment]


class ActivityFilter(LogFilter):
    """A person's own activity log."""

    searched_texts = ("target_name", "actor_email", "token_name")
    searched_ids = ("public_id", "request_id", "token_id", "target_id")
    api_help: ClassVar = {"token_id": "The token that was used."}

    type = ChoiceFilter(label=_("Type"), choices=ActionType.choices, empty_label=_("Any type"))
    action = ChoiceFilter(label=_("Action"), choices=Action.choices, empty_label=_("Any action"))
    token_id = IdFilter(label=_("Token ID"), field_name="token_id")
    ip = AddressFilter(label=_("Address"))
    request_id = IdFilter(label=_("Request ID"))


class OrganizationActivityFilter(ActivityFilter):
    api_help: ClassVar = _OF_ORGANIZATION

    user_email = PersonFilter(label=_("Who"), field_name="actor_email")
