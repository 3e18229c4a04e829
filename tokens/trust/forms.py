"""The forms of trust rules. Claims are typed as lines."""

import json
from collections.abc import Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from accounts.models import Organization, User
from accounts.pipelines_for_tokens import pipelines_for_tokens
from core.api.scopes import BY_ID, Scope
from core.pages.seen import SeenForm
from tokens.models import TrustRule
from tokens.names import MAX_LENGTH
from tokens.pipeline_choice import MOST_PIPELINES, chosen_by
from tokens.trust import rules, subject_token
from tokens.trust.issuers import Preset
from tokens.trust.subject_token import SubjectTokenRefused

LINES_LIMIT = 10_000
PASTED_LIMIT = 20_000
_AREA = {"rows": 4, "spellcheck": "false", "autocomplete": "off"}
_CODE = {"autocapitalize": "none", "spellcheck": "false", "autocomplete": "off"}


class TrustRuleForm(SeenForm):
    """`cleaned_data`, without ``seen``: the values of `tokens.trust.rules.create_rule`."""

    name = forms.CharField(
        label=_("Name"),
        max_length=MAX_LENGTH * 4,
        help_text=_("The name of each token begins with it."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    issuer = forms.CharField(
        label=_("Issuer"),
        max_length=rules.TEXT_LIMIT,
        help_text=_("Exactly as in the claim iss. The portal fetches the issuer's public keys from there."),
        widget=forms.TextInput(attrs=_CODE | {"inputmode": "url"}),
    )
    audience = forms.CharField(
        label=_("Audience"),
        max_length=rules.TEXT_LIMIT,
        help_text=_("The claim aud. The job requests its identity for exactly this text."),
        widget=forms.TextInput(attrs=_CODE),
    )
    claims = forms.CharField(
        label=_("Claims"),
        max_length=LINES_LIMIT,
        help_text=_(
            "One per line: claim = value. All must match. A * at the end of a segment stands for the rest of that "
            "segment; / and : separate segments, for example “repository = acme/*”."
        ),
        widget=forms.Textarea(attrs=_AREA),
    )
    account = forms.ModelChoiceField(
        label=_("Service account"),
        queryset=User.objects.none(),
        help_text=_("The tokens are its tokens, and can do what its site role and groups allow."),
    )
    scopes = forms.MultipleChoiceField(label=_("Scopes"), choices=rules.CHOICES, widget=forms.CheckboxSelectMultiple)
    pipelines = forms.CharField(
        label=_("Only these pipelines (optional)"),
        required=False,
        max_length=LINES_LIMIT,
        help_text=_("One per line: a name or an ID. Empty: all that the service account can use."),
        widget=forms.Textarea(attrs=_AREA | {"rows": 2}),
    )
    lifetime_minutes = forms.IntegerField(
        label=_("Lifetime of a token in minutes"),
        min_value=1,
        max_value=rules.LONGEST_MINUTES,
        initial=15,
        help_text=_("At most 60. A job can request another token."),
    )
    is_enabled = forms.BooleanField(
        label=_("Switched on"), required=False, initial=True, help_text=_("If it is off, it gives no tokens.")
    )

    def __init__(self, *args: Any, person: User, rule: TrustRule | None = None, **kwargs: Any) -> None:
        self.person, self.rule = person, rule
        super().__init__(*args, **kwargs)
        home = rule.organization_id if rule else person.own_organization.pk
        field = self.fields["account"]
        if isinstance(field, forms.ModelChoiceField):
            field.queryset = User.objects.service_accounts().filter(organization_id=home).order_by("name", "pk")
            field.label_from_instance = _name_of  # type: ignore[method-assign]

    def clean_claims(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for number, line in enumerate(self.cleaned_data["claims"].splitlines(), start=1):
            if not line.strip():
                continue
            claim, equals, value = (part.strip() for part in line.partition("="))
            if not (equals and claim and value):
                said = gettext("Line %(number)s: write it like “repository = acme/shop”.")
                raise ValidationError(said % {"number": number})
            if claim in found:
                raise ValidationError(gettext("Line %(number)s: this claim is there already.") % {"number": number})
            found[claim] = value
        return found

    def clean_scopes(self) -> list[Scope]:
        return [BY_ID[scope_id] for scope_id in self.cleaned_data["scopes"]]

    def clean_pipelines(self) -> list[Any] | None:
        words = list(dict.fromkeys(filter(None, map(str.strip, self.cleaned_data["pipelines"].splitlines()))))
        return chosen_by(self.person, words) if words else None

    def changes(self) -> dict[str, Any]:
        return {name: value for name, value in self.cleaned_data.items() if name != "seen"}


def _name_of(obj: Any) -> str:
    return str(obj.name)


def initial_of(rule: TrustRule, reader: User) -> dict[str, Any]:
    ids = rule.pipeline_ids or []
    names = {str(pipeline.id): pipeline.name for pipeline in pipelines_for_tokens().seen_by(reader, ids)}
    return {
        **{name: getattr(rule, name) for name in ("name", "issuer", "audience", "lifetime_minutes", "is_enabled")},
        "account": rule.account_id,
        "claims": lines_of(rule.claims),
        "scopes": [scope.id for scope in rule.scopes],
        "pipelines": "\n".join(names.get(text, text) for text in ids[:MOST_PIPELINES]),
    }


def initial_with(preset: Preset | None, organization: Organization) -> dict[str, Any]:
    """For a new rule. The audience names the portal and the organization, so no other organization's jobs have it."""
    audience = audience_for(organization)
    if preset is None:
        return {"audience": audience, "is_enabled": True, "scopes": ["pipeline"]}
    return {
        "name": preset.label,
        "issuer": preset.issuer,
        "audience": audience,
        "claims": lines_of(preset.claims),
        "is_enabled": True,
        "scopes": ["pipeline"],
    }


def audience_for(organization: Organization) -> str:
    return f"{settings.PORTAL_URL}/{organization.slug}"


def lines_of(claims: Mapping[str, str]) -> str:
    return "\n".join(f"{claim} = {pattern}" for claim, pattern in claims.items())


class TryTokenForm(forms.Form):
    """``token``: cleaned to claims. Nothing of it is kept, and its name keeps it out of kept forms."""

    token = forms.CharField(
        label=_("Token or claims of a job"),
        max_length=PASTED_LIMIT,
        help_text=_("The JWT of a job, or its claims as JSON. Signature and times are not checked here."),
        widget=forms.Textarea(attrs=_AREA | {"rows": 6}),
        error_messages={"required": _("Paste a token or claims.")},
    )

    @sensitive_variables()
    def clean_token(self) -> Mapping[str, Any]:
        pasted = self.cleaned_data["token"].strip()
        if not pasted.startswith("{"):
            try:
                return subject_token.read(pasted).claims
            except SubjectTokenRefused as error:
                raise ValidationError(gettext(subject_token.TEXTS[error.reason])) from None
        try:
            found = json.loads(pasted)
        except (ValueError, RecursionError):
            raise ValidationError(gettext("This is not JSON.")) from None
        return dict(found)
