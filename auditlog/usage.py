"""How often tokens were used, from which addresses, and whether after they had expired.

`counting.py` has counted most entries. The few newest are counted while reading, so the result is the same as counting
the whole log. Only if counting is far behind are they left out, and ``Uses.is_complete`` says so.
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from django.db.models import Count, GenericIPAddressField, Max, Min, Q, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Cast, Coalesce, NullIf, TruncDate
from django.utils import timezone

from auditlog import address_names, counting
from auditlog.models import OrganizationUsage, TokenUsage, TokenUse, UsageProgress
from auditlog.querysets import TokenUseQuerySet, UsageQuerySet
from core.db.unreadable import UNREADABLE, is_about_values
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


class _AsInTheLog(Cast):
    """An address, or null. SQLite stores addresses as text in both tables: converting each row takes a seventh of the
    time of a busy token's addresses."""

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return compiler.compile(self.get_source_expressions()[0])


_COUNTED_IP = _AsInTheLog(NullIf("ip", Value("")), GenericIPAddressField())

# Entries that a page counts itself. More of them would take longer than everything else on it.
MAX_UNCOUNTED = 4_000


@dataclass(frozen=True)
class Uses:
    """A set of uses: their counts, their log entries, and those log entries that are not counted yet.

    ``by_day`` are the counts from which `days` adds up. If ``is_complete`` is false, the newest entries are left out.
    """

    counted: UsageQuerySet
    by_day: UsageQuerySet
    log: TokenUseQuerySet
    uncounted: TokenUseQuerySet
    is_complete: bool = True


@dataclass(frozen=True)
class Progress:
    """How far counting is. A page that shows several sets of uses reads it once."""

    newest_at: datetime | None
    is_near: bool


def of(user: User, progress: Progress | None = None) -> Uses:
    """Uses of this person's own tokens."""
    return _uses(TokenUsage.objects.of(user), TokenUse.objects.of(user), progress)


def readable_org_entries(user: User, progress: Progress | None = None) -> Uses:
    """Uses of all tokens in the organization, if this person's role can read its logs; otherwise none."""
    return _uses(
        TokenUsage.objects.readable_org_entries(user),
        TokenUse.objects.readable_org_entries(user),
        progress,
        by_day=OrganizationUsage.objects.readable_org_entries(user),
    )


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
        uses.by_day.filter(day__gte=first).values_list("day").annotate(Sum("allowed"), Sum("refused")),
        uses.uncounted.filter(at__gte=_start_of(first))
        .values_list(TruncDate("at", tzinfo=UTC))
        .annotate(allowed=_ALLOWED, refused=_REFUSED),
        merge=(sum, sum),
    )
    return [DayUses(day, *by_day.get((day,), (0, 0))) for day in (first + timedelta(days=n) for n in range(DAYS))]


@dataclass(frozen=True)
class AddressUses:
    """Uses of one token from one address; ``ip`` is ``None`` if the address is not known.

    ``host_name`` is set by `with_host_names`.
    """

    ip: str | None
    first_at: datetime
    last_at: datetime
    allowed: int
    refused: int
    is_new: bool
    host_name: str = ""

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


def with_host_names(addresses: Sequence[AddressUses]) -> list[AddressUses]:
    """The same, with the host names that are known."""
    names = address_names.names_of(address.ip for address in addresses)
    return [replace(address, host_name=names.get(address.ip or "", "")) for address in addresses]


@dataclass(frozen=True)
class AfterEndAddress:
    ip: str | None
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class AfterEnd:
    """An expired token that is still sent: someone or some script still has it.

    ``addresses``: the most recently used first. ``last``: the last use, set by `with_last_uses`.
    """

    token_id: uuid.UUID
    owner_id: uuid.UUID | None
    addresses: list[AfterEndAddress]
    last: TokenUse | None = None

    @property
    def count(self) -> int:
        return sum(address.count for address in self.addresses)

    @property
    def since(self) -> datetime:
        return min(address.first_at for address in self.addresses)

    @property
    def last_at(self) -> datetime:
        return self.addresses[0].last_at


def after_end(uses: Uses) -> list[AfterEnd]:
    """Expired tokens that were sent within the last 30 days, with their uses after they expired.

    The most recently sent token is first.
    """
    first = _first_day()
    by_token_and_ip = _read(
        uses.counted.filter(day__gte=first, after_end__gt=0)
        .values_list("token_id", "owner_id", _COUNTED_IP)
        .annotate(Sum("after_end"), Min("first_after_end_at"), Max("last_after_end_at")),
        uses.uncounted.of_ended_tokens()
        .filter(at__gte=_start_of(first))
        .values_list("token_id", "owner_id", "ip")
        .annotate(Count("id"), Min("at"), Max("at")),
        merge=(sum, min, max),
    )
    found: dict[uuid.UUID, AfterEnd] = {}
    for (token_id, owner_id, ip), values in by_token_and_ip.items():
        token = found.setdefault(token_id, AfterEnd(token_id, owner_id, addresses=[]))
        token.addresses.append(AfterEndAddress(ip, *values))
    for token in found.values():
        token.addresses.sort(key=lambda address: address.last_at, reverse=True)
    return sorted(found.values(), key=lambda token: token.last_at, reverse=True)


def with_last_uses(uses: Uses, found: Sequence[AfterEnd]) -> list[AfterEnd]:
    """The same, with ``last``; without tokens whose last use is not in the log. Read by the index of token and time."""
    moments = {token.token_id: token.last_at for token in found}
    log = uses.log.of_ended_tokens().filter(token_id__in=moments, at__in=moments.values()).order_by("id")
    last = {use.token_id: use for use in log if moments[use.token_id] == use.at}
    return [replace(token, last=last[token.token_id]) for token in found if token.token_id in last]


def _uses(
    counted: UsageQuerySet,
    log: TokenUseQuerySet,
    progress: Progress | None = None,
    *,
    by_day: UsageQuerySet | None = None,
) -> Uses:
    """Prepares the queries. Counts and uncounted entries are selected in one statement (`_read`).

    How far counting is, is read before that. It only limits how far back the database searches, and never excludes an
    uncounted entry.
    """
    progress = progress or progress_of_counting()
    if not progress.is_near:
        counting.catch_up()
    uncounted = log.order_by().filter(id__gt=Coalesce(Subquery(UsageProgress.objects.values("last_id")[:1]), 0))
    if progress.newest_at:
        # The clock may have been wrong when the entry was written.
        uncounted = uncounted.filter(at__gte=min(progress.newest_at, timezone.now()) - OUT_OF_ORDER_BY)
    return Uses(
        counted,
        counted if by_day is None else by_day,
        log,
        uncounted if progress.is_near else uncounted.none(),
        is_complete=progress.is_near,
    )


def progress_of_counting() -> Progress:
    progress = UsageProgress.objects.all()
    newest = TokenUse.objects.order_by("-id").values_list(
        "id", Subquery(progress.values("last_id")), Subquery(progress.values("newest_at"))
    )
    try:
        newest_id, last_id, newest_at = newest.first() or (0, 0, None)
        # Ids have gaps on PostgreSQL, so a large difference may still be a few entries.
        is_near = newest_id - (last_id or 0) <= MAX_UNCOUNTED or not _are_many_after(last_id or 0)
    except UNREADABLE:
        # Counting begins again (counting.stored_progress).
        return Progress(None, is_near=False)
    return Progress(newest_at, is_near)


def _are_many_after(last_id: int) -> bool:
    """Whether more entries wait than a page counts. Reads the index of the ids only so far."""
    return bool(TokenUse.objects.filter(id__gt=last_id).order_by("id").values("id")[MAX_UNCOUNTED : MAX_UNCOUNTED + 1])


def _read(
    counted: QuerySet[Any, Any], uncounted: QuerySet[Any, Any], *, merge: Sequence[Callable[..., Any]]
) -> dict[tuple[Any, ...], list[Any]]:
    """Reads both querysets, and merges their last columns for rows whose other columns are equal.

    One statement reads both, so that no use is missed or counted twice while entries are being sealed. If an uncounted
    entry is unreadable, all of them are left out until they are counted, which is started here.
    """
    try:
        return _merged(counted.union(uncounted, all=True), merge)
    except UNREADABLE as error:
        if not is_about_values(error, counted.db):
            raise
        counting.catch_up()
        return _merged(counted, merge)


def _merged(rows: Iterable[tuple[Any, ...]], merge: Sequence[Callable[..., Any]]) -> dict[tuple[Any, ...], list[Any]]:
    found: defaultdict[tuple[Any, ...], list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        found[row[: -len(merge)]].append(row[-len(merge) :])
    return {
        key: [together(values) for together, values in zip(merge, zip(*rows, strict=True), strict=True)]
        for key, rows in found.items()
    }


def _first_day() -> date:
    return timezone.now().astimezone(UTC).date() - timedelta(days=DAYS - 1)


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
