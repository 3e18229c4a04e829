"""Tells owners what their tokens are used for, from the authentication log: the token path does nothing for it. For a
service account, tells the people who answer for it.

The worker reads new entries in order of ``id``, and keeps for each token what it needs to recognize a first time
(``WatchedToken``). Tokens that were used before this began are looked up once in the counts of their uses, so that
their usual networks are not new. A token that replaces another one begins with the networks of that one; if its script
replaces it every hour, that is no first use every hour either.

A busy token costs as little as another: entries are summed up by token before anything is looked up, and a token's
networks are told and remembered up to a limit.
"""

import ipaddress
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import Any, NamedTuple

from django.db.models import Exists, OuterRef, Sum

from accounts.models import User
from accounts.notifications.kinds import (
    ENDED_IN_USE,
    FIRST_REFUSAL,
    FIRST_USE,
    MANY_REFUSALS,
    NEW_NETWORK,
    Kind,
)
from accounts.notifications.telling import News, tell
from auditlog import log_places
from auditlog.counting import Entry, entries_between, is_readable, moment_of
from auditlog.final_entries import StillWriting, final_until
from auditlog.models import ENDED_REASONS, LogPlace, TokenUsage, TokenUse
from core.db.batches import batches_of, first_size, next_size, run_batches
from core.db.sqlite_turns import job_transaction
from tokens.ended_in_use import CHECKED_WITHIN
from tokens.models import Token, TokenExchange, WatchedToken
from tokens.news import news_about, readers_of

EVERY = timedelta(seconds=10)
READER = "news of tokens"
# Entries that one query reads.
READ_AT_ONCE = 5_000
# Refusals within an hour that are many.
MANY = 20
# Networks of one token that are told and remembered. A token that is used from more than these is used from everywhere.
MOST_NETWORKS = 100
# Tokens that one query looks up.
LOOKED_UP_AT_ONCE = 500
_READ = (
    *("name", "scope", "revoked_at", "revoked_by"),
    *("owner__name", "owner__is_service_account", "owner__organization"),
)


class Use(NamedTuple):
    at: datetime
    ip: str
    reason: str


@dataclass
class Uses:
    """The new uses of one token: the first one of each sort."""

    allowed: Use | None = None
    refused: Use | None = None
    after_end: list[Use] = field(default_factory=list)
    by_network: dict[str, Use] = field(default_factory=dict)
    refused_by_hour: Counter[datetime] = field(default_factory=Counter)
    last_refused_in: dict[datetime, Use] = field(default_factory=dict)

    def add(self, use: Use, *, is_allowed: bool) -> None:
        if use.reason == TokenUse.Reason.TOKEN_REUSED:
            # `tokens.replacement` tells this, when it ends the family.
            return
        if use.reason in ENDED_REASONS:
            # The first and the last one: owners who expire a token often send it once more, to see that it is refused.
            self.after_end = [*self.after_end[:1], use]
            return
        if is_allowed:
            self.allowed = self.allowed or use
        else:
            self.refused = self.refused or use
            hour = use.at.replace(minute=0, second=0, microsecond=0)
            self.refused_by_hour[hour] += 1
            self.last_refused_in[hour] = use
        network = network_of(use.ip)
        if network and len(self.by_network) < MOST_NETWORKS:
            self.by_network.setdefault(network, use)

    def networks_besides(self, known: list[str]) -> list[str]:
        """Those that are new, in order, as many as are still remembered."""
        new = [network for network in self.by_network if network not in known]
        return new[: max(0, MOST_NETWORKS - len(known))]


def tell_of_new_uses(stopping: threading.Event | None = None) -> None:
    """Reads the entries that are there now, and leaves those that arrive meanwhile to the next round."""
    try:
        place = log_places.place_of(READER, TokenUse)
        until = final_until(TokenUse, patience=log_places.WAIT_FOR_WRITERS_SECONDS)
    except StillWriting:
        return
    size = first_size()

    def batches() -> Iterator[Callable[[], tuple[bool, float]]]:
        waiting: list[Entry] = []
        while waiting := waiting or entries_between(place.last_id + 1, until, READ_AT_ONCE):
            by_token, count = _summed(waiting, tokens=size)
            last_id, waiting = waiting[count - 1].id, waiting[count:]
            yield partial(_tell, place, by_token, last_id)

    for is_told, seconds in run_batches(batches(), stopping=stopping):
        if not is_told:
            return
        size = next_size(size, seconds)


def _summed(entries: Iterable[Entry], *, tokens: int) -> tuple[dict[uuid.UUID, Uses], int]:
    """The new uses of the first so many tokens, and how many entries that are."""
    by_token: defaultdict[uuid.UUID, Uses] = defaultdict(Uses)
    count = 0
    for count, entry in enumerate(entries, start=1):  # noqa: B007  (used after the loop)
        at = moment_of(entry.at)
        if at is not None and is_readable(entry):
            token_id = entry.token_id if isinstance(entry.token_id, uuid.UUID) else uuid.UUID(entry.token_id)
            use = Use(at, entry.ip or "", entry.reason)
            by_token[token_id].add(use, is_allowed=entry.outcome == TokenUse.Outcome.ALLOWED)
        if len(by_token) >= tokens:
            break
    return dict(by_token), count


def _tell(place: LogPlace, by_token: Mapping[uuid.UUID, Uses], last_id: int) -> tuple[bool, float]:
    """Tells, and saves the new place. ``False`` if another worker has told it. Also for how many seconds it wrote."""
    tokens = _tokens(by_token)
    predecessors = _predecessors(tokens)
    watched = _watched({*tokens, *predecessors.values()}, place.started_at)
    readers = readers_of(tokens.values())
    news: list[News] = []
    changed: list[WatchedToken] = []
    # In the order of their first uses, because a token and the one that replaced it can be among them.
    for token_id, uses in by_token.items():
        token, known = tokens.get(token_id), watched.get(token_id)
        if token is None or known is None:
            continue
        if known._state.adding and token_id in predecessors:
            _inherit(known, watched[predecessors[token_id]], is_same_script=token.rotates)
        of_token = list(_news_of(token, readers[token.owner_id], known, uses))
        news += of_token
        if _remember(known, uses, is_told_in_use_after_end=any(item.kind is ENDED_IN_USE for item in of_token)):
            changed.append(known)
    started_at = time.perf_counter()
    with job_transaction():
        started_at = time.perf_counter()
        if not log_places.advance(place, last_id):
            return False, 0.0
        _save(changed)
        tell(news)
    return True, time.perf_counter() - started_at


def _news_of(token: Token, readers: Sequence[User], known: WatchedToken, uses: Uses) -> Iterator[News]:
    def news(kind: Kind, use: Use, once: object = "", **details: Any) -> Iterator[News]:
        return news_about(token, readers, kind, once=once, at=use.at, ip=use.ip, **details)

    # Each run of a CI job has a token of its own.
    if uses.allowed and not known.was_used and not getattr(token, "is_exchanged", False):
        yield from news(FIRST_USE, uses.allowed)
    if uses.refused and not known.was_refused:
        yield from news(FIRST_REFUSAL, uses.refused, reason=uses.refused.reason)
    # The first network of a token is not new: it begins to be used.
    new = uses.networks_besides(known.networks)
    for network in new if known.networks else new[1:]:
        yield from news(NEW_NETWORK, uses.by_network[network], network, network=network)
    for hour, count in uses.refused_by_hour.items():
        before = known.refused_in_hour if known.refused_hour == hour else 0
        if before < MANY <= before + count:
            at = uses.last_refused_in[hour]
            yield from news(MANY_REFUSALS, at, hour.isoformat(), count=MANY)
    if not known.is_told_in_use_after_end and (use := _after_end(token, readers, uses)):
        yield from news(ENDED_IN_USE, use)


def _after_end(token: Token, readers: Sequence[User], uses: Uses) -> Use | None:
    """The first use after the end that is not only a check by the reader who has just expired the token."""
    for use in uses.after_end:
        is_own_check = token.revoked_at and token.revoked_by_id in {reader.pk for reader in readers}
        if not is_own_check or (token.revoked_at and use.at > token.revoked_at + CHECKED_WITHIN):
            return use
    return None


def _remember(known: WatchedToken, uses: Uses, *, is_told_in_use_after_end: bool) -> bool:
    """Adds what is new. Returns whether something is."""
    before = known.networks, known.was_used, known.was_refused, known.is_told_in_use_after_end
    known.networks = [*known.networks, *uses.networks_besides(known.networks)]
    known.was_used = known.was_used or uses.allowed is not None
    known.was_refused = known.was_refused or uses.refused is not None
    known.is_told_in_use_after_end = known.is_told_in_use_after_end or is_told_in_use_after_end
    for hour in sorted(uses.refused_by_hour):
        if known.refused_hour is None or hour >= known.refused_hour:
            counted = known.refused_in_hour if known.refused_hour == hour else 0
            known.refused_hour, known.refused_in_hour = hour, counted + uses.refused_by_hour[hour]
    after = known.networks, known.was_used, known.was_refused, known.is_told_in_use_after_end
    return known._state.adding or before != after or bool(uses.refused_by_hour)


def _tokens(ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Token]:
    """Those that still exist."""
    found: dict[uuid.UUID, Token] = {}
    for some in batches_of(list(ids), LOOKED_UP_AT_ONCE):
        exchanged = Exists(TokenExchange.objects.filter(token=OuterRef("pk")))
        rows = Token.objects.filter(pk__in=some).select_related("owner").only(*_READ).annotate(is_exchanged=exchanged)
        found |= {token.pk: token for token in rows}
    return found


def _predecessors(ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, uuid.UUID]:
    """Those of the tokens that replaced another one, each with that one."""
    found: dict[uuid.UUID, uuid.UUID] = {}
    for some in batches_of(list(ids), LOOKED_UP_AT_ONCE):
        rows = Token.objects.filter(replaced_by__in=some).order_by()
        found |= {new: old for new, old in rows.values_list("replaced_by", "pk") if new is not None}
    return found


def _inherit(new: WatchedToken, old: WatchedToken, *, is_same_script: bool) -> None:
    new.networks = list(dict.fromkeys([*new.networks, *old.networks]))[:MOST_NETWORKS]
    if is_same_script:
        new.was_used, new.was_refused = new.was_used or old.was_used, new.was_refused or old.was_refused


def _watched(ids: Iterable[uuid.UUID], started_at: datetime) -> dict[uuid.UUID, WatchedToken]:
    """What is known about these tokens; for those that are seen for the first time, from the counts of their uses."""
    found: dict[uuid.UUID, WatchedToken] = {}
    for some in batches_of(list(ids), LOOKED_UP_AT_ONCE):
        rows = {row.token_id: row for row in WatchedToken.objects.filter(token_id__in=some)}
        new = {token_id: WatchedToken(token_id=token_id, networks=[]) for token_id in some if token_id not in rows}
        counts = TokenUsage.objects.filter(token_id__in=new, first_at__lt=started_at).order_by()
        by_address = counts.values_list("token_id", "ip").annotate(Sum("allowed"), Sum("refused"), Sum("after_end"))
        for token_id, ip, allowed, refused, after_end in by_address.iterator():
            row, network = new[token_id], network_of(ip)
            row.was_used = row.was_used or allowed > 0
            row.was_refused = row.was_refused or refused > after_end
            row.is_told_in_use_after_end = row.is_told_in_use_after_end or after_end > 0
            if network and network not in row.networks and len(row.networks) < MOST_NETWORKS:
                row.networks.append(network)
        found |= rows | new
    return found


def _save(rows: list[WatchedToken]) -> None:
    fields = [field.attname for field in WatchedToken._meta.concrete_fields if not field.primary_key]
    WatchedToken.objects.bulk_create(
        rows, batch_size=LOOKED_UP_AT_ONCE, update_conflicts=True, unique_fields=["token"], update_fields=fields
    )


@lru_cache(maxsize=1000)
def network_of(address: str) -> str:
    """The /24 of an IPv4 address or the /48 of an IPv6 address; empty if the address is unknown."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return ""
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    shown = mapped or ip
    return str(ipaddress.ip_network(f"{shown}/{24 if shown.version == 4 else 48}", strict=False))
