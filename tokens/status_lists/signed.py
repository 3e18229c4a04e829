"""The signed list of the tokens that can't be used now (draft-ietf-oauth-status-list).

The bit of a token is 1 if the portal would refuse it at this moment for a reason that its claims don't show: it was
expired early, its owner was deactivated or may not use the service any more, the policy blocks it or limits tokens to
networks (which the service can't check), or the service is switched off. A token past the end in its claims needs no
bit, so a list stays short.
"""

import threading
import time
import uuid
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any

import jwt as pyjwt
from django.conf import settings
from django.db.models import DateTimeField, Q
from django.utils import timezone
from jwt.utils import base64url_encode

from accounts.models import Organization
from accounts.services_for_tokens import services_for_tokens
from core.db.expressions import Unindexed
from tokens.keys.ring import key_ring
from tokens.models import Token
from tokens.policy import rules
from tokens.status_lists.models import StatusList

TYPE = "statuslist+jwt"
CONTENT_TYPE = f"application/{TYPE}"
# After this time, services fetch the list again.
TTL = timedelta(seconds=10)
# Without the portal, services can go on with the last list for this long.
LIFETIME = timedelta(minutes=10)
# A process answers several requests with the same list for this long. So an ended token is in the list a second later.
KEPT_SECONDS = 1.0
KEPT_LISTS = 32
INVALID = 1
# The policy of an organization allows no longer lifetime.
LONGEST_LIFETIME = timedelta(days=366)


def signed_list(list_id: uuid.UUID) -> str | None:
    """The list as a signed JWT, at most a second old. ``None`` if there is none with this id."""
    found = StatusList.objects.select_related("service").filter(pk=list_id).first()
    return None if found is None else _answers.of(found)


@dataclass
class _Answer:
    """The last signed list. The thread that holds the lock renews it, and others wait for that."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    made_at: float | None = None
    text: str = ""


class _Answers:
    """The last answers of this process, the newest ones at the end."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._by_list: OrderedDict[uuid.UUID, _Answer] = OrderedDict()

    def of(self, status_list: StatusList) -> str:
        asked_at = time.monotonic()
        answer = self._answer(status_list.pk)
        with answer.lock:
            if answer.made_at is None or answer.made_at < asked_at - KEPT_SECONDS:
                started_at = time.monotonic()
                answer.text = sign(status_list)
                answer.made_at = started_at
            return answer.text

    def forget(self) -> None:
        with self._mutex:
            self._by_list.clear()

    def _answer(self, list_id: uuid.UUID) -> _Answer:
        with self._mutex:
            answer = self._by_list.setdefault(list_id, _Answer())
            self._by_list.move_to_end(list_id)
            if len(self._by_list) > KEPT_LISTS:
                self._by_list.popitem(last=False)
        return answer


_answers = _Answers()
forget_answers = _answers.forget


def sign(status_list: StatusList) -> str:
    """The list as it is now, with the key that signs tokens. Its type keeps it from being taken for one."""
    now, key = timezone.now(), key_ring().current
    payload = {
        "iss": settings.TOKEN_ISSUER,
        "sub": status_list.uri,
        "iat": int(now.timestamp()),
        "exp": int((now + LIFETIME).timestamp()),
        "ttl": TTL // timedelta(seconds=1),
        "status_list": encoded(bits_of(status_list, now)),
    }
    return pyjwt.encode(payload, key.private_key, algorithm=key.algorithm, headers={"typ": TYPE, "kid": key.id})


def encoded(bits: bytes) -> dict[str, Any]:
    return {"bits": 1, "lst": base64url_encode(zlib.compress(bits, 9)).decode()}


def bits_of(status_list: StatusList, at: datetime) -> bytes:
    """One bit for each index."""
    policy = Organization.objects.get(services=status_list.service_id)
    if policy.token_networks or not status_list.service.is_enabled:
        return b"\xff" * (status_list.size // 8)
    return packed(_invalid_indexes(status_list, policy, at), status_list.size)


def packed(indexes: Iterable[int], size: int) -> bytes:
    """Bits of which these are 1. Index 0 is the least significant bit of the first byte."""
    bits = bytearray(size // 8)
    for index in indexes:
        bits[index >> 3] |= INVALID << (index & 7)
    return bytes(bits)


def _invalid_indexes(status_list: StatusList, policy: Organization, at: datetime) -> Iterable[int]:
    people = services_for_tokens().people_who_may_use(status_list.service_id)
    refused = Q(revoked_at__isnull=False) | Q(revealed_at__isnull=True) | ~Q(owner__in=people.order_by().values("pk"))
    # Policies name the portal's own scopes, and none of a service.
    blocked = reduce(or_, (rule.query(policy, at) for rule in rules.RULES if rule is not rules.SCOPE))
    # Without `Unindexed`, SQLite would read the tokens of everyone by their end.
    rows = (
        Token.objects.filter(status_list=status_list.pk)
        .alias(_end=Unindexed("expires_at", output_field=DateTimeField()))
        .order_by()
    )
    found = rows.filter(Q(_end__gt=at) & (refused | blocked) | Q(_end__lte=at) & _may_end_before_claim(at))
    indexes = found.values_list("status_index", flat=True).iterator(chunk_size=10_000)
    return (index for index in indexes if index is not None)


def ended_before_claim(at: datetime) -> Q:
    """Ended tokens whose claim ``exp`` may still be to come, because replacing a token can make its end earlier."""
    return Q(expires_at__lte=at) & _may_end_before_claim(at)


def _may_end_before_claim(at: datetime) -> Q:
    return Q(replaced_at__isnull=False, created_at__gt=at - LONGEST_LIFETIME)
