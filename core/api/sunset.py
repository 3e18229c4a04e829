"""Tells in the headers of each API answer when the token of the request expires (RFC 8594), and whether another token
replaces it (RFC 9745, RFC 5829).

`docs/tokens.md` says why ``Sunset`` is the header for this.
"""

import uuid
from datetime import datetime
from functools import lru_cache

from django.conf import settings
from django.http.response import HttpResponseBase
from django.utils.http import http_date

from core.http.own_headers import Checked, checked, set_checked
from core.http.public_address import public_url
from core.types import AccessToken

HEADERS = {
    "Sunset": "When the token of this request expires, or when it expired. Only with a genuine token.",
    "Deprecation": "Since when another token replaces the token of this request: `@` and seconds since 1970, UTC. "
    "Change to the new one before `Sunset`. Only with a replaced token.",
    "Link": 'The page of the token in the portal, for its owner: `rel="sunset"`. Only with a genuine token. If another '
    'token replaces it, also the page of that one: `rel="successor-version"`.',
}


def announce(response: HttpResponseBase, token: AccessToken) -> None:
    set_checked(response, _headers(token.pk, token.ends_at))
    if token.replaced_at is not None:
        response.headers["Deprecation"] = f"@{int(token.replaced_at.timestamp())}"
        response.headers["Link"] += f", {_link(token.replaced_by_id, 'successor-version')}"


# Scripts send the same token again and again.
@lru_cache(maxsize=1000)
def _headers(token_id: uuid.UUID, ends_at: datetime) -> Checked:
    return checked({"Sunset": http_date(ends_at.timestamp()), "Link": _link(token_id, "sunset")})


def _link(token_id: uuid.UUID | None, relation: str) -> str:
    return f'<{public_url(settings.ACCESS_TOKEN_PAGE, token_id)}>; rel="{relation}"; type="text/html"'
