"""The forms of single sign-on of an organization. Rules are typed as lines, because their order counts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import Group, OrganizationProvider
from accounts.provider_rules import CLAIMS_LIMIT, GroupRule, RoleRule
from accounts.roles import SiteRole
from core.pages.seen import SeenForm

LINES_LIMIT = 50_000
_AREA = {"rows": 5, "spellcheck": "false", "autocomplete": "off"}


class OrganizationSignOnForm(forms.Form):
    """``organization``: the short name, which tokens and the API call `account`."""

    organization = forms.CharField(
        label=_("Short name of your organization"),
        max_length=50,
        help_text=_("For example “acme”. An Administrator can tell you."),
        widget=forms.TextInput(attrs={"autocomplete": "organization", "autocapitalize": "none"}),
        error_messages={"required": _("Enter the short name of your organization.")},
    )

    def clean_organization(self) -> str:
        return str(self.cleaned_data["organization"]).strip().lower()


class RolesField(forms.CharField):
    """Lines like `groups = portal-admins -> administrator`. Cleaned: a list of `RoleRule`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, max_length=LINES_LIMIT, widget=forms.Textarea(attrs=_AREA), **kwargs)

    def clean(self, value: Any) -> Any:
        return list(self.rules(super().clean(value)))

    def rules(self, text: str) -> Iterator[RoleRule]:
        roles = {str(word).casefold(): role for role in SiteRole for word in (role.value, role.label)}
        for number, claim, wanted, target in _lines(text):
            if target.casefold() not in roles:
                known = ", ".join(SiteRole.values)
                said = gettext("Line %(number)s: no such site role. Choose one of: %(known)s.")
                raise ValidationError(said % {"number": number, "known": known})
            yield RoleRule(claim=claim, value=wanted, site_role=roles[target.casefold()].value)


class GroupsField(forms.CharField):
    """Lines like `groups = dev -> Developers`. Cleaned: a list of `GroupRule`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, max_length=LINES_LIMIT, widget=forms.Textarea(attrs=_AREA), **kwargs)
        self.groups: Sequence[Group] = ()

    def clean(self, value: Any) -> Any:
        return list(self.rules(super().clean(value)))

    def rules(self, text: str) -> Iterator[GroupRule]:
        groups = {group.name.casefold(): group for group in self.groups}
        for number, claim, wanted, target in _lines(text):
            if target.casefold() not in groups:
                said = gettext("Line %(number)s: your organization has no group “%(name)s”.")
                raise ValidationError(said % {"number": number, "name": target[:50]})
            yield GroupRule(claim=claim, value=wanted, group=str(groups[target.casefold()].pk))


class ProviderForm(SeenForm):
    name = forms.CharField(
        label=_("Name"), max_length=40, help_text=_("What the sign-in pages call the provider, for example “Acme ID”.")
    )
    is_enabled = forms.BooleanField(
        label=_("Switched on"), required=False, help_text=_("If it is off, nobody can sign in with this provider.")
    )
    issuer = forms.CharField(
        label=_("Issuer"),
        max_length=200,
        help_text=_("Exactly as the provider writes it, for example https://id.example.com/realms/acme."),
        widget=forms.TextInput(attrs={"inputmode": "url", "autocapitalize": "none", "spellcheck": "false"}),
    )
    client_id = forms.CharField(label=_("Client ID"), max_length=191, widget=forms.TextInput(attrs={"size": 40}))
    client_secret = forms.CharField(
        label=_("Client secret"),
        max_length=1000,
        required=False,
        strip=True,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )
    trusts_email = forms.BooleanField(
        label=_("Accept addresses that the provider does not mark as verified"),
        required=False,
        help_text=_(
            "Only if nobody can enter an address of somebody else at the provider. New people are never created for "
            "such an address."
        ),
    )
    creates_people = forms.BooleanField(
        label=_("Create people at their first sign-in"),
        required=False,
        help_text=_("Only with an address that the provider has verified, in one of the domains below."),
    )
    domains = forms.CharField(
        label=_("Domains"),
        required=False,
        max_length=1000,
        help_text=_("Separated by spaces, for example “example.com example.org”. Subdomains are not included."),
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false"}),
    )
    default_role = forms.ChoiceField(
        label=_("Site role if no rule applies"),
        choices=[choice for choice in SiteRole.choices if choice[0] != SiteRole.ADMINISTRATOR],
        initial=SiteRole.GUEST,
    )
    people_per_hour = forms.IntegerField(
        label=_("New people per hour, at most"), min_value=1, max_value=1000, initial=20
    )
    role_rules = RolesField(
        label=_("Site roles"),
        help_text=_(
            "One rule per line: claim = value -> site role, for example “groups = portal-admins -> administrator”. The "
            "first line that matches counts. Without any line, the provider decides nothing about site roles."
        ),
    )
    refuses_unmapped = forms.BooleanField(
        label=_("Refuse people to whom no line applies"),
        required=False,
        help_text=_("Otherwise they get the site role above."),
    )
    group_rules = GroupsField(
        label=_("Groups"),
        help_text=_(
            "One rule per line: claim = value -> group, for example “groups = dev -> Developers”. Every line that "
            "matches counts. Members of these groups then come from the provider only."
        ),
    )

    def __init__(self, *args: Any, groups: Sequence[Group], row: OrganizationProvider | None, **kwargs: Any) -> None:
        initial = _initial(row, groups) if row else {"is_enabled": True}
        super().__init__(*args, initial=initial, **kwargs)
        field = self.fields["group_rules"]
        if isinstance(field, GroupsField):
            field.groups = groups
        self.fields["client_secret"].help_text = (
            _("Stored encrypted, and never shown again. Leave it empty to keep the stored one.")
            if row
            else _("Stored encrypted, and never shown again.")
        )

    def changes(self) -> dict[str, Any]:
        return {name: value for name, value in self.cleaned_data.items() if name not in {"client_secret", "seen"}}


class TryClaimsForm(forms.Form):
    """``claims``: a JSON object. Nothing of it is kept."""

    claims = forms.CharField(
        label=_("Claims"),
        max_length=CLAIMS_LIMIT,
        help_text=_("The content of an ID token or of the user info as JSON, not the token itself."),
        widget=forms.Textarea(attrs=_AREA | {"rows": 8}),
        error_messages={"required": _("Paste the claims as JSON.")},
    )

    def clean_claims(self) -> Mapping[str, Any]:
        try:
            found = json.loads(self.cleaned_data["claims"])
        except (ValueError, RecursionError):
            raise ValidationError(gettext("This is not JSON.")) from None
        if not isinstance(found, dict):
            raise ValidationError(gettext('Paste a JSON object, like {"groups": ["dev"]}.'))
        return found


def _initial(row: OrganizationProvider, groups: Sequence[Group]) -> dict[str, Any]:
    names = {str(group.pk): group.name for group in groups}
    stored = ("name", "is_enabled", "issuer", "client_id", "trusts_email", "creates_people", "domains", "default_role")
    return {
        **{name: getattr(row, name) for name in (*stored, "people_per_hour", "refuses_unmapped")},
        "role_rules": "\n".join(f"{rule['claim']} = {rule['value']} -> {rule['site_role']}" for rule in row.role_rules),
        "group_rules": "\n".join(
            f"{rule['claim']} = {rule['value']} -> {names[rule['group']]}"
            for rule in row.group_rules
            if rule["group"] in names
        ),
    }


def _lines(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Number, claim, value and target of each line that is not empty."""
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        condition, arrow, target = line.rpartition("->")
        claim, equals, value = condition.partition("=")
        parts = claim.strip(), value.strip(), target.strip()
        if not (arrow and equals and all(parts)):
            said = gettext("Line %(number)s: write it like “groups = dev -> …”.")
            raise ValidationError(said % {"number": number})
        yield number, *parts
