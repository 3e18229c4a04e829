"""Suggestions for a field while a person types in it (`PickerInput` in core/pages/widgets.py).

Each kind of row has its own address, whose view lists the rows that the person can see anyway.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any, NamedTuple

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.generic import View

from core.pages import errors
from core.pages.views import MemberPageMixin
from core.rate_limits import Limit

MOST_SUGGESTIONS = 20
TYPED_MAX_LENGTH = 100
# For each person. In batches, because each request while typing would otherwise cost a write.
SUGGESTIONS = Limit("suggestions", amount=240, seconds=60, batch=20)

_BETWEEN_WORDS = re.compile(r"[\W_]+")
# Letters that Unicode does not take apart into a letter and a mark.
_PLAIN_LETTERS = str.maketrans("łøđı", "lodi")


class Suggestion(NamedTuple):
    """``value``: what the field gets. ``hint``: what tells apart two rows of the same name."""

    value: str
    name: str
    hint: str = ""


class SuggestionsView(MemberPageMixin, View):
    """Part of a page. By POST, because addresses are logged, and people can paste a token by mistake."""

    http_method_names = ["post"]

    def rows(self) -> Iterable[Suggestion]:
        """All rows that the person can choose from, in their usual order."""
        raise NotImplementedError

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        wait = SUGGESTIONS.take(str(self.person.pk))
        if wait is not None:
            return errors.too_many_requests(
                request, _("You have searched often in a short time. Try again in a minute."), retry_after=wait
            )
        typed = request.POST.get("text", "").strip()
        found = matching(self.rows(), typed) if 0 < len(typed) <= TYPED_MAX_LENGTH else []
        context = {"typed": typed, "found": found[:MOST_SUGGESTIONS], "most": MOST_SUGGESTIONS, "count": len(found)}
        return render(request, "includes/suggestions.html", context)


def matching(rows: Iterable[Suggestion], typed: str) -> list[Suggestion]:
    """The rows that have each typed word in their name or hint, ignoring case and accents. The best matches come first.

    Compared here, because SQLite knows no case of letters outside of ASCII.
    """
    # Without the signs around the address of a person who was picked before.
    words = re.split(r"[<>\s]+", folded(typed).strip(" <>"))
    found = []
    for row in rows:
        text = folded(f"{row.name} {row.hint}")
        if all(word in text for word in words):
            found.append((_rank(text, words), row))
    return [row for _rank_of_row, row in sorted(found, key=lambda match: match[0])]


def folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    parts = unicodedata.normalize("NFKD", text.casefold()).translate(_PLAIN_LETTERS)
    return "".join(character for character in parts if not unicodedata.combining(character))


def _rank(text: str, words: list[str]) -> int:
    """0 if the text begins with what was typed, 1 if each typed word begins one of its words, otherwise 2."""
    if text.startswith(" ".join(words)):
        return 0
    beginnings = _BETWEEN_WORDS.split(text)
    return 1 if all(any(one.startswith(word) for one in beginnings) for word in words) else 2
