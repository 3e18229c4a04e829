"""How a person proved who they are, for the activity log."""

from allauth.account.authentication import get_authentication_records
from allauth.mfa.models import Authenticator
from django.http import HttpRequest

from accounts.models import User
from accounts.security import two_factor
from accounts.signin.single_sign_on.provider import METHOD as SINGLE_SIGN_ON

# allauth's names of methods and types of second factors, and the names in the log.
METHODS = {
    "socialaccount": SINGLE_SIGN_ON,
    **two_factor.KINDS,
    Authenticator.Type.RECOVERY_CODES: "recovery code",
}


def methods_of(request: HttpRequest, user: User) -> list[str]:
    """In order: `["password", "authenticator app"]`."""
    records = get_authentication_records(request, user)
    return [METHODS.get(record.get("type", record["method"]), record["method"]) for record in records]
