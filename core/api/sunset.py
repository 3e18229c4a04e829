"""Tells in the headers of each API answer when the token of the request expires (RFC 8594).

`docs/tokens.md` says why ``Sunset`` is the header for this.
"""

import uuid
from datetime import datetime
from functools import lru_cache

from django.conf import settings
from django.http.response import HttpResponseBase
from django.utils.http import http_date

from core.http.public_address import public_url
from core.types import AccessToken

HEADERS = {
    "Sunset": "When the token of this request expires, or when it expired. Only with a genuine token.",
    "Link": 'The page of the token in the portal, for its owner: `rel="sunset"`. Only with a genuine token.',
}


def announce(response: HttpResponseBase, token: AccessToken) -> None:
    for name, value in _headers(token.pk, token.ends_at).items():
        response.headers[name] = value


# Scripts send the same token again and again.
@lru_cache(maxsize=1000)
def _headers(token_id: uuid.UUID, ends_at: datetime) -> dict[str, str]:
    page = public_url(settings.ACCESS_TOKEN_PAGE, token_id)
    return {"Sunset": http_date(ends_at.timestamp()), "Link": f'<{page}>; rel="sunset"; type="text/html"'}
