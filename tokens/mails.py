"""Tells people that their tokens were ended, replaced or created, with a mail to those who want one at once.
`tokens/expiry/notices.py` does it for the end by time.

For a token of a service account, the people who answer for it are told (`accounts/answering.py`).
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from django.core.mail import EmailMessage
from django.utils.translation import gettext, gettext_lazy, ngettext

from accounts.models import User
from accounts.notifications.kinds import CREATED_FOR_YOU, EXPIRED_EARLY, REPLACED, Kind
from accounts.notifications.telling import name_of, store, tell
from auditlog.actions import Action
from auditlog.models import Activity
from core.http.public_address import public_url
from core.mail.kinds import MailKind, mail_kind
from core.mail.messages import mail_from
from core.models import OutgoingMail
from core.text import grouped
from tokens.models import Token
from tokens.news import news_about, readers_of

# A mail lists at most this many tokens and gives the number of the others, so that it stays small: below 30 KB
# with usual names. The portal lists all of them.
LISTED_IN_MAIL = 50
# If it says more about each token.
LISTED_WITH_DETAILS = 20


class To(NamedTuple):
    """Who reads a mail, and whose tokens it is about: the reader's own, or those of a service account."""

    reader_id: uuid.UUID
    owner_id: uuid.UUID

    @property
    def further(self) -> list[str]:
        """The last argument of the kinds of mails: the reader, if that is not the owner."""
        return [] if self.reader_id == self.owner_id else [str(self.reader_id)]


def tell_owners(kind: Kind, mail: MailKind[...], tokens: Iterable[Token]) -> None:
    """Tells each person about all tokens of an owner for whom they answer, with one mail.

    ``mail`` takes the owner's id, the tokens' ids, and the reader's id if that is another one.
    """
    for to, token_ids in _to_mail(kind, tokens).items():
        mail.put(to.reader_id, str(to.owner_id), token_ids, *to.further)


class EarlyEndMails:
    """Tells each owner about their tokens that one action ends, with one mail over any number of transactions. For a
    service account, tells each person who answers for it.

    The mails are written in the transactions that end the tokens. So everyone is told, even if the action is
    interrupted. ``besides``: who ends them, and needs no mail. ``by``: the name of what ends them, if that is neither a
    person nor the operator. ``mail`` takes the owner's id, the ids of the first tokens, how many tokens there are, and
    the reader's id if that is another one.
    """

    def __init__(
        self,
        kind: Kind = EXPIRED_EARLY,
        mail: MailKind[...] | None = None,
        *,
        besides: User | None = None,
        by: str = "",
    ) -> None:
        self._kind, self._mail, self._besides, self._by = kind, mail or expired_mail, besides, by
        self._put: dict[To, tuple[OutgoingMail, list[str]]] = {}

    def add(self, ended: Iterable[Token]) -> None:
        """Call it in the transaction that ends these tokens."""
        new: dict[To, list[str]] = {}
        for to, token_ids in _to_mail(self._kind, ended, besides=self._besides, by=self._by).items():
            row, earlier = self._put.get(to, (None, []))
            together = [*earlier, *token_ids]
            if row is not None and self._mail.change(row, *_arguments(to, together)):
                self._put[to] = (row, together)
            else:
                # This owner's first tokens, or the worker has taken the mail already: these get a mail of their own.
                new[to] = token_ids
        rows = self._mail.put_each((to.reader_id, _arguments(to, token_ids)) for to, token_ids in new.items())
        for row, (to, token_ids) in zip(rows, new.items(), strict=True):
            self._put[to] = (row, token_ids)


def _to_mail(kind: Kind, ended: Iterable[Token], besides: User | None = None, by: str = "") -> dict[To, list[str]]:
    """Stores what people are told. Returns the tokens' ids for those who want a mail at once."""
    tokens = {token.pk: token for token in ended}
    readers = readers_of(tokens.values())
    told = store(
        news
        for token in tokens.values()
        for news in news_about(
            token,
            [reader for reader in readers[token.owner_id] if reader != besides],
            kind,
            actor=name_of(token.revoked_by) or by,
            reason=token.revoke_reason,
        )
    )
    found: dict[To, list[str]] = defaultdict(list)
    for reader_id, rows in told.items():
        for row in rows:
            if row.token_id is not None:
                found[To(reader_id, tokens[row.token_id].owner_id)].append(str(row.token_id))
    return found


def tell_replaced(old: Token) -> None:
    """Call it in the transaction that replaces the token."""
    tell(news_about(old, readers_of([old])[old.owner_id], REPLACED, replaced_by=str(old.replaced_by_id)))


def tell_created(token: Token, *, actor: User) -> None:
    """Tells the owner of a token that someone else created for them. For a service account, tells everyone who answers
    for it, besides the actor. Call it in the transaction that creates it."""
    if token.owner_id == actor.pk:
        return
    readers = [reader for reader in readers_of([token])[token.owner_id] if reader != actor]
    tell(news_about(token, readers, CREATED_FOR_YOU, actor=name_of(actor)))


def _arguments(to: To, token_ids: Sequence[str]) -> list[Any]:
    return [str(to.owner_id), list(token_ids[:LISTED_IN_MAIL]), len(token_ids), *to.further]


def reader_of(owner: User, reader_id: str) -> User | None:
    """Who reads a mail about this owner's tokens. ``None`` if they are deactivated meanwhile."""
    if not reader_id:
        return owner if owner.is_active and not owner.is_service_account else None
    reader: User | None = User.objects.people().active().filter(pk=uuid.UUID(reader_id)).first()
    return reader


def about(owner: User, reader: User) -> dict[str, Any]:
    """What every mail about tokens needs: whom it greets, the service account that owns the tokens or ``None``, and the
    pages of the tokens and of the preferences."""
    context = {"person": reader, "account": None, "preferences_url": public_url("accounts:preferences")}
    if not owner.is_service_account:
        return context | {"tokens_url": public_url("tokens:token_list")}
    return context | {
        "account": owner,
        "is_orphaned": owner.is_orphaned,
        "tokens_url": public_url("tokens:service_account_tokens", owner.pk),
    }


def subject_about(owner: User, subject: str) -> str:
    """The subject, with the name of the service account that the mail is about."""
    if not owner.is_service_account:
        return subject
    return gettext("%(account)s (service account): %(subject)s") % {"account": owner.name, "subject": subject}


@mail_kind(gettext_lazy("Token reported"))
def report_mail(owner_id: str, token_ids: Sequence[str], reader_id: str = "") -> EmailMessage | None:
    """Tells an owner that these tokens were reported as leaked. The activity log contains what the reporter said."""
    owner = User.objects.select_related("organization").filter(pk=uuid.UUID(owner_id)).first()
    reader = reader_of(owner, reader_id) if owner else None
    if owner is None or reader is None:
        return None
    entries = Activity.objects.of(owner).filter(action=Action.TOKEN_REPORTED, target_id__in=token_ids)
    reported = list(entries.order_by("target_name", "target_id"))
    if not reported:
        return None
    context = about(owner, reader) | {
        "organization": owner.organization,
        "reported": [
            {
                "entry": entry,
                "token_url": public_url("tokens:token_detail", entry.target_id),
                "entry_url": public_url("auditlog:activity_detail", entry.public_id),
            }
            for entry in reported[:LISTED_WITH_DETAILS]
        ],
        "count": len(reported),
        "further": len(reported[LISTED_WITH_DETAILS:]),
        "tells_where": any(entry.details["found_at"] for entry in reported),
    }
    subject = subject_about(owner, _report_subject([entry.target_name for entry in reported]))
    return mail_from("tokens/mail/token_reported.txt", context, subject=subject, to=reader.email)


@mail_kind(gettext_lazy("Replaced token reused"))
def reuse_mail(owner_id: str, token_ids: Sequence[str], reader_id: str = "") -> EmailMessage | None:
    """Tells an owner that a replaced token tried to replace itself again, and that these tokens were ended for that."""
    owner = User.objects.select_related("organization").filter(pk=uuid.UUID(owner_id)).first()
    reader = reader_of(owner, reader_id) if owner else None
    if owner is None or reader is None:
        return None
    entries = Activity.objects.of(owner).filter(action=Action.TOKEN_ENDED_BY_REUSE, target_id__in=token_ids)
    found = list(entries.order_by("at", "id"))
    if not found:
        return None
    context = about(owner, reader) | {
        "organization": owner.organization,
        "entry": found[0],
        "count": len(found),
        "reused_url": public_url("tokens:token_detail", found[0].details["reused"]),
        "entry_url": public_url("auditlog:activity_detail", found[0].public_id),
    }
    subject = gettext("Your access token “%(name)s” was expired: someone may have a copy") % {
        "name": found[0].target_name
    }
    return mail_from("tokens/mail/token_reused.txt", context, subject=subject_about(owner, subject), to=reader.email)


@mail_kind(gettext_lazy("Token expired early"))
def expired_mail(owner_id: str, token_ids: Sequence[str], count: int, reader_id: str = "") -> EmailMessage | None:
    """Tells an owner that someone else ended ``count`` of their tokens in one action. ``token_ids`` are the first."""
    return _early_end_mail(owner_id, token_ids, count, reader_id)


@mail_kind(gettext_lazy("Token expired by a service"))
def ended_by_service_mail(
    owner_id: str, token_ids: Sequence[str], count: int, reader_id: str = ""
) -> EmailMessage | None:
    """Tells an owner that the service for which their tokens were made ended them."""
    return _early_end_mail(owner_id, token_ids, count, reader_id, is_by_service=True)


def _early_end_mail(
    owner_id: str, token_ids: Sequence[str], count: int, reader_id: str, *, is_by_service: bool = False
) -> EmailMessage | None:
    tokens, reader = _ended_tokens(owner_id, token_ids, reader_id)
    if reader is None:
        return None
    owner = tokens[0].owner
    context = about(owner, reader) | {
        "tokens": tokens,
        "count": count,
        "further": count - len(token_ids),
        "end": tokens[0],
        "service": tokens[0].service if is_by_service else None,
        # On one line, so that a reason can't look like a part of the mail.
        "reason": " ".join(tokens[0].revoke_reason.split()),
    }
    subject = subject_about(owner, _early_end_subject(tokens[0].name, count))
    return mail_from("tokens/mail/expired.txt", context, subject=subject, to=reader.email)


@mail_kind(gettext_lazy("Token expired unused"))
def unused_mail(owner_id: str, token_ids: Sequence[str], reader_id: str = "") -> EmailMessage | None:
    """Tells an owner which of their tokens the policy expired because they were unused."""
    tokens, reader = _ended_tokens(owner_id, token_ids, reader_id)
    if reader is None:
        return None
    owner = tokens[0].owner
    context = about(owner, reader) | {
        "organization": tokens[0].organization,
        "tokens": tokens[:LISTED_IN_MAIL],
        "count": len(tokens),
        "further": len(tokens[LISTED_IN_MAIL:]),
    }
    subject = subject_about(owner, _unused_subject([token.name for token in tokens]))
    return mail_from("tokens/mail/ended_unused.txt", context, subject=subject, to=reader.email)


@mail_kind(gettext_lazy("Token expired unconfirmed"))
def unconfirmed_mail(owner_id: str, token_ids: Sequence[str], count: int, reader_id: str = "") -> EmailMessage | None:
    """Tells an owner that ``count`` of their tokens expired because nobody confirmed them in a review campaign.
    ``token_ids`` are the first."""
    tokens, reader = _ended_tokens(owner_id, token_ids, reader_id)
    if reader is None:
        return None
    owner = tokens[0].owner
    context = about(owner, reader) | {
        "organization": tokens[0].organization,
        "tokens": tokens,
        "count": count,
        "further": count - len(token_ids),
    }
    subject = subject_about(owner, _unconfirmed_subject(tokens[0].name, count))
    return mail_from("tokens/mail/ended_unconfirmed.txt", context, subject=subject, to=reader.email)


@mail_kind(gettext_lazy("Token of an orphaned service account expired"))
def orphaned_mail(owner_id: str, token_ids: Sequence[str], reader_id: str = "") -> EmailMessage | None:
    """Tells Administrators which tokens the policy expired because nobody active is responsible for them."""
    tokens, reader = _ended_tokens(owner_id, token_ids, reader_id)
    if reader is None:
        return None
    owner = tokens[0].owner
    context = about(owner, reader) | {
        "organization": tokens[0].organization,
        "tokens": tokens[:LISTED_IN_MAIL],
        "further": len(tokens[LISTED_IN_MAIL:]),
        "account_url": public_url("accounts:organization_service_account_detail", owner.pk),
    }
    subject = subject_about(owner, gettext("Tokens expired because nobody active is responsible"))
    return mail_from("tokens/mail/ended_orphaned.txt", context, subject=subject, to=reader.email)


def _ended_tokens(owner_id: str, token_ids: Sequence[str], reader_id: str) -> tuple[list[Token], User | None]:
    """Those of the tokens that were ended, by name, and who reads the mail about them; ``None`` if nobody does."""
    ended = Token.objects.revoked().filter(pk__in=token_ids, owner=uuid.UUID(owner_id))
    tokens = list(ended.select_related("owner", "organization", "revoked_by").order_by("name", "pk"))
    return tokens, reader_of(tokens[0].owner, reader_id) if tokens else None


def _report_subject(names: list[str]) -> str:
    if len(names) == 1:
        return gettext("Your access token “%(name)s” was reported as leaked and has been expired") % {"name": names[0]}
    return ngettext(
        "%(count)s of your access tokens was reported as leaked and has been expired",
        "%(count)s of your access tokens were reported as leaked and have been expired",
        len(names),
    ) % {"count": len(names)}


def _early_end_subject(name: str, count: int) -> str:
    if count == 1:
        return gettext("Your access token “%(name)s” was expired early") % {"name": name}
    return ngettext(
        "Your %(count)s access token was expired early",
        "Your %(count)s access tokens were expired early",
        count,
    ) % {"count": grouped(count)}


def _unused_subject(names: list[str]) -> str:
    if len(names) == 1:
        return gettext("Your access token “%(name)s” has expired unused") % {"name": names[0]}
    return ngettext(
        "Your %(count)s access token has expired unused",
        "Your %(count)s access tokens have expired unused",
        len(names),
    ) % {"count": len(names)}


def _unconfirmed_subject(name: str, count: int) -> str:
    if count == 1:
        return gettext("Your access token “%(name)s” has expired: nobody confirmed it") % {"name": name}
    return ngettext(
        "%(count)s of your access tokens has expired: nobody confirmed it",
        "%(count)s of your access tokens have expired: nobody confirmed them",
        count,
    ) % {"count": grouped(count)}
