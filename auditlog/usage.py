"""Counts how often tokens were used, from which addresses, and whether after they had expired.

Sealing adds each entry to ``TokenUsage``. Reading adds the entries at the end of the log that are not sealed yet, so
its cost does not grow with the log. The result is the same as counting the whole log.
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Count, GenericIPAddressField, Max, Min, Q, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Cast, Coalesce, NullIf, TruncDate
from django.utils import timezone

from auditlog.models import ENDED_REASONS, Seal, TokenUsage, TokenUse
from auditlog.querysets import TokenUseQuerySet, UsageQuerySet
from core.types import User

# Including today.
DAYS = 30
# How long an address is shown as new.
NEW_FOR = timedelta(days=7)
# Addresses in the first day of a token are not shown as new: it is still being set up.
SETTLES_WITHIN = timedelta(days=1)
# Entries are numbered when they commit, and their time is when the request began. No request takes as long as this.
OUT_OF_ORDER_BY = timedelta(hours=1)

_ALLOWED = Count("id", filter=Q(outcome=TokenUse.Outcome.ALLOWED))
_REFUSED = Count("id", filter=Q(outcome=TokenUse.Outcome.REFUSED))
# As in the log: an address, or null.
_COUNTED_IP = Cast(NullIf("ip", Value("")), GenericIPAddressField())

Key = tuple[uuid.UUID, date, str]

_COUNTS = ["allowed", "refused", "after_end"]
_MOMENTS = ["first_at", "last_at", "first_after_end_at", "last_after_end_at"]


def summed(entries: Sequence[TokenUse]) -> list[TokenUsage]:
    """The counts of these entries: one unsaved row for each token, day and address."""
    counted: dict[Key, TokenUsage] = {}
    for entry in entries:
        _add(counted, _usage_of(entry))
    return list(counted.values())


def add(counted: Sequence[TokenUsage]) -> None:
    """Adds to the stored counts without reading them. Call it in the transaction that seals the entries."""
    if not counted:
        return
    fields = [field for field in TokenUsage._meta.concrete_fields if not field.primary_key]
    rows = [[field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields] for row in counted]
    with connection.cursor() as cursor:
        cursor.executemany(_upsert([field.attname for field in fields]), rows)


def _upsert(columns: Sequence[str]) -> str:
    least, greatest = ("LEAST", "GREATEST") if connection.vendor == "postgresql" else ("MIN", "MAX")
    added = [f"{name} = {{before}}.{name} + excluded.{name}" for name in _COUNTS]
    # On SQLite, the minimum of a time and null is null.
    moved = [
        f"{name} = {least if name.startswith('first') else greatest}"
        f"(COALESCE({{before}}.{name}, excluded.{name}), COALESCE(excluded.{name}, {{before}}.{name}))"
        for name in _MOMENTS
    ]
    table = TokenUsage._meta.db_table
    statement = (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))}) "  # noqa: S608
        f"ON CONFLICT (token_id, day, ip) DO UPDATE SET {', '.join([*added, *moved])}"
    )
    return statement.replace("{before}", table)


def _usage_of(entry: TokenUse) -> TokenUsage:
    is_allowed = entry.outcome == TokenUse.Outcome.ALLOWED
    ended_at = entry.at if entry.reason in ENDED_REASONS else None
    return TokenUsage(
        token_id=entry.token_id,
        owner_id=entry.owner_id,
        organization_id=entry.organization_id,
        day=entry.at.astimezone(UTC).date(),
        ip=entry.ip or "",
        allowed=int(is_allowed),
        refused=int(not is_allowed),
        after_end=int(ended_at is not None),
        first_at=entry.at,
        last_at=entry.at,
        first_after_end_at=ended_at,
        last_after_end_at=ended_at,
    )


def _key(usage: TokenUsage) -> Key:
    return usage.token_id, usage.day, usage.ip


def _add(counted: dict[Key, TokenUsage], usage: TokenUsage) -> None:
    same = counted.setdefault(_key(usage), usage)
    if same is usage:
        return
    same.allowed += usage.allowed
    same.refused += usage.refused
    same.after_end += usage.after_end
    same.first_at = min(same.first_at, usage.first_at)
    same.last_at = max(same.last_at, usage.last_at)
    if usage.first_after_end_at and usage.last_after_end_at:
        same.first_after_end_at = min(same.first_after_end_at or usage.first_after_end_at, usage.first_after_end_at)
        same.last_after_end_at = max(same.last_after_end_at or usage.last_after_end_at, usage.last_after_end_at)


@dataclass(frozen=True)
class Uses:
    """A set of uses: their counts, their log entries, and those log entries that are not counted yet."""

    counted: UsageQuerySet
    log: TokenUseQuerySet
    uncounted: TokenUseQuerySet


def of(user: User) -> Uses:
    """Uses of this person's own tokens."""
    return _uses(TokenUsage.objects.of(user), TokenUse.objects.of(user))


def readable_org_entries(user: User) -> Uses:
    """Uses of all tokens in the organization, if this person's role can read its logs; otherwise none."""
    return _uses(TokenUsage.objects.readable_org_entries(user), TokenUse.objects.readable_org_entries(user))


def of_token(token_id: uuid.UUID, *, reader: User) -> Uses:
    """Uses of one token, if the reader can see its log.

    The owner of a token never changes, so a reader sees all of its entries or none: only the newest is checked. With
    both conditions in each query, SQLite would read all entries of the organization to find those of the token.
    """
    counted, log = TokenUsage.objects.filter(token_id=token_id), TokenUse.objects.filter(token_id=token_id)
    if not TokenUse.objects.visible_to(reader).filter(pk__in=log.values("pk")[:1]).exists():
        return _uses(counted.none(), log.none())
    return _uses(counted, log)


class DayUses(NamedTuple):
    day: date
    allowed: int
    refused: int

    @property
    def total(self) -> int:
        return self.allowed + self.refused


def days(uses: Uses) -> list[DayUses]:
    """Uses on each of the last 30 days (UTC), today last. Days without uses are included."""
    first = _first_day()
    by_day = _read(
        uses.counted.filter(day__gte=first).values_list("day").annotate(Sum("allowed"), Sum("refused")),
        uses.uncounted.filter(at__gte=_start_of(first))
        .values_list(TruncDate("at", tzinfo=UTC))
        .annotate(allowed=_ALLOWED, refused=_REFUSED),
        merge=(sum, sum),
    )
    return [DayUses(day, *by_day.get((day,), (0, 0))) for day in (first + timedelta(days=n) for n in range(DAYS))]


@dataclass(frozen=True)
class AddressUses:
    """Uses of one token from one address; ``ip`` is ``None`` if the address is not known."""

    ip: str | None
    first_at: datetime
    last_at: datetime
    allowed: int
    refused: int
    is_new: bool

    @property
    def total(self) -> int:
        return self.allowed + self.refused


def addresses(uses: Uses) -> list[AddressUses]:
    """All addresses from which a token was used; the most recently used first.

    An address is new if its first use was within the last 7 days, and more than a day after the token's first use.
    """
    by_ip = _read(
        uses.counted.values_list(_COUNTED_IP).annotate(Sum("allowed"), Sum("refused"), Min("first_at"), Max("last_at")),
        uses.uncounted.values_list("ip").annotate(
            allowed=_ALLOWED, refused=_REFUSED, first_at=Min("at"), last_at=Max("at")
        ),
        merge=(sum, sum, min, max),
    )
    if not by_ip:
        return []
    settled_at = min(first_at for _, _, first_at, _ in by_ip.values()) + SETTLES_WITHIN
    new_since = max(settled_at, timezone.now() - NEW_FOR)
    found = [
        AddressUses(ip, first_at, last_at, allowed, refused, is_new=first_at > new_since)
        for (ip,), (allowed, refused, first_at, last_at) in by_ip.items()
    ]
    return sorted(found, key=lambda address: address.last_at, reverse=True)


@dataclass(frozen=True)
class AfterEndAddress:
    ip: str | None
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class AfterEnd:
    """An expired token that is still sent: someone or some script still has it."""

    last: TokenUse
    addresses: list[AfterEndAddress]

    @property
    def count(self) -> int:
        return sum(address.count for address in self.addresses)

    @property
    def since(self) -> datetime:
        return min(address.first_at for address in self.addresses)


def after_end(uses: Uses) -> list[AfterEnd]:
    """Expired tokens that were sent within the last 30 days, with their uses after they expired.

    The most recently sent token is first, and in each token the most recently used address.
    """
    first = _first_day()
    by_token_and_ip = _read(
        uses.counted.filter(day__gte=first, after_end__gt=0)
        .values_list("token_id", _COUNTED_IP)
        .annotate(Sum("after_end"), Min("first_after_end_at"), Max("last_after_end_at")),
        uses.uncounted.of_ended_tokens()
        .filter(at__gte=_start_of(first))
        .values_list("token_id", "ip")
        .annotate(Count("id"), Min("at"), Max("at")),
        merge=(sum, min, max),
    )
    by_token: defaultdict[uuid.UUID, list[AfterEndAddress]] = defaultdict(list)
    for (token_id, ip), values in by_token_and_ip.items():
        by_token[token_id].append(AfterEndAddress(ip, *values))
    for found in by_token.values():
        found.sort(key=lambda address: address.last_at, reverse=True)
    last_uses = _uses_at(
        uses.log.of_ended_tokens(), {token_id: found[0].last_at for token_id, found in by_token.items()}
    )
    return [AfterEnd(last, by_token[last.token_id]) for last in last_uses]


def _uses_at(log: TokenUseQuerySet, moments: dict[uuid.UUID, datetime]) -> list[TokenUse]:
    """The use of each token at the given time, newest first. Read by the index of token and time."""
    found = log.filter(token_id__in=moments, at__in=moments.values())
    by_token = {use.token_id: use for use in found.order_by("id") if moments[use.token_id] == use.at}
    return sorted(by_token.values(), key=lambda use: use.at, reverse=True)


def _uses(counted: UsageQuerySet, log: TokenUseQuerySet) -> Uses:
    """Prepares the queries. Counts and uncounted entries are selected in one statement (`_read`).

    The newest sealed time is read before that. It only limits how far back the database searches, and never excludes an
    unsealed entry.
    """
    seals = Seal.objects.filter(log=Seal.Log.AUTHENTICATION, kind=Seal.Kind.ENTRIES).order_by("-last_id")
    uncounted = log.order_by().filter(id__gt=Coalesce(Subquery(seals.values("last_id")[:1]), 0))
    if newest_at := _newest_moment(seals.values_list("newest", flat=True).first()):
        uncounted = uncounted.filter(at__gte=newest_at - OUT_OF_ORDER_BY)
    return Uses(counted, log, uncounted)


def _newest_moment(newest: Any) -> datetime | None:
    """The newest moment of a seal's ``newest``; ``None`` if somebody has changed it to something else, which verifying
    the log reports. The search then goes back as far as the log."""
    try:
        return max(datetime.fromisoformat(moment).astimezone(UTC) for moment in newest.values())
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None


def _read(
    counted: QuerySet[Any, Any], uncounted: QuerySet[Any, Any], *, merge: Sequence[Callable[..., Any]]
) -> dict[tuple[Any, ...], list[Any]]:
    """Reads both querysets, and merges their last columns for rows whose other columns are equal.

    One statement reads both, so that no use is missed or counted twice while entries are being sealed.
    """
    found: defaultdict[tuple[Any, ...], list[tuple[Any, ...]]] = defaultdict(list)
    for row in counted.union(uncounted, all=True):
        found[row[: -len(merge)]].append(row[-len(merge) :])
    return {
        key: [together(values) for together, values in zip(merge, zip(*rows, strict=True), strict=True)]
        for key, rows in found.items()
    }


def _first_day() -> date:
    return timezone.now().astimezone(UTC).date() - timedelta(days=DAYS - 1)


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
