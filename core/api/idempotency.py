"""`Idempotency-Key`: a client that retries a POST gets the first answer again, and nothing is done twice.

draft-ietf-httpapi-idempotency-key-header. A key belongs to a person and is valid for 24 hours. Its row is written in
the transaction of the change and of its log entry, before the change: if two requests arrive at the same time, the
database makes the second wait until the first has ended. Only answers below 400 are stored. Other requests changed
nothing, so the client can try the same key again.

Stored answers are encrypted with a key that is not in the database. An answer that shows a secret is never stored.
"""

import hashlib
import json
import re
import threading
import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone
from django.utils.crypto import salted_hmac
from rest_framework.exceptions import APIException
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from core.api.operations import Operation
from core.api.problems import Conflict, IdempotencyKeyReused, Problem
from core.encryption import SecretUnreadable, ShortLivedBox
from core.models import KeptAnswer

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"
KEPT_FOR = timedelta(hours=24)
MAX_LENGTH = 255
# Visible ASCII without quotation marks, backslashes and commas: a server joins repeated headers with a comma.
PATTERN = rf"[!#-+\--\[\]-~]{{1,{MAX_LENGTH}}}"
_KEY = re.compile(rf'{PATTERN}|"{PATTERN}"')


_box = ShortLivedBox("kept answers")


class Replay(Exception):
    """The request was carried out before; ``response`` is the answer to it."""

    def __init__(self, response: Response) -> None:
        self.response = response
        super().__init__()


@dataclass(frozen=True)
class Claim:
    """A key that this request is the first to use. ``keep`` is called before the transaction ends."""

    row: KeptAnswer
    shows_secret: bool

    def keep(self, response: Response) -> None:
        body = "" if self.shows_secret or response.data is None else JSONRenderer().render(response.data).decode()
        encrypted = _box.encrypt(body, _context(self.row)) if body else ""
        KeptAnswer.objects.filter(pk=self.row.pk).update(status=response.status_code, body=encrypted)


def takes_key(method: str, operation: Operation | None) -> bool:
    """Whether a key is used: for every POST that changes something for a person. Other methods are safe to repeat."""
    if method != "POST" or operation is None:
        return False
    return not (operation.only_reads or operation.is_public or operation.is_for_services)


def key_of(request: Request) -> str | None:
    """The key as it was sent, with or without the quotation marks of a Structured Field. Raises ``Problem``."""
    sent = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if sent is None:
        return None
    if not _KEY.fullmatch(sent):
        raise Problem(
            f"{HEADER} must have 1 to {MAX_LENGTH} visible ASCII characters, without quotation marks, backslashes and "
            "commas. A UUID is a good key."
        )
    return str(sent).strip('"')


def claim(request: Request, owner_id: uuid.UUID, key: str, operation: Operation) -> Claim:
    """Call this in a transaction. Raises ``Replay``, ``IdempotencyKeyReused`` or ``Conflict``."""
    row = KeptAnswer(
        owner_id=owner_id,
        key_digest=_digest(key),
        fingerprint=_fingerprint(request, getattr(request.user, "limited_by_token", None)),
    )
    of_key = KeptAnswer.objects.filter(owner_id=row.owner_id, key_digest=row.key_digest)
    of_key.filter(created_at__lte=timezone.now() - KEPT_FOR).delete()
    KeptAnswer.objects.bulk_create([row], ignore_conflicts=True)
    found = of_key.first()
    if found is None or (found.status is None and found.pk != row.pk):
        raise Conflict("Another request with this key is still in progress. Try again in a moment.")
    if found.pk == row.pk:
        return Claim(row, operation.shows_secret)
    if found.fingerprint != row.fingerprint:
        raise IdempotencyKeyReused
    raise Replay(_answer_again(found, operation))


def was_carried_out(request: Request, owner_id: uuid.UUID, limited_by_token: uuid.UUID | None) -> bool:
    """Whether the same request, with the same key, was carried out for this person. It changes nothing.

    For a request whose token is refused, so it has no ``user``. ``limited_by_token`` is what that would have.
    """
    try:
        key = key_of(request)
        fingerprint = _fingerprint(request, limited_by_token)
    except APIException:
        return False
    if key is None:
        return False
    since = timezone.now() - KEPT_FOR
    kept = KeptAnswer.objects.filter(owner_id=owner_id, key_digest=_digest(key), created_at__gt=since)
    return bool(kept.filter(fingerprint=fingerprint, status__isnull=False).exists())


def forget_old(stopping: threading.Event) -> None:
    """Removes stored answers after 24 hours, in one statement."""
    KeptAnswer.objects.filter(created_at__lte=timezone.now() - KEPT_FOR).delete()


def _answer_again(kept: KeptAnswer, operation: Operation) -> Response:
    if operation.shows_secret:
        raise Conflict(
            "This request was carried out before. Its answer showed a secret, and a secret is shown only once. If you "
            "do not have it, expire what was created and send the request with a new key.",
            "already_shown",
        )
    try:
        data = json.loads(_box.decrypt(kept.body, _context(kept))) if kept.body else None
    except SecretUnreadable:
        raise Conflict("This request was carried out before. Its answer is no longer available.") from None
    return Response(data, status=kept.status, headers={REPLAYED_HEADER: "true"})


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _context(row: KeptAnswer) -> tuple[str, ...]:
    return str(row.owner_id), row.key_digest, row.fingerprint


def _fingerprint(request: Request, limited_by: uuid.UUID | None) -> str:
    """A keyed digest of the address and of the body as JSON. Ids in the address can be in upper or lower case.

    Bodies can have secrets, such as the password of a step. Without the key, a reader of the table could guess them.
    """
    body = json.dumps(request.data, sort_keys=True)
    requested = f"{request.method} {request.path.lower()}\n{body}"
    if limited_by is not None:
        # The kept answer can be about a pipeline that this token does not reach.
        requested = f"{limited_by} {requested}"
    return salted_hmac("opsera_portal.idempotency", requested, algorithm="sha256").hexdigest()
