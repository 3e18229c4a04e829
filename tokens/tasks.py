"""What the worker does for this app."""

import uuid
from collections.abc import Mapping, Sequence
from typing import ParamSpec

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django_tasks import task
from django_tasks.base import Task

from accounts.models import User
from auditlog.actions import Action
from auditlog.models import Activity
from tokens.models import Token

# Beyond these a mail says how many more there are: whoever has so many looks at the list in the portal.
LISTED_IN_MAIL = 100

P = ParamSpec("P")


def enqueue_after_commit(send: Task[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Hands it to the worker once what it tells is committed. Robust: a queue that is away undoes nothing.

    By a function and not by ``functools.partial``, which has no name for Django to log where the queue is away.
    """
    transaction.on_commit(lambda: send.enqueue(*args, **kwargs), robust=True)


def tell_of_early_end(ended: Mapping[uuid.UUID, Sequence[uuid.UUID]]) -> None:
    """Has a mail sent to each owner about all of these tokens of theirs, once it is committed that they have ended.

    In one transaction: where the queue is a table, a thousand commits would hold up the answer for seconds.
    """

    def enqueue() -> None:
        with transaction.atomic():
            for owner_id, token_ids in ended.items():
                listed = [str(token_id) for token_id in token_ids[:LISTED_IN_MAIL]]
                send_expired_mail.enqueue(str(owner_id), listed, len(token_ids))

    transaction.on_commit(enqueue, robust=True)


@task()
def send_report_mail(owner_id: str, token_ids: Sequence[str]) -> None:
    """Tells an owner that these tokens of theirs were reported as leaked. What was said of it stands in the log."""
    owner = User.objects.active().select_related("organization").filter(pk=uuid.UUID(owner_id)).first()
    if owner is None:
        return
    entries = Activity.objects.of(owner).filter(action=Action.TOKEN_REPORTED, target_id__in=token_ids)
    reported = list(entries.order_by("target_name", "target_id"))
    if not reported:
        return
    context = {
        "person": owner,
        "organization": owner.organization,
        "reported": [
            {
                "entry": entry,
                "token_url": _address("tokens:token_detail", entry.target_id),
                "entry_url": _address("auditlog:activity_detail", entry.public_id),
            }
            for entry in reported
        ],
        "tells_where": any(entry.details["found_at"] for entry in reported),
        "tokens_url": _address("tokens:token_list"),
    }
    EmailMessage(
        subject=" ".join(_report_subject([entry.target_name for entry in reported]).split()),
        body=render_to_string("tokens/mail/token_reported.txt", context),
        to=[owner.email],
    ).send()


@task()
def send_expired_mail(owner_id: str, token_ids: Sequence[str], count: int) -> None:
    """Tells an owner that others ended tokens of theirs: the ``token_ids``, of ``count`` in all, at one stroke."""
    listed = Token.objects.revoked().filter(pk__in=token_ids, owner=uuid.UUID(owner_id), owner__is_active=True)
    tokens = list(listed.select_related("owner", "revoked_by").order_by("name", "pk"))
    if not tokens:
        return
    owner = tokens[0].owner
    what = f"access token “{tokens[0].name}” was" if count == 1 else f"{count:,} access tokens were"
    context = {
        "person": owner,
        "tokens": tokens,
        "count": count,
        "further": count - len(token_ids),
        "end": tokens[0],
        # On one line, so that a reason cannot pass for a part of the mail.
        "reason": " ".join(tokens[0].revoke_reason.split()),
        "url": _address("tokens:token_list"),
    }
    EmailMessage(
        subject=" ".join(f"Your {what} expired early".split()),
        body=render_to_string("tokens/mail/expired.txt", context),
        to=[owner.email],
    ).send()


@task()
def send_unused_mail(owner_id: str, token_ids: Sequence[str]) -> None:
    """Tells an owner which tokens of theirs the policy ended because nobody used them."""
    ended = Token.objects.revoked().filter(pk__in=token_ids, owner=uuid.UUID(owner_id), owner__is_active=True)
    tokens = list(ended.select_related("owner", "organization").order_by("name", "pk"))
    if not tokens:
        return
    owner = tokens[0].owner
    what = f"access token “{tokens[0].name}” has" if len(tokens) == 1 else f"{len(tokens)} access tokens have"
    context = {
        "person": owner,
        "organization": tokens[0].organization,
        "tokens": tokens,
        "url": _address("tokens:token_list"),
    }
    EmailMessage(
        subject=" ".join(f"Your {what} ended unused".split()),
        body=render_to_string("tokens/mail/ended_unused.txt", context),
        to=[owner.email],
    ).send()


def _report_subject(names: list[str]) -> str:
    if len(names) > 1:
        return f"{len(names)} of your access tokens were reported as leaked and are expired"
    return f"Your access token “{names[0]}” was reported as leaked and is expired"


def _address(view_name: str, *args: object) -> str:
    return f"{settings.PORTAL_URL}{reverse(view_name, args=args)}"
