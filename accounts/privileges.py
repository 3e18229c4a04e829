"""What gives a person an account, a role or a way to sign in, listed once.

Only a signed-in person may do these, and only if they proved who they are within the last 15 minutes. A token that
leaked, or a browser that was left open, must not create something that outlives it.

API operations, pages and Django admin name the privilege that they use. The services check it again with
`require_proof`, so a view that names none is still refused. One service doesn't: `credentials.change_password`, because
a person without two-factor proves who they are with their present password in the same form.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext_lazy, gettext_noop

from accounts.security.reauthentication import check_recent
from auditlog.open_use import token_in_use
from core.api.operations import Operation, RoleCheck, everyone
from core.api.problems import ClosedToTokens


class Privilege(Enum):
    """The value is the label, for people: translate it where it is shown."""

    # Other people.
    INVITE = gettext_noop("Invite someone")
    INVITE_AGAIN = gettext_noop("Send an invitation again")
    CHANGE_ROLE = gettext_noop("Change a person's site role")
    ACTIVATE = gettext_noop("Activate a person")
    EDIT_PERSON = gettext_noop("Create a person, or change their name, address, password or state, in Django admin")
    RESET_TWO_FACTOR = gettext_noop("Remove a person's two-factor")
    # The organization.
    CREATE_ORGANIZATION = gettext_noop("Create an organization in Django admin")
    CHANGE_POLICY = gettext_noop("Change the organization's policy")
    # One's own account.
    CREATE_TOKEN = gettext_noop("Create a token")
    REPLACE_TOKEN = gettext_noop("Replace one of my tokens")
    DECIDE_APPROVAL = gettext_noop("Approve or reject someone's token")
    CHANGE_OWN_EMAIL = gettext_noop("Change my e-mail address")
    CHANGE_OWN_PASSWORD = gettext_noop("Change my password")
    CHANGE_OWN_TWO_FACTOR = gettext_noop("Add or remove my second factors and recovery codes")
    DISCONNECT_SINGLE_SIGN_ON = gettext_noop("Disconnect my single sign-on")
    END_SESSION = gettext_noop("Sign out in one session")
    END_ALL_SESSIONS = gettext_noop("Sign out everywhere")

    def operation(self, *, role_allows: RoleCheck = everyone) -> Operation:
        """The API operation that does this: closed to tokens, and it asks again who you are."""
        return Operation(gettext_lazy(self.value), role_allows=role_allows, prove=check_recent)


def require_proof(privilege: Privilege, request: HttpRequest | None) -> None:
    """Call it in a service, before anything is changed. Raises ``ClosedToTokens`` or ``ReauthenticationRequired``.

    Commands have no request: people who can run them have the machine.
    """
    if request is None:
        return
    if token_in_use(request) is not None:
        raise ClosedToTokens(f"{privilege.value}: tokens can't do this, whatever their scopes. Sign in to the portal.")
    check_recent(request)


def privileges_for(changes: Mapping[str, Any]) -> list[Privilege]:
    """The privileges that a change of a person needs, by field. Deactivation needs none: it only takes rights away."""
    needed = []
    if "site_role" in changes:
        needed.append(Privilege.CHANGE_ROLE)
    if changes.get("is_active"):
        needed.append(Privilege.ACTIVATE)
    if {"email", "name", "password"}.intersection(changes):
        needed.append(Privilege.EDIT_PERSON)
    return needed
