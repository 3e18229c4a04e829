from functools import cache
from typing import Any, ClassVar, cast

from allauth.account import forms as allauth_forms
from allauth.account.adapter import get_adapter
from allauth.account.forms import LoginForm, ReauthenticateForm
from django import forms
from django.conf import settings
from django.contrib.auth.forms import SetPasswordForm
from django.core.validators import MaxValueValidator, MinValueValidator
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from accounts import finding
from accounts.models import POLICY_FIELDS, POLICY_LISTS, Group, Organization, User
from accounts.notifications.kinds import KINDS, channel_for
from accounts.roles import SiteRole
from accounts.services import DESCRIPTION_MAX_LENGTH, MOST_RESPONSIBLE, ROLES_OF_SERVICE_ACCOUNTS
from accounts.webhooks.events import CHOICES
from accounts.webhooks.services import DESCRIPTION_LENGTH
from core.api import scopes
from core.http.fenced_call import URL_LIMIT_CHARACTERS
from core.networks import MAX_LENGTH as NETWORK_MAX_LENGTH
from core.networks import MOST_NETWORKS, clean_networks, words_of
from core.pages.seen import SeenForm
from core.pages.widgets import MOST_TO_READ, PickerInput, PickerTextarea, SuggestingInput
from core.reading import time_zones
from core.service_accounts import is_reserved

GROUP_NAMES_MAX_LENGTH = 200 * 52
HELP_WITH_CHOOSING = _("At least 12 characters. A sentence is easy to remember.")


def without_placeholders(form: forms.BaseForm) -> None:
    """Removes placeholders: they repeat the label, and disappear when somebody types."""
    for field in form.fields.values():
        field.widget.attrs.pop("placeholder", None)


class SignInForm(LoginForm):
    """allauth's form in the portal's words. Fields: ``login`` (e-mail address) and ``password``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = _("E-mail address")
        # "webauthn": browsers offer passkeys in this field, too (static/js/passkey.js).
        self.fields["login"].widget.attrs["autocomplete"] = "username webauthn"
        self.fields["login"].error_messages |= {
            "required": _("Enter your e-mail address."),
            "invalid": _("Enter a whole e-mail address, for example name@example.com."),
        }
        self.fields["password"].error_messages["required"] = _("Enter your password.")
        self.fields["password"].help_text = ""
        without_placeholders(self)

    def focus(self) -> None:
        """Puts the focus on the field to fill in next: one with an error, otherwise the first empty one.

        A form comes back without its password. If the sign-in failed, the password field is described by the summary,
        so that a screen reader says what is wrong.
        """
        if self.non_field_errors():
            self.fields["password"].widget.attrs |= {"aria-describedby": "error-summary", "aria-invalid": "true"}
        wanted = (name for name in ("login", "password") if name in self.errors or not self[name].value())
        name = "password" if self.non_field_errors() else next(wanted, "password")
        self.fields[name].widget.attrs["autofocus"] = True


class SignInAgainForm(ReauthenticateForm):
    """Field: ``password``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].error_messages["required"] = _("Enter your password.")
        self.fields["password"].help_text = ""
        without_placeholders(self)


class ExpireTokensField(forms.BooleanField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            label=_("Also expire my access tokens"),
            required=False,
            help_text=_(
                "If somebody else may have had access to your account. Scripts that use the tokens get 401. This "
                "cannot be undone."
            ),
            **kwargs,
        )


class NewPasswordMixin(forms.Form):
    """Fields: ``password1``, ``password2``, ``expire_tokens``."""

    expire_tokens = ExpireTokensField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password1"].label = _("New password")
        self.fields["password1"].help_text = HELP_WITH_CHOOSING
        self.fields["password2"].label = _("Repeat the password")
        without_placeholders(self)
        self.order_fields(["oldpassword", "password1", "password2", "expire_tokens"])


class ChangePasswordForm(NewPasswordMixin, allauth_forms.ChangePasswordForm):
    """Also ``oldpassword``, which is checked as when signing in: attempts are counted, and wrong ones recorded."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["oldpassword"].label = _("Current password")
        self.fields["oldpassword"].help_text = ""

    def clean_oldpassword(self) -> str:
        password: str = self.cleaned_data["oldpassword"]
        if not get_adapter().reauthenticate(self.user, password):
            raise forms.ValidationError(_("This is not your current password."))
        return password


class SetFirstPasswordForm(NewPasswordMixin, allauth_forms.SetPasswordForm):
    """For people who sign in without a password."""


class ResetPasswordForm(NewPasswordMixin, allauth_forms.ResetPasswordKeyForm):
    """For people who opened the link in a mail. The view saves it, because the link may have been used since."""


class AskPasswordResetForm(forms.Form):
    """Does not look in the database: the form must not reveal whether somebody has the address."""

    email = forms.EmailField(
        label=_("E-mail address"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "username"}),
        error_messages={"required": _("Enter your e-mail address.")},
    )


class ChangeEmailForm(forms.Form):
    email = forms.EmailField(
        label=_("New e-mail address"),
        max_length=254,
        help_text=_("We send a link to it. Until you open it, you sign in with your current address."),
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
        error_messages={"required": _("Enter an e-mail address.")},
    )

    def __init__(self, *args: Any, person: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.person = person

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].strip().lower()
        if email == self.person.email:
            raise forms.ValidationError(_("This is your current address."))
        if is_reserved(email):
            raise forms.ValidationError(_("Nobody can have this address."))
        return email


class SignOutEverywhereForm(forms.Form):
    including_here = forms.BooleanField(label=_("Also sign out in this browser"), required=False)
    expire_tokens = ExpireTokensField()


class NotificationPreferencesForm(forms.Form):
    """A channel for each kind of notification that the person can get with their site role."""

    def __init__(self, *args: Any, person: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kinds = [kind for kind in KINDS if kind.ability is None or person.may(kind.ability)]
        for kind in self.kinds:
            self.fields[kind.id] = forms.ChoiceField(
                label=kind.label,
                choices=[(channel.value, channel.label) for channel in kind.channels],
                initial=channel_for(person.notification_choices, kind).value,
            )

    def rows_about_security(self) -> list[forms.BoundField]:
        return [self[kind.id] for kind in self.kinds if kind.is_security]

    def other_rows(self) -> list[forms.BoundField]:
        return [self[kind.id] for kind in self.kinds if not kind.is_security]


class WebhookForm(forms.Form):
    """The service checks the values."""

    url = forms.CharField(
        label=_("URL"),
        max_length=URL_LIMIT_CHARACTERS,
        strip=True,
        widget=forms.URLInput(attrs={"autocomplete": "off"}),
        help_text=_("It must start with https://. The portal sends POST requests to it."),
        error_messages={"required": _("Enter the URL of the receiver.")},
    )
    description = forms.CharField(
        label=_("Description"), max_length=DESCRIPTION_LENGTH, required=False, help_text=_("Optional. What it is for.")
    )
    events = forms.MultipleChoiceField(
        label=_("Events"),
        choices=CHOICES,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": _("Choose at least one of the events in the list.")},
    )


class TimeZoneField(forms.CharField):
    """A time zone, typed with suggestions: its name in any case, with spaces as people see it, or only its city."""

    default_error_messages: ClassVar = {
        "required": _("Choose a time zone of the list, such as Europe/Berlin."),
        "unknown": _("Choose a time zone of the list, such as Europe/Berlin."),
    }

    def __init__(self, **kwargs: Any) -> None:
        names = [_in_words(name) for name in time_zones()]
        super().__init__(max_length=64, widget=SuggestingInput(names), **kwargs)

    def to_python(self, value: Any) -> str:
        text = super().to_python(value)
        if not text:
            return ""
        found = _zones_by_words().get(_in_words(text).lower())
        if found is None:
            raise forms.ValidationError(self.error_messages["unknown"], code="unknown")
        return found

    def prepare_value(self, value: Any) -> Any:
        return _in_words(value) if value else value


def _in_words(name: str) -> str:
    return name.replace("_", " ")


@cache
def _zones_by_words() -> dict[str, str]:
    """The names by what people type. Two names with the same city, such as Louisville, are of the same time zone."""
    by_city = {_in_words(name).rpartition("/")[2].lower(): name for name in time_zones()}
    return by_city | {_in_words(name).lower(): name for name in time_zones()}


class PreferencesForm(forms.Form):
    """Fields: ``language``, empty for that of the browser, and ``time_zone``."""

    language = forms.ChoiceField(
        label=_("Language"),
        choices=[("", _("As in the browser")), *settings.LANGUAGES],
        required=False,
        help_text=_("Of pages and mails. The API always answers in English."),
    )
    time_zone = TimeZoneField(
        label=_("Time zone"),
        help_text=_(
            "Type a large city in it, such as Berlin or New York, and choose the suggestion. Times are shown in this "
            "time zone, with UTC beside them. The API always answers in UTC."
        ),
    )


class GroupNamesField(forms.CharField):
    """Groups by name, one in each line, where checkboxes would be too many. Cleaned: a list of groups."""

    def __init__(self, *, actor: User) -> None:
        super().__init__(
            label=_("Groups"),
            required=False,
            max_length=GROUP_NAMES_MAX_LENGTH,
            widget=PickerTextarea("accounts:suggested_groups", _("Add a group")),
            help_text=_("Names of groups, which appear in the access rules of pipelines and services."),
        )
        self.actor = actor

    def clean(self, value: Any) -> Any:
        return finding.groups_named(super().clean(value), reader=self.actor)


class InviteForm(forms.Form):
    email = forms.EmailField(
        label=_("E-mail address"),
        max_length=254,
        help_text=_("We send a link to it, which sets a password."),
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
        error_messages={"required": _("Enter an e-mail address.")},
    )
    name = forms.CharField(
        label=pgettext_lazy("of a person", "Name"),
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": pgettext_lazy("of a person", "Enter a name.")},
    )
    site_role = forms.ChoiceField(label=_("Site role"), choices=SiteRole.choices, initial=SiteRole.GUEST)
    groups = forms.ModelMultipleChoiceField(
        label=_("Groups"),
        queryset=Group.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("They appear in the access rules of pipelines and services."),
    )

    def __init__(self, *args: Any, actor: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        groups = Group.objects.readable_by(actor)
        cast("forms.ModelMultipleChoiceField[Group]", self.fields["groups"]).queryset = groups
        if not groups:
            del self.fields["groups"]
        elif len(groups) > MOST_TO_READ:
            self.fields["groups"] = GroupNamesField(actor=actor)


class ResponsibleField(forms.CharField):
    """People by address or full name, one in each line. Cleaned: a list of people."""

    def __init__(self, *, actor: User) -> None:
        super().__init__(
            label=_("Responsible people"),
            max_length=MOST_RESPONSIBLE * finding.TEXT_MAX_LENGTH,
            widget=PickerTextarea("accounts:suggested_people", _("Add a person")),
            help_text=_(
                "Names or e-mail addresses. They can create, replace and expire its tokens, and get the mails about "
                "them."
            ),
            error_messages={"required": _("Name at least one active person who is responsible.")},
        )
        self.actor = actor

    def clean(self, value: Any) -> Any:
        people = User.objects.people().of_organization_readable_by(self.actor)
        found = {}
        for word in dict.fromkeys(finding.words_in(super().clean(value))):
            unknown = gettext("Nobody in your organization has this address: %(address)s") % {"address": word}
            person = finding.person_in(word, people=people, reader=self.actor, unknown=unknown)
            found[person.pk] = person
        return list(found.values())


class ServiceAccountForm(SeenForm):
    """Fields: ``name``, ``description``, ``site_role``, ``groups``, ``responsible``."""

    name = forms.CharField(
        label=_("Name"),
        max_length=100,
        help_text=_("What it does, for example “Nightly build”."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": _("Enter a name.")},
    )
    description = forms.CharField(
        label=_("Description (optional)"),
        required=False,
        max_length=DESCRIPTION_MAX_LENGTH,
        help_text=_("For example where its scripts run. At most 500 characters."),
        widget=forms.Textarea(attrs={"rows": 2, "autocomplete": "off"}),
    )
    site_role = forms.ChoiceField(
        label=_("Site role"),
        choices=[(role.value, role.label) for role in ROLES_OF_SERVICE_ACCOUNTS],
        initial=SiteRole.GUEST,
        help_text=_("Its tokens can never do more. A service account can't be an Administrator."),
    )

    def __init__(self, *args: Any, actor: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["groups"] = GroupNamesField(actor=actor)
        self.fields["responsible"] = ResponsibleField(actor=actor)


class EraseForm(forms.Form):
    """Asks for the person's address, so that nobody is erased by mistake."""

    confirm = forms.CharField(label=_("Their e-mail address"), max_length=254)

    def __init__(self, *args: Any, email: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["confirm"].help_text = _("Enter %(email)s to confirm.") % {"email": email}


class SiteRoleForm(SeenForm):
    site_role = forms.ChoiceField(label=_("Site role"), choices=SiteRole.choices)


class GroupForm(SeenForm):
    name = forms.CharField(
        label=_("Name"),
        max_length=50,
        help_text=_("At most 50 characters, for example “Release managers”."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": _("Enter a name.")},
    )


class MemberForm(forms.Form):
    """``email``: the address or the full name of a person in the actor's organization; `cleaned_data` has the
    person."""

    email = forms.CharField(
        label=_("Name or e-mail address"),
        max_length=finding.TEXT_MAX_LENGTH,
        widget=PickerInput("accounts:suggested_people"),
        error_messages={"required": _("Enter a name or an e-mail address.")},
    )

    def __init__(self, *args: Any, actor: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.actor = actor

    def clean_email(self) -> User:
        return finding.person_in(
            self.cleaned_data["email"],
            people=User.objects.of_organization_readable_by(self.actor),
            reader=self.actor,
            unknown=_("Nobody in your organization has this address."),
        )


class ChoosePasswordForm(SetPasswordForm):  # type: ignore[type-arg]
    """For invited people. Fields: ``new_password1`` and ``new_password2``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["new_password1"].label = _("Password")
        self.fields["new_password1"].help_text = HELP_WITH_CHOOSING
        self.fields["new_password2"].label = _("Repeat the password")
        self.fields["new_password2"].help_text = ""


class NetworksField(forms.CharField):
    """Networks in any separation. Cleaned: as `core.networks` stores them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            required=False,
            max_length=MOST_NETWORKS * NETWORK_MAX_LENGTH,
            widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "off", "spellcheck": "false"}),
            **kwargs,
        )

    def clean(self, value: Any) -> str:
        return clean_networks(words_of(super().clean(value)))


class PolicyForm(forms.ModelForm[Organization]):
    """An organization's policy. `cleaned_data` holds scopes and roles as they are stored, separated by spaces."""

    allowed_scopes = forms.MultipleChoiceField(
        label=_("Scopes that tokens may have"),
        choices=scopes.CHOICES,
        widget=forms.CheckboxSelectMultiple,
        help_text=_(
            "Tokens with any other scope are blocked from their next use on. Services have scopes of their own, which are "
            "not in this list."
        ),
        error_messages={"required": _("Allow at least one scope.")},
    )
    approval_scopes = forms.MultipleChoiceField(
        label=_("Scopes that need approval"),
        choices=scopes.CHOICES,
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text=_("A second person must approve new tokens with one of these scopes. Existing tokens work on."),
    )
    two_factor_roles = forms.MultipleChoiceField(
        label=_("Site roles that require two-factor"),
        choices=SiteRole.choices,
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text=_("Until they set it up, people with these roles can do nothing else, and their tokens are blocked."),
    )

    token_networks = NetworksField(
        label=_("Networks from which tokens can be used"),
        help_text=_(
            "Networks or addresses, such as 203.0.113.0/24 or 2001:db8::7; empty: from everywhere. At all "
            "other addresses, tokens are refused."
        ),
    )
    sign_in_networks = NetworksField(
        label=_("Networks from which people can sign in"),
        help_text=_("Empty: from everywhere. They apply to people with the site roles that you choose next."),
    )
    sign_in_network_roles = forms.MultipleChoiceField(
        label=_("Site roles that can sign in only from these networks"),
        choices=SiteRole.choices,
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text=_("At all other addresses, they can't sign in, and sessions that they have are refused."),
    )

    class Meta:
        model = Organization
        fields: ClassVar[tuple[str, ...]] = POLICY_FIELDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in POLICY_LISTS:
            words = getattr(self.instance, name).split()
            self.initial[name] = "\n".join(words) if isinstance(self.fields[name], NetworksField) else words
        self._tell_limits()

    def _tell_limits(self) -> None:
        """Gives the browser the limits of the model's validators."""
        for column in Organization._meta.fields:
            for validator in column.validators if column.name in POLICY_FIELDS else ():
                if isinstance(validator, MinValueValidator):
                    self.fields[column.name].widget.attrs["min"] = validator.limit_value
                elif isinstance(validator, MaxValueValidator):
                    self.fields[column.name].widget.attrs["max"] = validator.limit_value

    def clean_allowed_scopes(self) -> str:
        return " ".join(self.cleaned_data["allowed_scopes"])

    def clean_approval_scopes(self) -> str:
        return " ".join(self.cleaned_data["approval_scopes"])

    def clean_two_factor_roles(self) -> str:
        return " ".join(self.cleaned_data["two_factor_roles"])

    def clean_sign_in_network_roles(self) -> str:
        return " ".join(self.cleaned_data["sign_in_network_roles"])
