"""Tells people that their tokens expire soon or have expired, with a mail to those who want one.

A notice is due 30, 7 and 1 days before the end, and when the token has ended. Each is sent once, and only the latest
one that applies, so that nobody gets three of them after an outage. A token does not get a notice for a time before it
was created.
"""

import threading
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple

from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext, gettext_lazy, ngettext

from accounts.models import User
from accounts.notifications.kinds import END_NEAR
from accounts.notifications.telling import store
from core.db.expressions import LastsLonger
from core.db.locks import lock_if_exists
from core.http.public_address import public_url
from core.mail.kinds import mail_kind
from core.mail.messages import mail_from
from core.reading import local
from tokens.approval.asking import needs_approval_first, new_one_waits
from tokens.mails import LISTED_WITH_DETAILS, To, about, reader_of, subject_about
from tokens.models import Token
from tokens.news import news_about, readers_of
from tokens.querysets import EXPIRES_SOON, TokenQuerySet, expiring_soon, started
from tokens.uses import HAS_USES_LEFT

EVERY = timedelta(hours=1)

# A notice is identified by its number of days before the end. This one is for a token that has ended.
ENDED = 0
# For each notice, between how many days before the end it is the latest one that applies. A week after the end, no
# notice applies.
_APPLIES = {ENDED: (-7, 0), 1: (0, 1), 7: (1, 7), 30: (7, 30)}


class Notice(NamedTuple):
    token: Token
    days: int


def applies(notice: int, *, at: datetime) -> Q:
    """The tokens for which this notice is the latest one that applies, sent or not. None for replaced tokens,
    those of exchanges and those that are used up, whose end is expected. None for tokens that have not started.

    Notices of the last week are sent only when pages say that the token expires soon: a token for 8 days gets no notice
    on its second day.
    """
    after, until = (at + timedelta(days=days) for days in _APPLIES[notice])
    is_longer_lived = Q(LastsLonger("created_at", "expires_at", days=notice))
    was_in_use = Q(revealed_at__isnull=False, revoked_at__isnull=True, replaced_at__isnull=True, exchange__isnull=True)
    in_time = Q(expires_at__gt=after, expires_at__lte=until) & is_longer_lived & was_in_use & HAS_USES_LEFT
    in_time &= started(at)
    return in_time & expiring_soon(at) if ENDED < notice <= EXPIRES_SOON.days else in_time


def due(notice: int, *, at: datetime) -> TokenQuerySet:
    """The tokens for which this notice applies and neither it nor a later one was given. Their owner is active.

    The index on ``expires_at`` finds the tokens of these few days.
    """
    return Token.objects.filter(
        applies(notice, at=at),
        Q(expiry_notice_days__isnull=True) | Q(expiry_notice_days__gt=notice),
        owner__is_active=True,
        owner__joined_at__isnull=False,
    )


def warnings_about(own: TokenQuerySet) -> dict[str, Any]:
    """Those of a person's tokens that pages warn about, for tokens/includes/alerts.html: active ones that expire soon,
    with a mail or without, and replaced ones that are still used. One query."""
    found = list(own.to_warn_of().order_by("expires_at", "id").select_related("organization", "owner"))
    ending = [token for token in found if token.replaced_at is None]
    in_use = [token for token in found if token.replaced_at is not None and token.last_used_at is not None]
    return {
        "ending": ending,
        "ask_first": asking_first(ending),
        "replaced_in_use": sorted(in_use, key=attrgetter("last_used_at"), reverse=True),
    }


def asking_first(tokens: Iterable[Token]) -> set[uuid.UUID]:
    """Those that can't be replaced or replace themselves, because a token like them needs approval now."""
    return {token.pk for token in tokens if needs_approval_first(token)}


def put_due(stopping: threading.Event) -> None:
    """Tells each person for whom a notice is due, in the way that they chose."""
    for owner_id in _owners_to_tell():
        if stopping.is_set():
            return
        tell(owner_id)


def tell(owner_id: uuid.UUID) -> None:
    """Tells this owner about all of their tokens for which a notice is due, with one mail if they want one at once. For
    a service account, tells each person who answers for it.

    The transaction that puts the mail also saves which notices were given.
    """
    with transaction.atomic():
        # If two workers run at once, the second one waits here and then finds nothing due.
        owner = lock_if_exists(User.objects.all(), owner_id)
        due_notices = _due_to(owner) if owner else []
        if owner is None or not due_notices:
            return
        for token, notice in due_notices:
            Token.objects.filter(pk=token.pk).update(expiry_notice_days=notice)
        told = [(str(token.pk), notice) for token, notice in due_notices]
        readers = readers_of(token for token, _ in due_notices)[owner_id]
        news = (
            item
            for token, notice in due_notices
            for item in news_about(
                token, readers, END_NEAR, once=notice, expires_at=token.expires_at.isoformat(), days=notice
            )
        )
        for reader_id in store(news):
            expiry_mail.put(reader_id, str(owner_id), told, *To(reader_id, owner_id).further)


@mail_kind(gettext_lazy("Tokens expire soon"))
def expiry_mail(owner_id: str, due_notices: Sequence[tuple[str, int]], reader_id: str = "") -> EmailMessage | None:
    """Leaves out tokens that were expired or replaced since, and notices whose token has reached its end since."""
    owner = User.objects.active().select_related("organization").filter(pk=uuid.UUID(owner_id)).first()
    reader = reader_of(owner, reader_id) if owner else None
    if owner is None or reader is None or not reader.wants_expiry_mails:
        return None
    notices = {uuid.UUID(token_id): notice for token_id, notice in due_notices}
    at = timezone.now()
    tokens = Token.objects.owned_by(owner).filter(pk__in=notices).for_token_table().with_pipelines(seen_by=owner)
    still = [
        Notice(token, notices[token.pk])
        for token in tokens.order_by("expires_at", "id")
        if token.revoked_at is None
        and token.replaced_at is None
        and (notices[token.pk] == ENDED or token.expires_at > at)
    ]
    return _mail(owner, reader, still) if still else None


def _owners_to_tell() -> set[uuid.UUID]:
    at = timezone.now()
    return {
        owner_id
        for notice in _APPLIES
        for owner_id in due(notice, at=at).order_by().values_list("owner_id", flat=True).distinct()
    }


def _due_to(owner: User) -> list[Notice]:
    at = timezone.now()
    return [
        Notice(token, notice)
        for notice in _APPLIES
        for token in due(notice, at=at).owned_by(owner).for_token_table().order_by("expires_at", "id")
    ]


def _mail(owner: User, reader: User, due_notices: list[Notice]) -> EmailMessage:
    listed = due_notices[:LISTED_WITH_DETAILS]
    context = about(owner, reader) | {
        "organization": owner.organization,
        "ended": [token for token, notice in listed if notice == ENDED],
        "ending": [token for token, notice in listed if notice != ENDED],
        "ask_first": asking_first(token for token, _ in listed),
        "new_waits": {token.pk for token, _ in listed if new_one_waits(token)},
        "further": len(due_notices) - len(listed),
        "pages_url": public_url("tokens:token_list"),
    }
    subject = subject_about(owner, _subject(due_notices))
    return mail_from("tokens/mail/expiry_notice.txt", context, subject=subject, to=reader.email)


def _subject(due_notices: list[Notice]) -> str:
    if len(due_notices) > 1:
        return ngettext(
            "%(count)s of your access tokens expires soon or has expired",
            "%(count)s of your access tokens expire soon or have expired",
            len(due_notices),
        ) % {"count": len(due_notices)}
    token, notice = due_notices[0]
    if notice == ENDED:
        return gettext("Your access token “%(name)s” has expired") % {"name": token.name}
    return gettext("Your access token “%(name)s” expires on %(date)s") % {
        "name": token.name,
        # Translators: the format of a date such as 3 May 2026, for Django's filter `date`.
        "date": date_format(local(token.expires_at), gettext("j F Y")),
    }
