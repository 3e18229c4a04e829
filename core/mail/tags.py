"""Template tags of mails: what the text part and the HTML part show differently."""

from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import groupby

from django import template
from django.template import Context
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import normalize_newlines

register = template.Library()

# With its most important styles in it, because some mail programs ignore `<style>`. A table, because Outlook adds no
# padding to a link.
_BUTTON = (
    '<table role="presentation" class="action" border="0" cellpadding="0" cellspacing="0"><tr>'
    '<td class="button-cell" style="border-radius: 6px; background-color: #0b655f">'
    '<a class="button" href="{0}" style="display: inline-block; padding: 12px 20px; color: #ffffff; font-weight: 600; '
    'text-decoration: none">{1}</a></td></tr></table><p class="button-address" style="word-break: break-all">{0}</p>'
)
# Values are escaped, so only the tags of this module can begin a line like this.
_BLOCKS = ("<table", "<blockquote")


class _Line(Enum):
    BLANK = "blank"
    BLOCK = "block"
    ITEM = "item"
    TEXT = "text"


@register.simple_tag(takes_context=True)
def button(context: Context, address: str, label: str) -> SafeString | str:
    """The main action of a mail, on a line of its own: a button above its address; in the text only the address."""
    return format_html(_BUTTON, address, label) if context["is_html"] else address


@register.simple_tag(takes_context=True)
def address(context: Context, *parts: object) -> SafeString | str:
    """An address of the portal, which is a link in the HTML part. Never an address that somebody wrote."""
    address = "".join(map(str, parts))
    return format_html('<a href="{0}">{0}</a>', address) if context["is_html"] else address


@register.simple_tag(takes_context=True)
def quoted(context: Context, text: str) -> SafeString | str:
    """What a person or another system wrote, on a line of its own. Its line breaks stay, its markup does not work."""
    if not context["is_html"]:
        return text
    lines = normalize_newlines(text).split("\n")
    return format_html("<blockquote>{}</blockquote>", format_html_join("", "{}<br>", ((line,) for line in lines)))


@register.filter(is_safe=True)
def as_html(text: str) -> str:
    """Adds the elements for paragraphs and lists. ``text`` is escaped already."""
    html = "\n".join(_elements(text))
    # No line of a mail can have more than 998 characters, unless it is encoded.
    return html.replace("<br>", "<br>\n")


def _elements(text: str) -> Iterator[str]:
    for kind, lines in groupby(text.split("\n"), key=_kind):
        if kind is _Line.BLOCK:
            yield from lines
        elif kind is _Line.TEXT:
            yield f"<p>{'<br>'.join(line.strip() for line in lines)}</p>"
        elif kind is _Line.ITEM:
            yield f"<ul>\n{''.join(_items(lines))}</ul>"


def _kind(line: str) -> _Line:
    if not line.strip():
        return _Line.BLANK
    if line.lstrip().startswith(_BLOCKS):
        return _Line.BLOCK
    return _Line.ITEM if line.startswith("  ") else _Line.TEXT


def _items(lines: Iterable[str]) -> Iterator[str]:
    """Each item begins with a line with two spaces; the lines with four spaces after it are its details."""
    items: list[list[str]] = []
    for line in lines:
        if line.startswith("    ") and items:
            items[-1].append(line.strip())
        else:
            items.append([f"<strong>{line.strip()}</strong>"])
    for item in items:
        yield f"<li>{'<br>'.join(item)}</li>\n"
