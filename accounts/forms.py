from typing import Any, cast

from allauth.account.forms import LoginForm
from django import forms
from django.contrib.auth.forms import SetPasswordForm

from accounts.models import Group, User
from accounts.roles import SiteRole


class SignInForm(LoginForm):
    """allauth's form in the portal's words. Fields: ``login`` (e-mail address) and ``password``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = "E-mail address"
        for field in self.fields.values():
            # The label says it; a placeholder would only say it again, and disappear.
            field.widget.attrs.pop("placeholder", None)
        self.fields["password"].help_text = ""


class InviteForm(forms.Form):
    email = forms.EmailField(
        label="E-mail address",
        max_length=254,
        help_text="A link to choose a password goes there.",
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Enter an e-mail address."},
    )
    name = forms.CharField(
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Enter a name."},
    )
    site_role = forms.ChoiceField(label="Site role", choices=SiteRole.choices, initial=SiteRole.GUEST)
    groups = forms.ModelMultipleChoiceField(
        queryset=Group.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="They appear in the access rules of pipelines.",
    )

    def __init__(self, *args: Any, actor: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        groups = Group.objects.readable_by(actor)
        cast("forms.ModelMultipleChoiceField[Group]", self.fields["groups"]).queryset = groups
        if not groups:
            del self.fields["groups"]


class SiteRoleForm(forms.Form):
    site_role = forms.ChoiceField(label="Site role", choices=SiteRole.choices)


class GroupForm(forms.Form):
    name = forms.CharField(
        max_length=50,
        help_text="At most 50 characters, for example “Release managers”.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Enter a name."},
    )


class MemberForm(forms.Form):
    """``user``: someone of the actor's organization, by e-mail address."""

    email = forms.CharField(
        label="E-mail address",
        max_length=254,
        widget=forms.TextInput(attrs={"autocomplete": "off", "list": "people", "inputmode": "email"}),
        error_messages={"required": "Enter an e-mail address."},
    )

    def __init__(self, *args: Any, actor: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.actor = actor

    def clean_email(self) -> User:
        email = self.cleaned_data["email"].strip().lower()
        user: User | None = User.objects.of_organization_readable_by(self.actor).filter(email=email).first()
        if user is None:
            raise forms.ValidationError("Nobody of your organization has this address.")
        return user


class ChoosePasswordForm(SetPasswordForm):  # type: ignore[type-arg]
    """For whoever was invited. Fields: ``new_password1`` and ``new_password2``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["new_password1"].label = "Password"
        self.fields["new_password1"].help_text = "At least 12 characters. A sentence is easy to remember."
        self.fields["new_password2"].label = "The same password again"
        self.fields["new_password2"].help_text = ""
