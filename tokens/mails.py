"""Tells the owners of tokens that others ended, with a mail to those who want one at once. `tokens/expiry/notices.py`
does it for the end by time."""

import uuid
from collections.abc import Iterable, Sequence

from django.core.mail import EmailMessage
from django.utils.translation import gettext, gettext_lazy, ngettext

from accounts.models import User
from accounts.notifications.kinds import CREATED_FOR_YOU, EXPIRED_EARLY, REPLACED, Kind
from accounts.notifications.telling import News, name_of, store, tell
from auditlog.actions import Action
from auditlog.models import Activity
from core.http.public_address import public_url
from core.mail.kinds import MailKind, mail_kind
from core.mail.messages import mail_from
from core.models import OutgoingMail
from core.text import grouped
from tokens.models import Token

# A mail lists at most this many tokens and gives the number of the others, so that it stays small: below 30 KB
# with usual names. The portal lists all of them.
LISTED_IN_MAIL = 50
# If it says more about each token.
LISTED_WITH_DETAILS = 20


def tell_owners(kind: Kind, mail: MailKind[[str, Sequence[str]]], tokens: Iterable[Token]) -> None:
    """Tells each owner about all of their tokens, with one mail. ``mail`` takes the owner's id and the tokens' ids."""
    for owner_id, token_ids in _to_mail(kind, tokens).items():
        mail.put(owner_id, str(owner_id), token_ids)


class EarlyEndMails:
    """Tells each owner about their tokens that one action ends, with one mail over any number of transactions.

    The mails are written in the transactions that end the tokens. So everyone is told, even if the action is
    interrupted.
    """

    def __init__(self) -> None:
        self._put: dict[uuid.UUID, tuple[OutgoingMail, list[str]]] = {}

    def add(self, ended: Iterable[Token]) -> None:
        """Call it in the transaction that ends these tokens."""
        new: dict[uuid.UUID, list[str]] = {}
        for owner_id, token_ids in _to_mail(EXPIRED_EARLY, ended).items():
            row, earlier = self._put.get(owner_id, (None, []))
            together = [*earlier, *token_ids]
            if row is not None and expired_mail.change(row, *_arguments(owner_id, together)):
                self._put[owner_id] = (row, together)
            else:
                # This owner's first tokens, or the worker has taken the mail already: these get a mail of their own.
                new[owner_id] = token_ids
        rows = expired_mail.put_each((owner_id, _arguments(owner_id, token_ids)) for owner_id, token_ids in new.items())
        for row, (owner_id, token_ids) in zip(rows, new.items(), strict=True):
            self._put[owner_id] = (row, token_ids)


def _to_mail(kind: Kind, ended: Iterable[Token]) -> dict[uuid.UUID, list[str]]:
    """Stores what the owners are told. Returns the tokens' ids for those who want a mail at once."""
    told = store(_about(token, kind, actor=name_of(token.revoked_by), reason=token.revoke_reason) for token in ended)
    return {owner_id: [str(row.token_id) for row in rows] for owner_id, rows in told.items()}


def tell_replaced(old: Token) -> None:
    """Call it in the transaction that replaces the token."""
    tell([_about(old, REPLACED, replaced_by=str(old.replaced_by_id))])


def tell_created(token: Token, *, actor: User) -> None:
    """Tells the owner of a token that someone else created for them. Call it in the transaction that creates it."""
    if token.owner_id != actor.pk:
        tell([_about(token, CREATED_FOR_YOU, actor=name_of(actor))])


def _about(token: Token, kind: Kind, **details: str) -> News:
    return News(
        kind=kind,
        person_id=token.owner_id,
        once=str(token.pk),
        token_id=token.pk,
        token_name=token.name,
        details=details,
    )


def _arguments(owner_id: uuid.UUID, token_ids: Sequence[str]) -> tuple[str, list[str], int]:
    return str(owner_id), list(token_ids[:LISTED_IN_MAIL]), len(token_ids)


@mail_kind(gettext_lazy("Token reported"))
def report_mail(owner_id: str, token_ids: Sequence[str]) -> EmailMessage | None:
    """Tells an owner that these tokens were reported as leaked. The activity log contains what the reporter said."""
    owner = User.objects.active().select_related("organization").filter(pk=uuid.UUID(owner_id)).first()
    if owner is None:
        return None
    entries = Activity.objects.of(owner).filter(action=Action.TOKEN_REPORTED, target_id__in=token_ids)
    reported = list(entries.order_by("target_name", "target_id"))
    if not reported:
        return None
    context = {
        "person": owner,
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
        "tokens_url": public_url("tokens:token_list"),
        "preferences_url": public_url("accounts:preferences"),
    }
    subject = _report_subject([entry.target_name for entry in reported])
    return mail_from("tokens/mail/token_reported.txt", context, subject=subject, to=owner.email)


@mail_kind(gettext_lazy("Token expired early"))
def expired_mail(owner_id: str, token_ids: Sequence[str], count: int) -> EmailMessage | None:
    """Tells an owner that someone else ended ``count`` of their tokens in one action. ``token_ids`` are the first."""
    listed = Token.objects.revoked().filter(pk__in=token_ids, owner=uuid.UUID(owner_id), owner__is_active=True)
    tokens = list(listed.select_related("owner", "revoked_by").order_by("name", "pk"))
    if not tokens:
        return None
    owner = tokens[0].owner
    context = {
        "person": owner,
        "tokens": tokens,
        "count": count,
        "further": count - len(token_ids),
        "end": tokens[0],
        # On one line, so that a reason can't look like a part of the mail.
        "reason": " ".join(tokens[0].revoke_reason.split()),
        "url": public_url("tokens:token_list"),
        "preferences_url": public_url("accounts:preferences"),
    }
    subject = _early_end_subject(tokens[0].name, count)
    return mail_from("tokens/mail/expired.txt", context, subject=subject, to=owner.email)


@mail_kind(gettext_lazy("Token expired unused"))
def unused_mail(owner_id: str, token_ids: Sequence[str]) -> EmailMessage | None:
    """Tells an owner which of their tokens the policy expired because they were unused."""
    ended = Token.objects.revoked().filter(pk__in=token_ids, owner=uuid.UUID(owner_id), owner__is_active=True)
    tokens = list(ended.select_related("owner", "organization").order_by("name", "pk"))
    if not tokens:
        return None
    owner = tokens[0].owner
    context = {
        "person": owner,
        "organization": tokens[0].organization,
        "tokens": tokens[:LISTED_IN_MAIL],
        "count": len(tokens),
        "further": len(tokens[LISTED_IN_MAIL:]),
        "url": public_url("tokens:token_list"),
        "preferences_url": public_url("accounts:preferences"),
    }
    subject = _unused_subject([token.name for token in tokens])
    return mail_from("tokens/mail/ended_unused.txt", context, subject=subject, to=owner.email)


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
