"""What tokens say about their status list."""

import uuid
from typing import TYPE_CHECKING, Any

from django.conf import settings

if TYPE_CHECKING:
    from tokens.models import Token


def uri_of(list_id: uuid.UUID) -> str:
    """The address of the signed list, which tokens and the list itself name."""
    return f"{settings.PORTAL_URL}/status-lists/{list_id}"


def claim_of(token: "Token") -> dict[str, Any]:
    """The claim ``status`` of the token; empty if it is in no list."""
    if token.status_list_id is None:
        return {}
    return {"status": {"status_list": {"idx": token.status_index, "uri": uri_of(token.status_list_id)}}}
