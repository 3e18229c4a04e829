"""What people answer about their tokens: confirm them, or expire them. Pages and API call these functions.

The rows of the items decide between two answers at once, and between an answer and the end of the campaign.
"""

import uuid
from collections.abc import Collection
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy

from accounts.models import User
from auditlog.actions import Action
from auditlog.open_use import token_in_use
from auditlog.record import record_each
from core.api.problems import ClosedToTokens
from core.db.locks import lock_all, lock_if_exists
from core.errors import DomainError, NotAllowed, errors_of
from tokens.descriptions import clean_description
from tokens.mails import EarlyEndMails
from tokens.replacement import with_replaced
from tokens.review.models import NOTE_MAX_LENGTH, Answer, ReviewCampaign, ReviewItem
from tokens.services import end_tokens

NOT_NEEDED = gettext_lazy("Expired in a review campaign: not needed any more.")


class AlreadyAnswered(DomainError):
    code = "already_answered"
    message = gettext_lazy(
        "Somebody has answered for one of these tokens already, or it has ended. Nothing was changed: look at the list "
        "again."
    )


def confirm(
    *, actor: User, token_ids: Collection[uuid.UUID], note: str = "", request: HttpRequest | None = None
) -> list[ReviewItem]:
    """Keeps these tokens, all or none. Raises ``NotAllowed``, ``AlreadyAnswered``, or ``ValidationError``.

    It never prolongs a token. Tokens can't answer, or a leaked one could confirm itself.
    """
    note = _clean(note)
    with transaction.atomic():
        items = _waiting_items(actor, token_ids, request)
        _answer(items, Answer.CONFIRMED, actor, note)
        record_each(
            [(actor, item.token) for item in items],
            action=Action.TOKEN_CONFIRMED,
            request=request,
            **_details(items, note),
        )
    return items


def expire(
    *, actor: User, token_ids: Collection[uuid.UUID], note: str = "", request: HttpRequest | None = None
) -> list[ReviewItem]:
    """Ends these tokens, and those that they replaced; all or none. The others who answer for them are told.

    Raises what `confirm` raises.
    """
    note = _clean(note)
    with transaction.atomic():
        items = _waiting_items(actor, token_ids, request)
        _answer(items, Answer.EXPIRED, actor, note)
        ended = end_tokens(
            with_replaced(items),
            action=Action.TOKEN_ENDED_IN_REVIEW,
            ended_by=actor,
            reason=note or str(NOT_NEEDED),
            request=request,
            **_details(items, ""),
        )
        if not {token.pk for token in ended}.issuperset(item.token_id for item in items):
            # Somebody else ended one of them since its item was locked.
            raise AlreadyAnswered
        EarlyEndMails(besides=actor).add(ended)
    return items


def _waiting_items(actor: User, token_ids: Collection[uuid.UUID], request: HttpRequest | None) -> list[ReviewItem]:
    """The items of these tokens, locked and waiting for an answer. Locks their campaign before: it is not canceled
    meanwhile, and its worker waits."""
    if token_in_use(request) is not None:
        raise ClosedToTokens
    person = User.objects.as_now(actor)
    if person is None or not person.is_active:
        raise NotAllowed
    found = list(ReviewItem.objects.asked_of(person).filter(token__in=token_ids).values_list("pk", "campaign_id"))
    if not found or len(found) != len(set(token_ids)):
        raise NotAllowed
    campaign = lock_if_exists(ReviewCampaign.objects.open(), found[0][1])
    waiting = ReviewItem.objects.waiting().select_related("token__owner", "token__organization", "campaign")
    items = lock_all(waiting.filter(pk__in=[pk for pk, _ in found], token__in=token_ids))
    if campaign is None or len(items) != len(found):
        raise AlreadyAnswered
    return items


def _answer(items: list[ReviewItem], answer: Answer, actor: User, note: str) -> None:
    values = {
        "answer": answer,
        "answered_by": actor,
        "answered_by_email": actor.email,
        "answered_at": timezone.now(),
        "note": note,
    }
    ReviewItem.objects.filter(pk__in=[item.pk for item in items]).update(**values)
    for item in items:
        for name, value in values.items():
            setattr(item, name, value)


def _details(items: list[ReviewItem], note: str) -> dict[str, Any]:
    return {"campaign": str(items[0].campaign_id), "note": note}


def _clean(raw: str) -> str:
    with errors_of("note"):
        return clean_description(raw, most=NOTE_MAX_LENGTH)
