"""The forms of review campaigns."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy

from core.filters import MomentField
from tokens.review.models import DEFAULT_DAYS, FEWEST_DAYS, MOST_DAYS, MOST_MONTHS, NOTE_MAX_LENGTH


class PlanForm(forms.Form):
    starts_at = MomentField(
        label=gettext_lazy("Starts (optional)"),
        required=False,
        help_text=gettext_lazy("Leave it empty to start now. The live tokens of that moment are reviewed."),
    )
    answer_days = forms.IntegerField(
        label=gettext_lazy("Days to answer"),
        min_value=FEWEST_DAYS,
        max_value=MOST_DAYS,
        initial=DEFAULT_DAYS,
        help_text=gettext_lazy("7 to 60. People get a warning 3 days before the end."),
    )
    repeat_months = forms.IntegerField(
        label=gettext_lazy("Repeat every … months (optional)"),
        required=False,
        min_value=1,
        max_value=MOST_MONTHS,
        help_text=gettext_lazy("1 to 24. When a campaign is finished, the next one is planned."),
    )

    def plan(self) -> dict[str, Any]:
        """The arguments of `tokens.review.planning.plan`."""
        return {name: self.cleaned_data[name] for name in self.fields}


class NoteForm(forms.Form):
    note = forms.CharField(
        label=gettext_lazy("Note (optional)"),
        required=False,
        max_length=NOTE_MAX_LENGTH,
        help_text=gettext_lazy("For the record and the log, such as “still needed for the nightly export”."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
