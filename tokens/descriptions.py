"""Short texts about a token in people's words: what it is for, and why somebody decided about it as they did."""

from django.core.exceptions import ValidationError
from django.utils.translation import ngettext

from core.http.request_context import without_tokens
from core.text import NOT_PRINTABLE, composed, is_printable

MAX_LENGTH = 500


def clean_description(raw: str, *, most: int = MAX_LENGTH) -> str:
    """The description as it is stored: one line of at most this many characters, trimmed, in Unicode's composed form
    (NFC), and without tokens that were pasted by mistake. May be empty. Raises ``ValidationError``.
    """
    text = without_tokens(composed(" ".join(raw.split())))
    if len(text) > most:
        said = ngettext("Give at most %(limit)s character.", "Give at most %(limit)s characters.", most)
        raise ValidationError(said % {"limit": most})
    if not is_printable(text):
        raise ValidationError(NOT_PRINTABLE)
    return text
