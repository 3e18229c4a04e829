"""Replaces the name and the addresses of an erased person in what people wrote about tokens (`accounts/erasure.py`)."""

from collections.abc import Iterator

from accounts.erasure import Erased, replace_in_rows
from accounts.models import User
from core.db.sqlite_turns import job_transaction
from tokens.approval.models import ApprovalRequest
from tokens.models import Token
from tokens.review.models import ReviewItem


def erase(erased: Erased) -> Iterator[int]:
    rows = Token.objects.filter(organization=erased.person.organization)
    yield from replace_in_rows(erased, rows, ["description", "revoke_reason"])
    requests = ApprovalRequest.objects.filter(organization=erased.person.organization)
    yield from replace_in_rows(erased, requests, ["reason", "decision_reason"])
    items = ReviewItem.objects.filter(campaign__organization=erased.person.organization)
    yield from _in_records(erased.person)
    yield from replace_in_rows(erased, items, ["owner_name", "owner_email", "answered_by_email", "note"])


def _in_records(person: User) -> Iterator[int]:
    """Replaces what items of review campaigns copied, also a name of one word."""
    owned = ReviewItem.objects.filter(owner=person).exclude(owner_email=person.email, owner_name=person.name)
    answered = ReviewItem.objects.filter(answered_by=person).exclude(answered_by_email=person.email)
    with job_transaction():
        changed = owned.update(owner_email=person.email, owner_name=person.name)
        changed += answered.update(answered_by_email=person.email)
    yield changed
