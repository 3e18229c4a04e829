"""Tells people what happened: one row for each person and event, and a mail to those who want one.

Call `tell` in the transaction of the event. Kinds with a mail of their own call `store` and put their mail for the
people that it returns.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.utils import timezone

from accounts.models import Notification, User
from accounts.notifications.kinds import BY_ID, Channel, Kind, channel_for
from accounts.notifications.mails import news_mail
from core.db.batches import batches_of
from core.reading import zone_of

# When the daily mail is sent, in the person's time zone.
DIGEST_TIME = time(8)
# Rows of one statement.
BATCH = 500


@dataclass(frozen=True)
class News:
    """Something to tell a person. ``once`` identifies it among everything of this kind that they are told."""

    kind: Kind
    person_id: uuid.UUID
    once: str
    token_id: uuid.UUID | None = None
    token_name: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    at: datetime | None = None


def tell(news: Iterable[News]) -> None:
    """Stores what was not told before, and puts one mail to each person who wants mails about it at once."""
    for person_id, rows in store(news).items():
        news_mail.put(person_id, str(person_id), [str(row.public_id) for row in rows])


def store(news: Iterable[News]) -> dict[uuid.UUID, list[Notification]]:
    """Stores what was not told before. Returns the rows about which people want a mail at once, by person.

    Leaves out service accounts, and people who are not active, were only invited, or belong to no organization.
    """
    news = list(news)
    people = _people({item.person_id for item in news})
    now = timezone.now()
    rows = [_row(item, people[item.person_id], now) for item in news if item.person_id in people]
    if not rows:
        return {}
    Notification.objects.bulk_create(rows, ignore_conflicts=True, batch_size=BATCH)
    by_person: defaultdict[uuid.UUID, list[Notification]] = defaultdict(list)
    mailed = [row for row in rows if _channel(people[row.person_id], row.kind).is_mailed_at_once]
    for row in _stored(mailed):
        by_person[row.person_id].append(row)
    return by_person


def name_of(actor: User | None) -> str:
    """How a notification names the person who did something; empty for the operator."""
    return f"{actor.name} ({actor.email})" if actor else ""


def _people(ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, User]:
    reachable = User.objects.people().active().filter(joined_at__isnull=False, organization__isnull=False)
    found: dict[uuid.UUID, User] = {}
    for some_ids in batches_of(list(ids), BATCH):
        some = reachable.filter(pk__in=some_ids)
        found |= {person.pk: person for person in some.only("notification_choices", "time_zone")}
    return found


def _channel(person: User, kind_id: str) -> Channel:
    return channel_for(person.notification_choices, BY_ID[kind_id])


def _row(item: News, person: User, now: datetime) -> Notification:
    channel = _channel(person, item.kind.id)
    return Notification(
        person_id=item.person_id,
        kind=item.kind.id,
        once=item.once,
        at=item.at or now,
        token_id=item.token_id,
        token_name=item.token_name,
        details=dict(item.details),
        is_in_portal=channel.is_in_portal,
        digest_at=next_digest(now, person.time_zone) if channel.is_in_digest else None,
    )


def _stored(rows: list[Notification]) -> list[Notification]:
    """Those that were new. The others were told before."""
    found: set[uuid.UUID] = set()
    for some in batches_of(rows, BATCH):
        ids = [row.public_id for row in some]
        found |= set(Notification.objects.filter(public_id__in=ids).values_list("public_id", flat=True))
    return [row for row in rows if row.public_id in found]


def next_digest(now: datetime, time_zone: str) -> datetime:
    """The next 8:00 in this time zone. If the clock skips it, the time after the gap."""
    zone = zone_of(time_zone)
    today = now.astimezone(zone).date()
    at = datetime.combine(today, DIGEST_TIME, zone).astimezone(UTC)
    return at if at > now else datetime.combine(today + timedelta(days=1), DIGEST_TIME, zone).astimezone(UTC)
