"""The forms of services. Scopes and path rules are typed as lines; the services check the values."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import finding
from accounts.models import Group, User
from accounts.roles import SiteRole
from core.pages.seen import SeenForm
from core.pages.widgets import PickerInput
from gateway import values
from gateway.models import (
    ADDRESS_MAX_LENGTH,
    DESCRIPTION_MAX_LENGTH,
    NAME_MAX_LENGTH,
    SLUG_MAX_LENGTH,
    Check,
    Service,
)
from gateway.request_paths import MAX_LENGTH
from gateway.services import LONGEST_OVERLAP_HOURS, OVERLAP_HOURS

LINES_LIMIT = 30_000
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
READS = "reads"

_CODE = {"autocapitalize": "none", "spellcheck": "false", "autocomplete": "off"}


class ServiceForm(SeenForm):
    """`cleaned_data`, without ``seen``: the values of `gateway.services.create_service`."""

    name = forms.CharField(
        label=_("Name"),
        max_length=NAME_MAX_LENGTH,
        help_text=_("People read it when they create a token, for example “Grafana”."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": _("Enter a name.")},
    )
    slug = forms.CharField(
        label=_("Short name"),
        max_length=SLUG_MAX_LENGTH,
        help_text=_(
            "Lower-case letters, digits and hyphens, for example “grafana”. The names of its scopes begin with it. It "
            "can't be changed later."
        ),
        widget=forms.TextInput(attrs=_CODE),
        error_messages={"required": _("Enter a short name.")},
    )
    address = forms.CharField(
        label=_("Address (optional)"),
        required=False,
        max_length=ADDRESS_MAX_LENGTH,
        help_text=_(
            "Where people and programs reach it, for example https://grafana.example.com. If the proxy names another "
            "host, the request is refused."
        ),
        widget=forms.TextInput(attrs=_CODE | {"inputmode": "url"}),
    )
    description = forms.CharField(
        label=_("Description (optional)"), required=False, max_length=DESCRIPTION_MAX_LENGTH, help_text=_("One line.")
    )
    check_by = forms.ChoiceField(label=_("How it checks tokens"), choices=Check.choices, widget=forms.RadioSelect)
    scopes = forms.CharField(
        label=_("Scopes"),
        required=False,
        max_length=LINES_LIMIT,
        help_text=_(
            "One per line, at most 20: name | label | description | reads. For example: read | Read | Look at "
            "dashboards | reads. Write “reads” at the end if the scope can't change anything. Tokens lose a scope that "
            "you remove or rename."
        ),
        widget=forms.Textarea(attrs=_CODE | {"rows": 4}),
    )
    rules = forms.CharField(
        label=_("Path rules"),
        required=False,
        strip=False,
        max_length=LINES_LIMIT,
        help_text=_(
            "For forward auth. One per line, the first that matches counts: methods, path, scope. For example: "
            "GET,HEAD /api/dashboards/** read. Methods: * means all. In a path, * matches one part between two "
            "slashes, and /** at the end matches everything below. Instead of a scope, write “any” for every token of "
            "the service, or “nobody”. A request that no line matches is refused."
        ),
        widget=forms.Textarea(attrs=_CODE | {"rows": 6}),
    )
    site_roles = forms.MultipleChoiceField(
        label=_("Site roles that may use it"),
        required=False,
        choices=SiteRole.choices,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("You can add people and groups on the page of the service. Without any, nobody may use it."),
    )
    needs_approval = forms.BooleanField(
        label=_("New tokens need approval"),
        required=False,
        help_text=_("A second person must approve each token for this service."),
    )
    allows_sessions = forms.BooleanField(
        label=_("People may open it in the browser"),
        required=False,
        help_text=_(
            "Signed-in people need no token for it. This needs forward auth and an address that begins with https://."
        ),
    )

    def __init__(self, *args: Any, service: Service | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if service is not None:
            del self.fields["slug"]

    def clean_scopes(self) -> list[dict[str, Any]]:
        lines = enumerate(self.cleaned_data["scopes"].splitlines(), start=1)
        return [_scope_in(line, number) for number, line in lines if line.strip()]

    def clean(self) -> dict[str, Any]:
        """Checks the values as the service does, so that a person reads all mistakes at once."""
        super().clean()
        given = self.changes()
        if "scopes" not in given:
            # Rules are checked with the scopes.
            given.pop("rules", None)
        try:
            values.take(Service(), given)
        except ValidationError as error:
            self.add_error(None, error)
        return self.cleaned_data

    def changes(self) -> dict[str, Any]:
        return {name: value for name, value in self.cleaned_data.items() if name != "seen"}


def _scope_in(line: str, number: int) -> dict[str, Any]:
    parts = [part.strip() for part in line.split("|")]
    only_reads = len(parts) > 2 and parts[-1].lower() == READS
    texts = parts[:-1] if only_reads or parts[3:] == [""] else parts
    if not 2 <= len(texts) <= 3:
        said = gettext("Line %(number)s: write it like “read | Read | Look at dashboards | reads”.")
        raise ValidationError(said % {"number": number})
    name, label, description = [*texts, ""][:3]
    return {"name": name, "label": label, "description": description, "only_reads": only_reads}


def lines_of(scopes: Iterable[dict[str, Any]]) -> str:
    return "\n".join(_line_of(scope) for scope in scopes)


def _line_of(scope: dict[str, Any]) -> str:
    parts = [scope["name"], scope["label"]]
    if scope["description"] or scope["only_reads"]:
        parts.append(scope["description"])
    if scope["only_reads"]:
        parts.append(READS)
    elif scope["description"].lower() == READS:
        # So that the word is not read as the mark.
        parts.append("")
    return " | ".join(parts)


def initial_of(service: Service) -> dict[str, Any]:
    names = ("name", "address", "description", "check_by", "rules", "needs_approval", "allows_sessions")
    return {
        **{name: getattr(service, name) for name in names},
        "scopes": lines_of(service.scopes),
        "site_roles": service.site_roles.split(),
    }


class AccessForm(forms.Form):
    """``who`` becomes a person or a group of the organization."""

    who = forms.CharField(
        label=_("Who"),
        max_length=finding.TEXT_MAX_LENGTH,
        widget=PickerInput("accounts:suggested_subjects"),
        help_text=_("The name or e-mail address of a person, or the name of a group."),
        error_messages={"required": _("Enter a name or an e-mail address.")},
    )

    def __init__(self, *args: Any, service: Service, person: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.service, self.person = service, person

    def clean_who(self) -> User | Group:
        here = self.service.organization_id
        return finding.subject_named(self.cleaned_data["who"], organization_id=here, reader=self.person)


class TryForm(forms.Form):
    method = forms.ChoiceField(label=_("Method"), choices=[(method, method) for method in METHODS])
    path = forms.CharField(
        label=_("Path"),
        max_length=MAX_LENGTH,
        strip=False,
        widget=forms.TextInput(attrs=_CODE | {"placeholder": "/api/dashboards/7"}),
        error_messages={"required": _("Enter a path.")},
    )


class SecretForm(forms.Form):
    overlap_hours = forms.IntegerField(
        label=_("Hours that the current secret still works"),
        min_value=0,
        max_value=LONGEST_OVERLAP_HOURS,
        initial=OVERLAP_HOURS,
        help_text=_("0 to 168. Choose 0 if somebody else may know it."),
    )
