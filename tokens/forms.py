"""Forms of the pages of tokens. Pages and API check the same rules."""

import re
import uuid
from collections.abc import Collection
from datetime import timedelta
from typing import Any, cast

from django import forms
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy, ngettext

from accounts.models import User
from accounts.services_for_tokens import TokenService
from core.api.scopes import CHOICES, SCOPES, Scope
from core.errors import errors_of
from core.networks import MAX_LENGTH as NETWORK_MAX_LENGTH
from core.networks import MOST_NETWORKS, clean_networks, words_of
from core.pages.forms import refusals_in
from core.pages.seen import SeenForm
from core.pages.templatetags.portal import exact
from core.text import Text, counted, grouped
from tokens import seen
from tokens.approval.models import DECISION_REASON_MAX_LENGTH
from tokens.approval.rules import rules_in_words
from tokens.descriptions import MAX_LENGTH as DESCRIPTION_MAX_LENGTH
from tokens.descriptions import clean_description
from tokens.leaks.finding import MAX_PASTED_LENGTH
from tokens.lifetimes import (
    DEFAULT_LIFETIME,
    Lifetime,
    chosen_end,
    chosen_start,
    end_of,
    longest_lifetime,
    now_in_seconds,
)
from tokens.models import Token
from tokens.names import MAX_LENGTH, clean_name
from tokens.pipeline_choice import chosen_by
from tokens.replacement import overlap_by_default
from tokens.service_choice import NO_PIPELINES, find_service, scopes_of
from tokens.services import REASON_MAX_LENGTH, check_scopes
from tokens.uses import MOST_USES

CUSTOM = "custom"
_TYPED_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?")
ALL_PIPELINES, ONLY_THESE = "all", "only"
WHICH_PIPELINES = [(ALL_PIPELINES, gettext_lazy("All that I can use")), (ONLY_THESE, gettext_lazy("Only these"))]
ALL_OF_ACCOUNT = gettext_lazy("All that the service account can use")
CHOICES_OF_LIFETIME = [*Lifetime.choices, (CUSTOM, gettext_lazy("On a date"))]


def ways_to_choose(owner: User) -> list[tuple[str, Text]]:
    """The choices of ``which_pipelines``, in words for this owner."""
    (value, label), only = WHICH_PIPELINES
    return [(value, ALL_OF_ACCOUNT if owner.is_service_account else label), only]


class NameField(forms.CharField):
    def __init__(self, help_text: Text) -> None:
        super().__init__(
            label=gettext_lazy("Name"),
            max_length=MAX_LENGTH * 4,
            strip=False,
            help_text=help_text,
            # Browsers count the UTF-16 units that were typed, so a limit of 50 would shorten names that are allowed.
            widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
            error_messages={"required": gettext_lazy("Enter a name.")},
        )


class DescriptionField(forms.CharField):
    def __init__(self, label: Text) -> None:
        super().__init__(
            label=label,
            required=False,
            max_length=DESCRIPTION_MAX_LENGTH * 4,
            help_text=gettext_lazy(
                "For example where the script runs and who looks after it. At most 500 characters. Everyone who can "
                "see the token can read it."
            ),
            widget=forms.Textarea(attrs={"rows": 2, "autocomplete": "off"}),
        )

    def clean(self, value: Any) -> str:
        return clean_description(super().clean(value))


class ChoiceOfPipelines(forms.Widget):
    """Checkboxes, or a text field with an id or a name in each line; `pipeline_choice` is drawn by the page."""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[str]:
        given = data.getlist(name) if hasattr(data, "getlist") else data.get(name, [])
        return [word for text in given for line in text.splitlines() if (word := line.strip())]


class TokenForm(forms.Form):
    """`cleaned_data`: ``name``, ``description``, ``service`` (its id, ``None`` for the portal's own API), ``scopes``
    (list of `Scope`), ``pipelines`` (list of ids, or ``None``
    for all), ``networks`` (list of texts, empty for everywhere), ``max_uses`` (``None`` without a limit),
    ``not_before`` (aware datetime, or ``None``), ``expires_at`` (aware datetime), ``approval_reason`` (may be empty;
    missing if no token of the owner can need approval).

    ``chosen_service``: the one as the owner can use it now. ``service_problem``: why it is none of those."""

    name = NameField(
        gettext_lazy("What you use it for, such as “nightly build”. At most 50 letters, digits, spaces and - ' : _ .")
    )
    description = DescriptionField(gettext_lazy("Description (optional)"))
    networks = forms.CharField(
        label=gettext_lazy("Only from these networks (optional)"),
        required=False,
        max_length=MOST_NETWORKS * NETWORK_MAX_LENGTH,
        widget=forms.Textarea(attrs={"rows": 2, "autocomplete": "off", "spellcheck": "false"}),
        help_text=gettext_lazy(
            "Networks or addresses, such as 203.0.113.0/24 or 2001:db8::7. From elsewhere, the token is refused. You "
            "can't change this later."
        ),
    )
    max_uses = forms.IntegerField(
        label=gettext_lazy("Uses at most (optional)"),
        required=False,
        min_value=1,
        max_value=MOST_USES,
        widget=forms.NumberInput(attrs={"autocomplete": "off"}),
        help_text=gettext_lazy("For example 1, for a script that runs once. With its last use, the token expires."),
    )
    not_before = forms.CharField(
        label=gettext_lazy("Works from (optional)"),
        required=False,
        max_length=40,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local", "autocomplete": "off"}),
    )
    # An id or a short name. The page offers them as links.
    service = forms.CharField(
        label=gettext_lazy("What it is for"), required=False, strip=False, widget=forms.HiddenInput
    )
    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("Scopes"),
        choices=CHOICES,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": gettext_lazy("Choose at least one scope.")},
    )
    # Without it, as scripts may send the form, the chosen pipelines decide.
    which_pipelines = forms.ChoiceField(
        label=gettext_lazy("Which pipelines"),
        required=False,
        choices=WHICH_PIPELINES,
        widget=forms.RadioSelect,
        initial=ALL_PIPELINES,
    )
    pipelines = forms.Field(label=gettext_lazy("Pipelines"), required=False, widget=ChoiceOfPipelines)
    lifetime = forms.ChoiceField(
        label=gettext_lazy("Expires after"),
        choices=CHOICES_OF_LIFETIME,
        widget=forms.RadioSelect,
        initial=DEFAULT_LIFETIME,
        error_messages={"required": gettext_lazy("Choose when the token expires.")},
    )
    expires_at = forms.CharField(
        label=gettext_lazy("Date"),
        required=False,
        max_length=40,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=gettext_lazy("For “On a date”: the token works until the end of that day (UTC)."),
    )
    # `services.issue_token` says when it is required.
    approval_reason = forms.CharField(
        label=gettext_lazy("Why you need it"),
        required=False,
        max_length=DESCRIPTION_MAX_LENGTH * 4,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text=gettext_lazy("Required for these tokens, for the person who decides. At most 500 characters."),
    )
    # Which tokens need it, in words.

    def __init__(self, *args: Any, owner: User, **kwargs: Any) -> None:
        self.owner, self.policy = owner, owner.own_organization
        super().__init__(*args, **kwargs)
        self.chosen_service, self.service_problem = self._chosen_service()
        self._offer_what_the_policy_allows()
        self._explain_start()

    def _chosen_service(self) -> tuple[TokenService | None, str]:
        """No query for a token of the portal."""
        if not (word := self["service"].value()):
            return None, ""
        try:
            found = find_service(self.owner, str(word))
        except forms.ValidationError as error:
            return None, " ".join(error.messages)
        cast("forms.MultipleChoiceField", self.fields["scopes"]).choices = [
            (scope.id, scope.label) for scope in found.all_scopes
        ]
        return found, ""

    def _offer_what_the_policy_allows(self) -> None:
        """Only limits the choices. `chosen_end` and `check_scopes` refuse other values, with the reason."""
        now, longest = timezone.now(), longest_lifetime(self.policy, self.owner)
        offered = [preset for preset in Lifetime if end_of(preset, start=now) <= now + longest]
        lifetime = cast("forms.ChoiceField", self.fields["lifetime"])
        lifetime.widget.choices = [choice for choice in CHOICES_OF_LIFETIME if choice[0] in {*offered, CUSTOM}]
        if DEFAULT_LIFETIME not in offered:
            lifetime.initial = offered[-1]
        if len(offered) < len(Lifetime):
            lifetime.help_text = ngettext(
                "Your organization allows %(count)s day at most.",
                "Your organization allows %(count)s days at most.",
                longest.days,
            ) % {"count": grouped(longest.days)}
        if not self.approval_rules(SCOPES):
            del self.fields["approval_reason"]
        self.fields["expires_at"].widget.attrs |= {
            "min": now.date().isoformat(),
            "max": (now + longest).date().isoformat(),
        }

    def approval_rules(self, among: Collection[Scope]) -> list[str]:
        """Which tokens need approval, in words. ``among``: the portal's scopes that the token can have."""
        among = among if self.chosen_service is None else ()
        return rules_in_words(self.policy, self.owner, among=among, service=self.chosen_service)

    def _explain_start(self) -> None:
        field = self.fields["not_before"]
        field.help_text = gettext(
            "In your time zone (%(zone)s). Before this time, every use is refused. The lifetime counts from now."
        ) % {"zone": timezone.get_current_timezone_name().replace("_", " ")}
        # Browsers show nothing in a field for times if they can't read its value.
        if (given := self["not_before"].value()) and not _TYPED_TIME.fullmatch(given):
            field.widget.attrs["type"] = "text"

    def clean_name(self) -> str:
        return clean_name(self.cleaned_data["name"])

    def clean_networks(self) -> list[str]:
        return clean_networks(words_of(self.cleaned_data["networks"])).split()

    def clean_service(self) -> uuid.UUID | None:
        if self.service_problem:
            raise forms.ValidationError(self.service_problem)
        return self.chosen_service.pk if self.chosen_service else None

    def clean_scopes(self) -> list[Scope]:
        chosen = scopes_of(self.chosen_service, self.cleaned_data["scopes"])
        if self.chosen_service is None:
            check_scopes(chosen, self.policy)
        return chosen

    def clean_pipelines(self) -> list[uuid.UUID] | None:
        words = list(dict.fromkeys(self.cleaned_data["pipelines"]))
        which = self.cleaned_data.get("which_pipelines") or (ONLY_THESE if words else ALL_PIPELINES)
        if self.chosen_service is not None and (words or which == ONLY_THESE):
            raise forms.ValidationError(NO_PIPELINES)
        if which == ALL_PIPELINES and words:
            # Either can be the mistake, and one of them would give the token more than the person wants.
            both = gettext("You chose pipelines, and “%(all)s”. Choose “Only these”, or no pipelines.")
            raise forms.ValidationError(both % {"all": ways_to_choose(self.owner)[0][1]})
        return chosen_by(self.owner, words) if which == ONLY_THESE else None

    def clean(self) -> dict[str, Any]:
        lifetime = self.cleaned_data.get("lifetime")
        if lifetime is None or "expires_at" not in self.cleaned_data:
            return self.cleaned_data
        preset = None if lifetime == CUSTOM else Lifetime(lifetime)
        with refusals_in(self), errors_of("expires_at"):
            self.cleaned_data["expires_at"] = chosen_end(
                preset, self.cleaned_data["expires_at"], longest=longest_lifetime(self.policy, self.owner)
            )
        if not self.errors.keys() & {"lifetime", "expires_at", "not_before"}:
            with refusals_in(self), errors_of("not_before"):
                self.cleaned_data["not_before"] = chosen_start(
                    self.cleaned_data["not_before"], expires_at=self.cleaned_data["expires_at"]
                )
        return self.cleaned_data

    def add_error(self, field: str | None, error: Any) -> None:
        """Shows a wrong end beside the field that it comes from: the date, or the choice of a lifetime."""
        if field == "expires_at" and self.cleaned_data.get("lifetime") in Lifetime.values:
            field = "lifetime"
        super().add_error(field, error)


class EditTokenForm(SeenForm):
    """Name and description of a token. An ended token keeps its name."""

    name = NameField(gettext_lazy("Log entries keep the name that the token had then."))
    description = DescriptionField(gettext_lazy("Description"))

    def __init__(self, *args: Any, token: Token, **kwargs: Any) -> None:
        initial = {"name": token.name, "description": token.description}
        super().__init__(*args, initial=initial, now=seen.of_texts(token), **kwargs)
        if token.has_ended:
            self.fields["name"].disabled = True
            self.fields["name"].help_text = gettext("A token that has expired keeps its name.")

    def clean_name(self) -> str:
        return clean_name(self.cleaned_data["name"])


class SecretTextarea(forms.Textarea):
    """Never writes its value into the page, and asks the browser not to keep it."""

    def __init__(self) -> None:
        super().__init__(attrs={"rows": 5, "autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"})

    def format_value(self, value: object) -> None:
        return None


class TokenLookupForm(forms.Form):
    token = forms.CharField(
        label=gettext_lazy("Token"),
        max_length=MAX_PASTED_LENGTH,
        widget=SecretTextarea,
        help_text=gettext_lazy("The whole token. It may have text around it: quotes, “Bearer”, a line of a log."),
        error_messages={
            "required": gettext_lazy("Paste the token."),
            "max_length": gettext_lazy("Paste the token with less text around it."),
        },
    )


OVERLAPS = [
    (0, gettext_lazy("It expires immediately")),
    (1, gettext_lazy("1 hour")),
    (24, gettext_lazy("1 day")),
    (72, gettext_lazy("3 days")),
    (168, gettext_lazy("7 days")),
]


class ReplaceTokenForm(forms.Form):
    """Offers the times that end before the old token would expire anyway, and its own end if the policy allows it."""

    overlap_hours = forms.TypedChoiceField(
        label=gettext_lazy("How long the old token works on"),
        choices=OVERLAPS,
        coerce=int,
        help_text=gettext_lazy("Give the new token to your scripts in this time. Both work."),
        error_messages={"invalid_choice": gettext_lazy("Choose one of the times that your organization allows.")},
    )

    def __init__(self, *args: Any, token: Token, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        policy, now = token.owner.own_organization, now_in_seconds()
        most = policy.max_replacement_overlap_hours
        allowed: list[tuple[int, Text]] = [choice for choice in OVERLAPS if choice[0] <= most]
        if most not in dict(allowed):
            allowed.append((most, counted(most, "hour", "hours")))
        field = cast("forms.ChoiceField", self.fields["overlap_hours"])
        # A time that was offered a moment ago stays valid, although the token may expire before it now.
        field.choices = allowed
        ends = {hours: now + timedelta(hours=hours) for hours, _ in allowed}
        offered = [
            (hours, f"{label} ({exact(ends[hours])})" if hours else label)
            for hours, label in allowed
            if not hours or ends[hours] < token.expires_at
        ]
        field.initial = max(hours for hours, _ in offered if hours <= overlap_by_default(policy))
        if most and ends[most] >= token.expires_at:
            until_end = gettext("Until it expires anyway (%(time)s)") % {"time": exact(token.expires_at)}
            offered.append((most, until_end))
            field.initial = most
        field.widget.choices = offered
        if most == 0:
            field.help_text = gettext("Your organization's policy allows no overlap.")


class ApprovalForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        required=False,
        max_length=DECISION_REASON_MAX_LENGTH,
        help_text=gettext_lazy("For the mail to the person who asked, and for the log. Required if you reject."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": gettext_lazy("Give a reason.")},
    )


class RejectionForm(ApprovalForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = True


class ExpireTokenForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Reason (optional)"),
        required=False,
        max_length=REASON_MAX_LENGTH,
        help_text=gettext_lazy("For the log, such as “lost laptop”."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": gettext_lazy("Give a reason.")},
    )

    def __init__(self, *args: Any, needs_reason: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if needs_reason:
            self.fields["reason"].label = gettext("Reason")
            self.fields["reason"].required = True
            self.fields["reason"].help_text = gettext(
                "For the mail to the owner and for the log, such as “found in a public repository”."
            )


class ExpireManyForm(ExpireTokenForm):
    """``count``: how many tokens the person was shown."""

    count = forms.IntegerField(label=gettext_lazy("Count"), min_value=0, max_value=2**31 - 1, widget=forms.HiddenInput)
