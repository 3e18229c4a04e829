"""Writes a mail with its two parts, text and HTML, from one template and with the same facts.

A template of a mail looks like the text part: paragraphs, and lists with two spaces before each item and four before
its details. It extends ``layout`` and fills the blocks ``text`` and ``why``. It is rendered twice:

- with `templates/mail/base.txt`, without escaping, for the text part,
- with `templates/mail/base.html`, which escapes every value, and adds the elements for paragraphs and lists.

Only the tags of `core/mail/tags.py` make a link or a button, so that an address in a name or in a reported text never
becomes one.
"""

import re
from collections.abc import Mapping
from typing import Any

from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string

_BLANK_LINES = re.compile(r"\n{3,}")


def mail_from(template: str, context: Mapping[str, Any], *, subject: str, to: str) -> EmailMultiAlternatives:
    """The mail of a template, such as `accounts/mail/invitation.txt`, in the current language."""
    parts = dict(context) | {"subject": subject}
    text = render_to_string(template, parts | {"layout": "mail/base.txt", "is_html": False})
    html = render_to_string(template, parts | {"layout": "mail/base.html", "is_html": True})
    message = EmailMultiAlternatives(subject=subject, body=_tidy(text), to=[to])
    message.attach_alternative(_tidy(html), "text/html")
    return message


def _tidy(text: str) -> str:
    """Without what `if` and `for` leave behind: spaces at the ends of lines, and several blank lines in a row."""
    lines = "\n".join(line.rstrip() for line in text.split("\n"))
    return _BLANK_LINES.sub("\n\n", lines).strip("\n") + "\n"
