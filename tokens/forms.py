"""Reading what a person typed. The rules themselves are those that the API uses too."""

from typing import Any

from django import forms
from django.utils import timezone

from accounts.models import User
from opsera_portal.api.scopes import BY_ID, CHOICES, Scope
from tokens.lifetimes import DEFAULT_LIFETIME, InvalidExpiry, Lifetime, chosen_end
from tokens.names import MAX_LENGTH, InvalidName, clean_name
from tokens.services import REASON_MAX_LENGTH, longest_lifetime

CUSTOM = "custom"


class TokenForm(forms.Form):
    """`cleaned_data`: ``name``, ``scopes`` (list of `Scope`), ``expires_at`` (aware datetime)."""

    name = forms.CharField(
        max_length=MAX_LENGTH * 4,
        strip=False,
        help_text="What it is for, for example “nightly build”. At most 50 letters, digits, spaces and - ' : _ .",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "maxlength": MAX_LENGTH}),
        error_messages={"required": "Enter a name."},
    )
    scopes = forms.MultipleChoiceField(
        choices=CHOICES,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one scope."},
    )
    lifetime = forms.ChoiceField(
        label="Expires after",
        choices=[*Lifetime.choices, (CUSTOM, "On a date of my choice")],
        initial=DEFAULT_LIFETIME,
        error_messages={"required": "Choose when the token expires."},
    )
    expires_at = forms.CharField(
        label="Date",
        required=False,
        max_length=40,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text="For “On a date of my choice”: the token works through that day (UTC).",
    )

    def __init__(self, *args: Any, owner: User, **kwargs: Any) -> None:
        self.owner = owner
        super().__init__(*args, **kwargs)
        today = timezone.now().date()
        self.fields["expires_at"].widget.attrs |= {
            "min": today.isoformat(),
            "max": (today + longest_lifetime(owner)).isoformat(),
        }

    def clean_name(self) -> str:
        try:
            return clean_name(self.cleaned_data["name"])
        except InvalidName as error:
            raise forms.ValidationError(str(error)) from None

    def clean_scopes(self) -> list[Scope]:
        return [BY_ID[scope_id] for scope_id in dict.fromkeys(self.cleaned_data["scopes"])]

    def clean(self) -> dict[str, Any]:
        lifetime = self.cleaned_data.get("lifetime")
        if lifetime is None or "expires_at" not in self.cleaned_data:
            return self.cleaned_data
        preset = None if lifetime == CUSTOM else Lifetime(lifetime)
        try:
            self.cleaned_data["expires_at"] = chosen_end(
                preset, self.cleaned_data["expires_at"], longest=longest_lifetime(self.owner)
            )
        except InvalidExpiry as error:
            self.add_error("lifetime" if preset else "expires_at", str(error))
        return self.cleaned_data


class ExpireTokenForm(forms.Form):
    reason = forms.CharField(
        label="Reason (optional)",
        required=False,
        max_length=REASON_MAX_LENGTH,
        help_text="For the log, for example “lost laptop”.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
