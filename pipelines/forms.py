"""Forms of pipelines. They check the shape; the services, which the API uses too, check the rules."""

from typing import Any

from django import forms
from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy, gettext_noop, ngettext, override

from accounts import finding
from accounts.models import Group, User
from accounts.roles import Ability
from core.pages.seen import FIELD, SeenForm
from core.pages.widgets import PickerInput, PickerTextarea
from core.text import Text
from pipelines.access import ItemRole, PipelineAction, may_grant
from pipelines.models import BODY_MAX_LENGTH, NAME_MAX_LENGTH, NOTIFIED_LIMIT, Pipeline, Step
from pipelines.people import people_of, people_who_see
from pipelines.services import StepInput
from pipelines.services.runs import MESSAGE_MAX_LENGTH
from pipelines.step_secrets import MISSING, PLACES
from pipelines.step_templates import StepTemplate

# Placeholder for the value of a secret in the form. It is never shown again.
UNCHANGED = gettext_noop("(unchanged)")


def _text(**attributes: Any) -> forms.TextInput:
    return forms.TextInput(attrs={"autocomplete": "off", **attributes})


def _lines(rows: int, **attributes: Any) -> forms.Textarea:
    return forms.Textarea(
        attrs={"rows": rows, "class": "code", "spellcheck": "false", "autocomplete": "off"} | attributes
    )


def _secret_field(label: Text, help_text: Text) -> forms.CharField:
    return forms.CharField(label=label, required=False, max_length=64 * 1024, widget=_lines(3), help_text=help_text)


def _name_field() -> forms.CharField:
    return forms.CharField(
        label=gettext_lazy("Name"),
        max_length=NAME_MAX_LENGTH,
        widget=_text(),
        error_messages={"required": gettext_lazy("Enter a name.")},
    )


class PipelineForm(SeenForm):
    name = _name_field()
    description = forms.CharField(
        label=gettext_lazy("Description"),
        max_length=2000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy("What it does, for everyone who can see it."),
    )
    tags = forms.CharField(
        label=gettext_lazy("Tags"),
        max_length=2000,
        required=False,
        widget=_text(),
        help_text=gettext_lazy("Separate tags with commas: nightly, linux."),
    )

    def clean_tags(self) -> list[str]:
        return [tag for part in self.cleaned_data["tags"].split(",") if (tag := part.strip())]


class DuplicateForm(forms.Form):
    name = _name_field()


class TransferForm(forms.Form):
    """``owner``: someone of the pipeline's organization, by e-mail address or name. ``person`` fills the form in."""

    owner = forms.CharField(
        label=gettext_lazy("New owner"),
        max_length=finding.TEXT_MAX_LENGTH,
        widget=_text(inputmode="email"),
        help_text=gettext_lazy("The e-mail address of a User, Power User or Administrator of your organization."),
        error_messages={"required": gettext_lazy("Enter an e-mail address.")},
    )

    def __init__(self, *args: Any, pipeline: Pipeline, person: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pipeline, self.person = pipeline, person
        if person.may(Ability.READ_USERS):
            self.fields["owner"].widget = PickerInput(reverse("pipelines:suggested_owners", args=[pipeline.pk]))
            self.fields["owner"].help_text = gettext(
                "The name or e-mail address of a User, Power User or Administrator of your organization."
            )
            self.fields["owner"].error_messages["required"] = gettext("Enter a name or an e-mail address.")

    def clean_owner(self) -> User:
        return finding.person_in(
            self.cleaned_data["owner"],
            people=people_of(self.pipeline),
            reader=self.person,
            unknown=gettext("Nobody active in your organization has this address."),
        )


class NotificationsForm(SeenForm):
    """``notified_people``: people who can see the pipeline, one e-mail address or full name per line. ``person`` fills
    the form in."""

    notified_people = forms.CharField(
        label=gettext_lazy("E-mail addresses"),
        required=False,
        max_length=NOTIFIED_LIMIT * finding.TEXT_MAX_LENGTH,
        widget=_lines(6),
        help_text=gettext_lazy("One per line. Only people of your organization who can see this pipeline."),
    )

    def __init__(self, *args: Any, pipeline: Pipeline, person: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pipeline, self.person = pipeline, person
        if person.may(Ability.READ_USERS):
            self.fields["notified_people"].label = gettext("People")
            source = reverse("pipelines:suggested_recipients", args=[pipeline.pk])
            self.fields["notified_people"].widget = PickerTextarea(source, gettext("Add a person"))
            self.fields["notified_people"].help_text = gettext(
                "Names or e-mail addresses. Only people of your organization who can see this pipeline."
            )

    def clean_notified_people(self) -> list[User]:
        words = dict.fromkeys(finding.words_in(self.cleaned_data["notified_people"]))
        if len(words) > NOTIFIED_LIMIT:
            too_many = ngettext("Choose at most %(limit)s person.", "Choose at most %(limit)s people.", NOTIFIED_LIMIT)
            raise forms.ValidationError(too_many % {"limit": NOTIFIED_LIMIT})
        addresses = {word: finding.address_in(word) for word in words}
        allowed = people_who_see(self.pipeline)
        by_address = {person.email: person for person in allowed.filter(email__in=addresses.values())}
        found = {word: by_address.get(address) or self._named(word) for word, address in addresses.items()}
        named = [person.pk for person in found.values() if person and person.email not in by_address]
        seeing = {*by_address.values(), *allowed.filter(pk__in=named)}
        for word, person in found.items():
            if person not in seeing:
                raise forms.ValidationError(self._unknown(word))
        return sorted(seeing, key=lambda person: person.email)

    def _named(self, word: str) -> User | None:
        return None if "@" in word else finding.person_named(word, reader=self.person)

    def _unknown(self, word: str) -> str:
        if "@" in word or not self.person.may(Ability.READ_USERS):
            text = gettext("Nobody active who can see this pipeline has this address: %(address)s")
            return text % {"address": finding.address_in(word)}
        return gettext("Nobody active who can see this pipeline has this name: %(name)s") % {"name": word}


class StepForm(SeenForm):
    """``kind`` decides which fields there are. ``step_input()`` returns the input of the services."""

    name = _name_field()
    method = forms.ChoiceField(
        label=gettext_lazy("Method"),
        choices=[(name, name) for name in Step.Method.values],
        initial=Step.Method.POST,
    )
    url = forms.CharField(
        label="URL",
        max_length=2048,
        widget=_text(spellcheck="false", inputmode="url"),
        error_messages={"required": gettext_lazy("Enter a URL.")},
    )
    headers = forms.CharField(
        label=gettext_lazy("Headers"),
        required=False,
        max_length=64 * 1024,
        widget=_lines(3),
        help_text=gettext_lazy("One per line, such as “Accept: text/plain”. Everyone who can edit steps sees them."),
    )
    secret_headers = _secret_field(
        gettext_lazy("Secret headers"),
        gettext_lazy("One per line, such as “Authorization: Bearer ...”. Stored encrypted and never shown again."),
    )
    secret_query = _secret_field(
        gettext_lazy("Secret parameters of the URL"),
        gettext_lazy(
            "One per line, such as “token: ...”. Added to the URL as “?token=...”. Stored encrypted and never shown "
            "again."
        ),
    )
    body = forms.CharField(
        label=gettext_lazy("Body"), required=False, max_length=BODY_MAX_LENGTH, strip=False, widget=_lines(6)
    )
    secret_body = _secret_field(
        gettext_lazy("Secret fields of the body"),
        gettext_lazy(
            "One per line, such as “password: ...”. Added to a body that is a JSON object or a form; “inputs.token” "
            "goes inside “inputs”. Stored encrypted and never shown again."
        ),
    )
    expected_status = forms.IntegerField(
        label=gettext_lazy("Expected status"),
        min_value=100,
        max_value=599,
        initial=200,
        help_text=gettext_lazy("Any other status fails the run."),
    )
    instructions = forms.CharField(
        label=gettext_lazy("Instructions"),
        required=False,
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy("What to check before approving."),
    )

    def __init__(self, *args: Any, kind: str, has_secrets: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kind = kind
        for field in ["instructions"] if kind == Step.Kind.HTTP_CALL else HTTP_FIELDS:
            del self.fields[field]
        keeps = gettext("“%(unchanged)s” keeps the current value. Type over it to change it, or delete the line.")
        for place in self.fields.keys() & PLACES if has_secrets else ():
            help_text = self.fields[place].help_text
            self.fields[place].help_text = f"{help_text} {keeps % {'unchanged': gettext(UNCHANGED)}}"

    def clean_headers(self) -> dict[str, str]:
        return dict(parse_headers(self.cleaned_data["headers"]))

    def clean_secret_headers(self) -> dict[str, str | None]:
        return self._clean_secrets("secret_headers")

    def clean_secret_query(self) -> dict[str, str | None]:
        return self._clean_secrets("secret_query")

    def clean_secret_body(self) -> dict[str, str | None]:
        return self._clean_secrets("secret_body")

    def _clean_secrets(self, place: str) -> dict[str, str | None]:
        pairs = parse_headers(self.cleaned_data[place], any_case=place == "secret_headers")
        return {name: None if _is_unchanged(value) else value for name, value in pairs}

    def step_input(self) -> StepInput:
        values = {name: value for name, value in self.cleaned_data.items() if name != FIELD}
        return StepInput(kind=self.kind, **values)


def _is_unchanged(value: str) -> bool:
    """In any language: the person may have changed theirs since the form was shown."""
    for language, _ in settings.LANGUAGES:
        with override(language):
            if value == gettext(UNCHANGED):
                return True
    return False


HTTP_FIELDS = ("method", "url", "headers", "body", "expected_status", *PLACES)


def parse_headers(text: str, *, any_case: bool = True) -> list[tuple[str, str]]:
    """``any_case``: names are the same in upper and lower case.

    From lines of ``Name: value``. Raises ``ValidationError`` with the number of the line, without repeating it."""
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise forms.ValidationError(gettext("Line %(number)s is not like “Name: value”.") % {"number": number})
        written = name.strip().lower() if any_case else name.strip()
        if written in {known.lower() if any_case else known for known, _ in pairs}:
            raise forms.ValidationError(gettext("Line %(number)s repeats a name.") % {"number": number})
        pairs.append((name.strip(), value.strip()))
    return pairs


def initial_of(step: Step) -> dict[str, Any]:
    """Initial values of a step's form: everything except the values of its secrets."""
    return {
        "name": step.name,
        "method": step.method,
        "url": step.url,
        "headers": _as_lines((name, step.headers[name]) for name in step.headers),
        **{place: _secret_lines(getattr(step, place)) for place in PLACES},
        "body": step.body,
        "expected_status": step.expected_status,
        "instructions": step.instructions,
    }


def initial_of_template(template: StepTemplate) -> dict[str, Any]:
    return {
        "name": str(template.label),
        "method": template.method,
        "url": template.url,
        "headers": _as_lines(template.headers.items()),
        "secret_headers": _as_lines((name, "") for name in template.secret_header_names),
        "body": template.body,
        "expected_status": template.expected_status,
    }


def _secret_lines(values: dict[str, str]) -> str:
    return _as_lines((name, gettext(UNCHANGED) if value != MISSING else "") for name, value in values.items())


def _as_lines(pairs: Any) -> str:
    return "\n".join(f"{name}: {value}" for name, value in pairs)


class AccessRuleForm(SeenForm):
    """``who`` becomes a person or a group of the pipeline's organization. ``person`` fills the form in."""

    who = forms.CharField(
        label=gettext_lazy("Who"),
        max_length=finding.TEXT_MAX_LENGTH,
        widget=PickerInput("accounts:suggested_subjects"),
        help_text=gettext_lazy("The e-mail address of a person, or the name of a group."),
        error_messages={"required": gettext_lazy("Enter an e-mail address or the name of a group.")},
    )
    role = forms.ChoiceField(label=gettext_lazy("Role"), choices=ItemRole.choices, initial=ItemRole.USER)

    def __init__(
        self, *args: Any, pipeline: Pipeline, person: User, allowed: frozenset[PipelineAction], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.pipeline = pipeline
        self.person = person
        if person.may(Ability.READ_USERS):
            self.fields["who"].help_text = gettext("The name or e-mail address of a person, or the name of a group.")
            self.fields["who"].error_messages["required"] = gettext("Enter a name or an e-mail address.")
        self.fields["role"].choices = roles_to_grant(allowed)  # type: ignore[attr-defined]

    def clean_who(self) -> User | Group:
        here = self.pipeline.organization_id
        return finding.subject_named(self.cleaned_data["who"], organization_id=here, reader=self.person)


class RoleForm(SeenForm):
    role = forms.ChoiceField(label=gettext_lazy("Role"), choices=ItemRole.choices)


class GateForm(forms.Form):
    message = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=MESSAGE_MAX_LENGTH,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=gettext_lazy("Appears in the run's log. Required to reject, optional to approve."),
        error_messages={"required": gettext_lazy("Say why you reject it.")},
    )

    def __init__(self, *args: Any, needs_reason: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["message"].required = needs_reason


def roles_to_grant(allowed: frozenset[PipelineAction]) -> list[tuple[str, Text]]:
    return [(role.value, role.label) for role in ItemRole if may_grant(allowed, role)]
