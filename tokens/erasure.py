"""Replaces the name and the addresses of an erased person in what people wrote about tokens (`accounts/erasure.py`)."""

from collections.abc import Iterator

from accounts.erasure import Erased, replace_in_rows
from tokens.approval.models import ApprovalRequest
from tokens.models import Token


def erase(erased: Erased) -> Iterator[int]:
    rows = Token.objects.filter(organization=erased.person.organization)
    yield from replace_in_rows(erased, rows, ["description", "revoke_reason"])
    requests = ApprovalRequest.objects.filter(organization=erased.person.organization)
    yield from replace_in_rows(erased, requests, ["reason", "decision_reason"])
