"""What a token is for, in its owner's words."""

from django.core.exceptions import ValidationError
from django.utils.translation import ngettext

from core.http.request_context import without_tokens
from core.text import NOT_PRINTABLE, composed, is_printable

MAX_LENGTH = 500


def clean_description(raw: str) -> str:
    """The description as it is stored: one line, trimmed, in Unicode's composed form (NFC), and without tokens that
    were pasted by mistake. May be empty. Raises ``ValidationError``.
    """
    text = without_tokens(composed(" ".join(raw.split())))
    if len(text) > MAX_LENGTH:
        most = ngettext("Give at most %(limit)s character.", "Give at most %(limit)s characters.", MAX_LENGTH)
        raise ValidationError(most % {"limit": MAX_LENGTH})
    if not is_printable(text):
        raise ValidationError(NOT_PRINTABLE)
    return text
