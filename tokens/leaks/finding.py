"""Found tokens: recognizing them and parts of them in a text, and looking one up.

A found token passes through this module and is kept nowhere: not in a row, a log line, an error or an answer.
"""

import logging
import re
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from hashlib import sha512
from itertools import accumulate

from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.debug import sensitive_variables

from accounts.models import User
from auditlog.actions import Action
from auditlog.models import TokenUse
from auditlog.querysets import TokenUseQuerySet
from auditlog.record import record
from core.errors import NotAllowed
from core.rate_limits import Limit
from core.text import Text
from tokens import jwt
from tokens.models import Token
from tokens.states import TokenState

logger = logging.getLogger(__name__)

# Matches the tokens of every installation of the portal, signed with either algorithm, and no other JWT. Header and
# payload are JSON that `tokens.jwt` always writes in the same order, so they start and end with constant text:
#   {"alg":"ES256","kid":"      or RS256
#   ","typ":"at+jwt"}           after a thumbprint (43 characters), or after "k-" and its other 42 characters
#   {"iss":"http
#   personal_access"}           base64 encodes it in three ways: its position decides how the bytes are grouped
# An ES256 signature has exactly 86 characters, so text that follows it directly is not matched. An RS256 signature has
# at least 342. RE2 and Hyperscan support the pattern: no look-around, no back references, no repetition beyond 1000.
# No part can match the text of the next part, and the dots separate the long runs, so the search takes linear time.
_PAYLOAD_ENDS = r"(?:BlcnNvbmFsX2FjY2VzcyJ9|wZXJzb25hbF9hY2Nlc3MifQ|cGVyc29uYWxfYWNjZXNzIn0)"
PATTERN = (
    r"eyJhbGciOiJ[FS]UzI1NiIsImtpZCI6I"
    r"(?:[i-n][A-Za-z0-9_-]{57}iLCJ0eXAiOiJhdCtqd3QifQ|mst[A-Za-z0-9_-]{56}IiwidHlwIjoiYXQrand0In0)"
    r"\.eyJpc3MiOiJodHRw[A-Za-z0-9_-]{200,}"
    rf"{_PAYLOAD_ENDS}"
    r"\.[A-Za-z0-9_-]{86}(?:[A-Za-z0-9_-]{256,})?"
)
_TOKEN = re.compile(PATTERN)

# What our tokens begin with, up to the id of the key. JWTs of many other products begin like this, too.
_BEGINNINGS = ("eyJhbGciOiJFUzI1NiIsImtpZCI6I", "eyJhbGciOiJSUzI1NiIsImtpZCI6I")
_BEGINS = re.compile(r"eyJhbGciOi[A-Za-z0-9_.-]*")
_OUR_HEADER = re.compile(PATTERN.partition(r"\.")[0])
_IN_TOKEN = re.compile(r"[A-Za-z0-9_-]")
# What is left of a token that lost its beginning.
_ENDS = re.compile(rf"{_PAYLOAD_ENDS}\.[A-Za-z0-9_-]")

MAX_PASTED_LENGTH = 20_000
LAST_USES = 5

# For each person.
LOOK_UPS = Limit("token-look-up", amount=30, seconds=60)

# No token has this id. Texts without a genuine token are looked up by it, so that they take as long as others.
_NO_TOKEN = uuid.UUID(int=0)

# What the state of a found token means to the person who found it.
MEANINGS: dict[TokenState, Text] = {
    TokenState.ACTIVE: gettext_lazy("It works: anyone who has it can act as its owner. If it was leaked, expire it."),
    TokenState.SCHEDULED: gettext_lazy(
        "It does not work before its start time. Expire it, so that nobody can use it then either."
    ),
    TokenState.WAITING: gettext_lazy(
        "It does not work: it waits for approval and was never shown to anybody. Nobody should have it."
    ),
    TokenState.PENDING: gettext_lazy(
        "It does not work: it was created but never shown to anybody. Nobody should have it."
    ),
    TokenState.EXPIRED: gettext_lazy("It does not work: it has expired. Every use is refused with 401."),
    TokenState.REVOKED: gettext_lazy("It does not work: it was expired early. Every use is refused with 401."),
    TokenState.OWNER_DEACTIVATED: gettext_lazy(
        "It does not work while its owner is deactivated. Expire it, so that it does not work after a reactivation."
    ),
    TokenState.BLOCKED_BY_POLICY: gettext_lazy(
        "It does not work while the policy blocks it. Expire it, so that it does not work after a change of the policy "
        "either."
    ),
}


@sensitive_variables()
def tokens_in(text: str) -> list[str]:
    """The strings in the text that look like a token of the portal, without duplicates."""
    return list(dict.fromkeys(_TOKEN.findall(text)))


@sensitive_variables()
def wrapped_tokens_in(text: str) -> list[str]:
    """The tokens in this text with its lines joined, unless the beginning of another line was taken for their end."""
    lines = [line.strip() for line in text.splitlines()]
    joined, line_ends = "".join(lines), set(accumulate(map(len, lines)))
    found = (match for match in _TOKEN.finditer(joined) if _ends_at(match.end(), joined, line_ends))
    return list(dict.fromkeys(match[0] for match in found))


def _ends_at(place: int, joined: str, line_ends: set[int]) -> bool:
    return place in line_ends or not _IN_TOKEN.match(joined, place)


@sensitive_variables()
def has_only_part_of_token(text: str) -> bool:
    """Whether something in this text begins or ends like our tokens, and no token in it is whole."""
    if any(map(_is_whole, tokens_in(text) + wrapped_tokens_in(text))):
        return False
    joined = "".join(line.strip() for line in text.splitlines())
    return all(_ENDS.search(part) or any(map(_may_be_cut_off, _BEGINS.findall(part))) for part in (text, joined))


@sensitive_variables()
def _is_whole(encoded: str) -> bool:
    """The pattern also matches tokens with the beginning of an RS256 signature, which has at least 342 characters."""
    return encoded.startswith(_BEGINNINGS[0]) or len(encoded.rpartition(".")[2]) >= 342


@sensitive_variables()
def _may_be_cut_off(beginning: str) -> bool:
    header = beginning.partition(".")[0]
    begins_like_ours = any(header.startswith(ours) or ours.startswith(header) for ours in _BEGINNINGS)
    is_of_another_product = jwt.begins_with_jwt(beginning) and not _OUR_HEADER.fullmatch(header)
    return begins_like_ours and not is_of_another_product


@sensitive_variables()
def genuine_token_ids(texts: Iterable[str]) -> list[uuid.UUID]:
    """The ids of the genuine tokens in these texts, live or not. Makes no query."""
    found = {_token_id(encoded) for text in texts for encoded in tokens_in(text)}
    return sorted(found - {_NO_TOKEN})


@sensitive_variables()
def look_up_token(*, actor: User, pasted: str, request: HttpRequest | None = None) -> Token:
    """The record of the token in the text, if the actor may expire it.

    Raises ``ValidationError`` if the text contains several tokens, or only a part of one. Otherwise, everything that is
    not found raises ``NotAllowed`` after the same single query, so that strangers' tokens can't be told from invented
    ones.
    """
    token = Token.objects.revocable_by(actor).for_token_table().filter(pk=_pasted_token_id(pasted)).first()
    if token is None:
        raise NotAllowed
    if token.owner_id != actor.pk:
        record(actor=actor, action=Action.TOKEN_LOOKED_UP, target=token, request=request)
    return token


def last_uses(token: Token, *, reader: User) -> TokenUseQuerySet:
    """Those that the reader may see."""
    return TokenUse.objects.visible_to(reader).filter(token_id=token.pk).with_services()[:LAST_USES]


@sensitive_variables()
def _pasted_token_id(text: str) -> uuid.UUID:
    """The id of the one token in the text, also if a terminal or a mail has wrapped it.

    Several tokens and parts of tokens are recognized by their form alone, so the answer does not reveal which of them
    are genuine.
    """
    as_pasted, unwrapped = tokens_in(text), wrapped_tokens_in(text)
    if len(as_pasted) > 1 or len(unwrapped) > 1:
        raise ValidationError({"token": gettext("There are several tokens in this text. Send one of them.")})
    if has_only_part_of_token(text):
        raise ValidationError({"token": gettext("This is only part of a token. Paste the whole token.")})
    ids = (_token_id(encoded) for encoded in as_pasted + unwrapped)
    return next((token_id for token_id in ids if token_id != _NO_TOKEN), _NO_TOKEN)


@sensitive_variables()
def _token_id(encoded: str) -> uuid.UUID:
    try:
        return jwt.decode(encoded).token_id
    except jwt.NotGenuine:
        return _NO_TOKEN


def example() -> str:
    """A string that looks like a token, for testing a scanner. It is not signed.

    It is computed, because scanners would find it in every copy of this code if it were a constant.
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
