"""The fingerprint of what the form and the API show of a token (`core/seen.py`)."""

from core.seen import fingerprint
from tokens.models import Token


def of_texts(token: Token) -> str:
    """Name and description, which are all that can change."""
    return fingerprint("token texts", token.pk, token.name, token.description)
