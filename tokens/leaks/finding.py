"""Tokens that were found where they should not be: how to find them in a text, whose they are, and how they end.

A found token passes through this module and is kept nowhere: not in a row, a log line, an error or an answer.
"""

import logging
import re
import uuid
from base64 import urlsafe_b64encode
from collections import defaultdict
from collections.abc import Iterable
from hashlib import sha512

from django.db import transaction
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from accounts.models import User
from auditlog.actions import Action
from auditlog.models import TokenUse
from auditlog.querysets import TokenUseQuerySet
from auditlog.record import record
from core.http.request_context import printable, without_tokens
from core.rate_limits import Limit
from tokens import jwt
from tokens.mails import report_mail
from tokens.models import Token
from tokens.services import end_tokens
from tokens.states import TokenState

logger = logging.getLogger(__name__)

# Finds the tokens of every installation of the portal, signed with either algorithm, and no other JWT. Header and
# payload are JSON that `tokens.jwt` always writes in the same order, so their beginnings and ends are constant:
#   {"alg":"ES256","kid":"      or RS256
#   ","typ":"at+jwt"}           after a thumbprint (43 characters), or after "k-" and its other 42 characters
#   {"iss":"http
#   personal_access"}           which base64 spells in three ways, by where in a group of three bytes it begins
# An ES256 signature has exactly 86 characters, so that what is glued to it is left alone; an RS256 signature has at
# least 342. Without look-around, back references and repetitions beyond 1000, as RE2 and Hyperscan want it. No part
# can match what the next one does, and the dots part the runs: the search takes time in proportion to the text.
PATTERN = (
    r"eyJhbGciOiJ[FS]UzI1NiIsImtpZCI6I"
    r"(?:[i-n][A-Za-z0-9_-]{57}iLCJ0eXAiOiJhdCtqd3QifQ|mst[A-Za-z0-9_-]{56}IiwidHlwIjoiYXQrand0In0)"
    r"\.eyJpc3MiOiJodHRw[A-Za-z0-9_-]{200,}"
    r"(?:BlcnNvbmFsX2FjY2VzcyJ9|wZXJzb25hbF9hY2Nlc3MifQ|cGVyc29uYWxfYWNjZXNzIn0)"
    r"\.[A-Za-z0-9_-]{86}(?:[A-Za-z0-9_-]{256,})?"
)
_TOKEN = re.compile(PATTERN)

MAX_PASTED_LENGTH = 20_000
MAX_REPORTED = 100
MAX_URL_LENGTH = 500
LAST_USES = 5

# For each person, and for each address.
LOOK_UPS = Limit("token-look-up", amount=30, seconds=60)
REPORTS = Limit("token-report", amount=30, seconds=60)

# No token has this id. It is looked for where there is none to look for, so that both cost the same.
_NOBODYS = uuid.UUID(int=0)

# What the state of a found token means to the person who found it.
MEANINGS = {
    TokenState.ACTIVE: "It works: whoever has it acts as its owner. If it was found where it should not be, expire it.",
    TokenState.PENDING: "It opens nothing: it was made, and never shown to its owner. Nobody should have it.",
    TokenState.EXPIRED: "It opens nothing: it had its end. Every use is refused with 401.",
    TokenState.REVOKED: "It opens nothing: it was expired early. Every use is refused with 401.",
    TokenState.OWNER_DEACTIVATED: (
        "It opens nothing as long as its owner is deactivated. Expire it, so that it opens nothing afterwards either."
    ),
    TokenState.BLOCKED_BY_POLICY: (
        "It opens nothing as long as the policy blocks it. Expire it, so that no later policy lets it in."
    ),
}


class NotYours(Exception):
    """No token that the actor may look up: not one of ours, of another organization, or of someone else."""


class SeveralTokens(Exception):
    """The text holds more than one token."""


@sensitive_variables()
def tokens_in(text: str) -> list[str]:
    """What looks like a token of ours in the text, each once, in its order."""
    return list(dict.fromkeys(_TOKEN.findall(text)))


@sensitive_variables()
def look_up_token(*, actor: User, pasted: str, request: HttpRequest | None = None) -> Token:
    """The record of the token in a pasted text: one's own, or for those who may expire anyone's, of their organization.

    Raises ``SeveralTokens``, and ``NotYours`` for everything else that is not found, with the same single query.
    """
    token = Token.objects.revocable_by(actor).for_token_table().filter(pk=_pasted_token_id(pasted)).first()
    if token is None:
        raise NotYours
    if token.owner_id != actor.pk:
        record(actor=actor, action=Action.TOKEN_LOOKED_UP, target=token, request=request)
    return token


def last_uses(token: Token, *, reader: User) -> TokenUseQuerySet:
    """As far as the reader may see them."""
    return TokenUse.objects.visible_to(reader).filter(token_id=token.pk)[:LAST_USES]


@sensitive_variables()
def genuine(texts: Iterable[str]) -> list[uuid.UUID]:
    """The ids of the genuine tokens in these texts, live or not. Asks no database."""
    found = {_token_id(encoded) for text in texts for encoded in tokens_in(text)}
    return sorted(found - {_NOBODYS})


def report_tokens(*, token_ids: list[uuid.UUID], url: str = "", request: HttpRequest | None = None) -> list[Token]:
    """Ends those of these tokens that have not ended, and tells each owner by one mail; returns those that it ended.

    Whoever calls this was shown the tokens themselves, which is all the right it takes. Of several reports at once one
    ends a token. ``url`` is where they were found, as the reporter says.
    """
    if not token_ids:
        # Who has no genuine token makes nobody wait for the database's lock.
        return []
    url = without_tokens(printable(url))
    with transaction.atomic():
        ended = end_tokens(
            token_ids,
            action=Action.TOKEN_REPORTED,
            reason=f"Reported as leaked, found at {url}" if url else "Reported as leaked.",
            request=request,
            by="someone who has the token",
            found_at=url,
        )
        for owner_id, of_one_owner in _by_owner(ended).items():
            report_mail.put(uuid.UUID(owner_id), owner_id, of_one_owner)
    logger.info("Tokens reported as leaked and ended: %d; request %s", len(ended), getattr(request, "request_id", None))
    return ended


def _by_owner(tokens: list[Token]) -> dict[str, list[str]]:
    """The ids, as the queue takes them."""
    found: dict[str, list[str]] = defaultdict(list)
    for token in tokens:
        found[str(token.owner_id)].append(str(token.pk))
    return found


@sensitive_variables()
def _pasted_token_id(text: str) -> uuid.UUID:
    """The id of the one token in the text, also where a terminal or a mail has wrapped it.

    That there are several is told by their looks alone: nobody learns here which of them are genuine.
    """
    as_pasted, unwrapped = tokens_in(text), tokens_in("".join(text.split()))
    if len(as_pasted) > 1 or len(unwrapped) > 1:
        raise SeveralTokens
    ids = (_token_id(encoded) for encoded in as_pasted + unwrapped)
    return next((token_id for token_id in ids if token_id != _NOBODYS), _NOBODYS)


@sensitive_variables()
def _token_id(encoded: str) -> uuid.UUID:
    try:
        return jwt.decode(encoded).token_id
    except jwt.NotGenuine:
        return _NOBODYS


def example() -> str:
    """What looks like a token, for trying out a scanner. Nobody has signed it.

    Made when it is asked for: written down, it would be found in every copy of this code.
    """
    key_id = _segment(sha512(b"example key").digest()[:32])
    header = f'{{"alg":"ES256","kid":"{key_id}","typ":"at+jwt"}}'
    payload = (
        '{"iss":"https://portal.example.com","aud":"https://portal.example.com/api/v1",'
        '"sub":"00000000-0000-4000-8000-000000000000","jti":"00000000-0000-4000-8000-000000000000",'
        '"iat":0,"nbf":0,"exp":86400,"scope":"api-readonly","account":"example","token_type":"personal_access"}'
    )
    return ".".join(_segment(part) for part in (header.encode(), payload.encode(), sha512(payload.encode()).digest()))


def _segment(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
