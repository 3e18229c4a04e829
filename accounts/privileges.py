"""What gives a person an account, a role or a way to sign in, listed once.

Only a signed-in person may do these, and only if they proved who they are within the last 15 minutes. A token that
leaked, or a browser that was left open, must not create something that outlives it.

There is one exception: SCIM, for which an identity provider needs a token. Its scope is in no other one, the
organization must allow it, and only Administrators can use it (docs/scim.md).

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
from core.api import scopes
from core.api.operations import Operation, RoleCheck, everyone
from core.api.problems import ClosedToTokens
from core.http.request_context import is_scim


class Privilege(Enum):
    """The value is the label, for people: translate it where it is shown."""

    # Other people.
    INVITE = gettext_noop("Invite someone")
    INVITE_AGAIN = gettext_noop("Send an invitation again")
    CHANGE_ROLE = gettext_noop("Change a person's site role")
    ACTIVATE = gettext_noop("Activate a person")
    EDIT_PERSON = gettext_noop("Create a person, or change their name, address, password or state, in Django admin")
    ERASE_PERSON = gettext_noop("Erase a person")
    RESET_TWO_FACTOR = gettext_noop("Remove a person's two-factor")
    # Service accounts.
    CREATE_SERVICE_ACCOUNT = gettext_noop("Create a service account")
    CHANGE_SERVICE_ACCOUNT = gettext_noop("Change a service account, its role, or who is responsible for it")
    ACTIVATE_SERVICE_ACCOUNT = gettext_noop("Activate a service account")
    # The organization.
    CREATE_ORGANIZATION = gettext_noop("Create an organization in Django admin")
    CHANGE_POLICY = gettext_noop("Change the organization's policy")
    CHANGE_SINGLE_SIGN_ON = gettext_noop("Change the organization's single sign-on")
    REMOVE_SINGLE_SIGN_ON = gettext_noop("Remove the organization's single sign-on")
    CHANGE_WEBHOOKS = gettext_noop("Add, change, pause or delete a webhook")
    CHANGE_TRUST_RULES = gettext_noop("Add, change or delete a trust rule")
    CHANGE_SERVICES = gettext_noop("Add, change, switch off or delete a service")
    CHANGE_REVIEW_CAMPAIGNS = gettext_noop("Plan, start or cancel a review campaign")
    # One's own account.
    CREATE_TOKEN = gettext_noop("Create a token, for myself or a service account")
    REPLACE_TOKEN = gettext_noop("Replace one of my tokens or of a service account")
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


# What a token with the scope `scim` may do, and only at the addresses of SCIM.
PROVISIONING = frozenset({Privilege.INVITE, Privilege.CHANGE_ROLE, Privilege.ACTIVATE, Privilege.EDIT_PERSON})


def require_proof(privilege: Privilege, request: HttpRequest | None) -> None:
    """Call it in a service, before anything is changed. Raises ``ClosedToTokens`` or ``ReauthenticationRequired``.

    Commands have no request: people who can run them have the machine.
    """
    if request is None:
        return
    if token_in_use(request) is not None:
        if may_provision(privilege, request):
            return
        raise ClosedToTokens(f"{privilege.value}: tokens can't do this, whatever their scopes. Sign in to the portal.")
    check_recent(request)


def may_provision(privilege: Privilege, request: HttpRequest) -> bool:
    token = token_in_use(request)
    has_scope = token is not None and scopes.SCIM in scopes.parse(token.scope)
    return has_scope and privilege in PROVISIONING and is_scim(request)


def privileges_for(changes: Mapping[str, Any]) -> list[Privilege]:
    """The privileges that a change of a person needs, by field. Deactivation needs none: it only takes rights away."""
    needed = []
    if "site_role" in changes:
        needed.append(Privilege.CHANGE_ROLE)
    if changes.get("is_active"):
        needed.append(Privilege.ACTIVATE)
    if {"email", "name", "password", "external_id"}.intersection(changes):
        needed.append(Privilege.EDIT_PERSON)
    return needed
