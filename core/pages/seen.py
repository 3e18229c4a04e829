"""Forms that show stored values and save them as a whole: they notice that someone else has saved meanwhile.

A person who saves, goes back and saves again, or uses two tabs, overwrites only their own change. The session remembers
the last ones, because the fingerprint alone doesn't say whose change it was.
"""

from typing import Any, cast

from django import forms
from django.http import HttpRequest, QueryDict

from core.seen import ChangedMeanwhile

FIELD = "seen"
_OWN_SAVES = "own_saves"
REMEMBERED = 20


class SeenForm(forms.Form):
    """``now``: the fingerprint of the values that the form shows (`core.seen.fingerprint`); empty for a new object.

    `cleaned_data` has it as ``seen``, for the service. Call ``saved`` afterwards. If the service raises
    ``ChangedMeanwhile``, the form shows what was typed, with the new fingerprint: saving again overwrites.
    """

    seen = forms.CharField(required=False, widget=forms.HiddenInput)
    is_changed_meanwhile = False

    def __init__(self, *args: Any, now: str = "", request: HttpRequest | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request
        if now:
            self.initial[FIELD] = now
        else:
            del self.fields[FIELD]

    def clean_seen(self) -> str | None:
        """``None`` for a request without the field, which is not checked."""
        if FIELD not in self.data:
            return None
        seen: str = self.cleaned_data[FIELD]
        return " ".join([seen, *_saved_since(self.request, seen)])

    def saved(self, now: str) -> None:
        """Remembers that this person has changed what the form showed into what the fingerprint ``now`` stands for."""
        if self.request is not None and (seen := self.data.get(FIELD)):
            saves = self.request.session.get(_OWN_SAVES, [])
            self.request.session[_OWN_SAVES] = [*saves, [seen, now]][-REMEMBERED:]

    def changed_meanwhile(self, error: ChangedMeanwhile) -> None:
        data = cast(QueryDict, self.data).copy()
        data[FIELD] = error.now
        self.data = data
        self.is_changed_meanwhile = True

    @property
    def refusal_status(self) -> int:
        """The HTTP status of the page that shows the form again."""
        return ChangedMeanwhile.status if self.is_changed_meanwhile else 400


def _saved_since(request: HttpRequest | None, seen: str) -> list[str]:
    """What the values became by this person's own saves after they saw them."""
    saves = request.session.get(_OWN_SAVES, []) if request else []
    reached = [seen]
    for before, after in saves:
        if before in reached and after not in reached:
            reached.append(after)
    return reached[1:]
