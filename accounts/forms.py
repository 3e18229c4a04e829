from typing import Any

from allauth.account.forms import LoginForm


class SignInForm(LoginForm):
    """allauth's form in the portal's words. Fields: ``login`` (e-mail address) and ``password``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = "E-mail address"
        for field in self.fields.values():
            # The label says it; a placeholder would only say it again, and disappear.
            field.widget.attrs.pop("placeholder", None)
        self.fields["password"].help_text = ""
