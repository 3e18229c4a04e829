"""Checks in every test that no request gives access to a person without a fresh proof.

A view that writes one of these columns without a service that calls `require_proof` fails the first
test that uses it.
"""

import contextlib
import functools
import re
import sys

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.core.signals import request_started
from django.db import connection

from accounts import privileges
from accounts.models import POLICY_FIELDS, Organization, OrganizationProvider, User, Webhook
from accounts.security import reauthentication
from accounts.services.single_sign_on import PROVIDER_FIELDS
from auditlog.models import Activity
from gateway.models import Service, ServiceCredential, ServiceRule
from tokens.models import Token, TrustRule
from tokens.review.models import ReviewCampaign

# Writing these columns gives access to a person, or changes what access requires.
COLUMNS = {
    "accounts_user": {"email", "organization_id", "site_role", "is_active", "is_superuser", "password"},
    "accounts_organization": {"slug", *POLICY_FIELDS},
    "accounts_organizationprovider": {*PROVIDER_FIELDS, "sealed_secret", "connection"},
    "tokens_token": {"approved_at"},
    "gateway_service": {field.attname for field in Service._meta.concrete_fields},
    "gateway_servicerule": {field.attname for field in ServiceRule._meta.concrete_fields},
    "gateway_servicecredential": {"service_id", "digest"},
    "tokens_trustrule": {field.attname for field in TrustRule._meta.concrete_fields},
}
INSERTS = {*COLUMNS, "mfa_authenticator", "socialaccount_socialaccount"}
DELETES = {"mfa_authenticator", "socialaccount_socialaccount", "accounts_organizationprovider"}

# These check another proof: a mailed link, the current password, the answer of the provider, or the token that a token
# replaces: itself.
OWN_PROOF = {
    ("accounts.security.credentials", "accept_invitation"),
    ("accounts.security.credentials", "change_password"),
    ("accounts.security.credentials", "reset_password"),
    ("accounts.security.email_change", "confirm_email_change"),
    ("accounts.signin.single_sign_on.links", "connect"),
    ("accounts.signin.single_sign_on.people", "take_in"),
    ("tokens.replacement", "rotate_token"),
    # The JWT of a CI job, by a rule that a person made with a fresh proof.
    ("tokens.services", "issue_exchanged_token"),
    # Django hashes a password again when its owner signs in with it.
    ("django.contrib.auth.base_user", "setter"),
}
HANDLERS = ("django/core/handlers/base.py", "core/api/fast_path.py")

_STATEMENT = re.compile(r'(INSERT INTO|UPDATE|DELETE FROM) "(\w+)"')


def gives_a_way_in(sql, params):
    found = _STATEMENT.match(sql)
    if found is None:
        return False
    verb, table = found.groups()
    if verb == "INSERT INTO":
        return table in INSERTS
    if verb == "DELETE FROM":
        return table in DELETES
    written = set(re.findall(r'"(\w+)" = ', sql.partition(" SET ")[2].partition(" WHERE ")[0]))
    if table == "accounts_user" and written <= {"is_active", "deprovisioned_at"} and not params[0]:
        # Deactivation only removes rights.
        return False
    return bool(written & COLUMNS.get(table, set()))


def callers():
    frame = sys._getframe()
    while frame := frame.f_back:
        yield frame


def is_in_a_request():
    return any(frame.f_code.co_filename.endswith(HANDLERS) for frame in callers())


def has_a_proof_of_its_own():
    return any((frame.f_globals.get("__name__"), frame.f_code.co_name) in OWN_PROOF for frame in callers())


# The requests that had a fresh proof since the last one began.
_proved = []


@contextlib.contextmanager
def noted_proofs():
    """Notes which requests had a fresh proof, for `watched`. Once for all tests."""
    is_recent = reauthentication.is_recent

    def note(request):
        answer = is_recent(request)
        if answer:
            _proved.append(request)
        return answer

    may_provision = privileges.may_provision

    def note_provisioning(privilege, request):
        """A token for SCIM, which only an Administrator with a fresh proof can create."""
        answer = may_provision(privilege, request)
        if answer:
            _proved.append(request)
        return answer

    def forget(**kwargs):
        _proved.clear()

    request_started.connect(forget)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reauthentication, "is_recent", note)
        patch.setattr(privileges, "may_provision", note_provisioning)
        yield
    request_started.disconnect(forget)


def watched():
    """Watches what the requests of a test write."""
    _proved.clear()
    return connection.execute_wrapper(_watch)


def _watch(execute, sql, params, many, context):
    if gives_a_way_in(str(sql), params) and not _proved and is_in_a_request() and not has_a_proof_of_its_own():
        raise AssertionError(f"A request did this without a fresh proof of identity (accounts/privileges.py): {sql}")
    return execute(sql, params, many, context)


def snapshot():
    """Returns everything that currently gives people access, as the database stores it."""
    found = {}
    with connection.cursor() as cursor:
        for name, statement in _statements().items():
            cursor.execute(*statement)
            found[name] = set(cursor.fetchall())
    return found


@functools.cache
def _statements():
    """Cached, because the ORM takes longer to build these queries than the database to answer them."""
    columns = sorted(COLUMNS["accounts_user"] - {"is_active"})
    querysets = {
        "people": User.objects.values_list("pk", *columns),
        "active": User.objects.active().values_list("pk"),
        "organizations": Organization.objects.values_list(),
        "providers": OrganizationProvider.objects.values_list(*PROVIDER_FIELDS, "sealed_secret"),
        "factors": Authenticator.objects.values_list("pk"),
        "addresses": EmailAddress.objects.values_list("pk"),
        "links": SocialAccount.objects.values_list("pk"),
        "tokens": Token.objects.values_list("pk"),
        "campaigns": ReviewCampaign.objects.values_list(),
        "trust_rules": TrustRule.objects.values_list(),
        "services": Service.objects.values_list(),
        "rules_of_services": ServiceRule.objects.values_list(),
        "secrets_of_services": ServiceCredential.objects.values_list("pk", "ends_at"),
        "webhooks": Webhook.objects.values_list(),
        "approved": Token.objects.filter(approved_at__isnull=False).values_list("pk"),
        "invitations": Activity.objects.filter(action="user.invited").values_list("pk"),
    }
    return {name: queryset.order_by().query.sql_with_params() for name, queryset in querysets.items()}


def nothing_was_given_since(before):
    """Whether no person has got access since. People may have been deactivated."""
    after = snapshot()
    return after["active"] <= before["active"] and after | {"active": before["active"]} == before
