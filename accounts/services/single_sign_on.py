"""An organization's own provider of single sign-on: setting it up, changing and removing it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.debug import sensitive_variables

from accounts import seen as fingerprints
from accounts.models import Group, Organization, OrganizationProvider, User
from accounts.privileges import Privilege, require_proof
from accounts.provider_rules import CLAIM_LIMIT, GroupRule, RoleRule
from accounts.provider_secrets import seal_secret
from accounts.roles import Ability, SiteRole
from accounts.services.guard import allowed, locked_organization
from accounts.signin.single_sign_on.provider import is_allowed
from auditlog.actions import Action
from auditlog.record import record
from core.errors import DomainError
from core.seen import check_seen
from core.setting_readers import is_issuer
from core.text import NOT_PRINTABLE, composed, is_printable

RULES_LIMIT = 100
DOMAINS_LIMIT = 50
_DOMAIN = re.compile(r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

# What an Administrator can change, besides the secret.
PROVIDER_FIELDS = (
    "name",
    "is_enabled",
    "issuer",
    "client_id",
    "trusts_email",
    "creates_people",
    "domains",
    "default_role",
    "people_per_hour",
    "role_rules",
    "refuses_unmapped",
    "group_rules",
)


class NoOwnProviders(DomainError):
    """The operator has allowed no hosts."""

    code = "no_own_providers"
    message = gettext_lazy(
        "On this portal, organizations can't have their own single sign-on. The operator can allow it with "
        "OIDC_ORGANIZATION_HOSTS."
    )


@sensitive_variables("secret")
def save_provider(
    *,
    actor: User,
    changes: Mapping[str, Any],
    secret: str = "",
    organization: Organization | None = None,
    seen: str | None = None,
    request: HttpRequest | None = None,
) -> OrganizationProvider:
    """Sets up or changes the organization's provider. It applies from the next sign-in on.

    ``changes``: values by field, `PROVIDER_FIELDS`; the others keep their values. ``secret``: empty to keep the stored
    one, which is possible only for the same issuer and client: it is never sent to another provider. ``seen``:
    `accounts.seen.of_provider`. Raises ``NotAllowed``, ``NoOwnProviders``, ``ChangedMeanwhile``, or
    ``ValidationError`` by field; then nothing is changed.
    """
    require_proof(Privilege.CHANGE_SINGLE_SIGN_ON, request)
    if not settings.OIDC_ORGANIZATION_HOSTS:
        raise NoOwnProviders
    with transaction.atomic():
        person = allowed(actor, Ability.MANAGE_ORGANIZATION)
        home = locked_organization(person, organization or person.own_organization)
        stored = OrganizationProvider.objects.filter(organization=home).first()
        check_seen(seen, fingerprints.of_provider(stored))
        row = stored or OrganizationProvider(organization=home)
        before = values_of_provider(stored)
        for field, value in changes.items():
            setattr(row, field, value)
        groups = _check(row)
        if secret:
            row.sealed_secret = seal_secret(_checked_secret(secret), row)
        elif not stored or (row.issuer, row.client_id) != (before["issuer"], before["client_id"]):
            said = gettext("Enter the client secret: the stored one is kept only for the same issuer and client.")
            raise ValidationError({"client_secret": said if stored else gettext("Enter the client secret.")})
        row.connection = row.connection_name()
        details: dict[str, Any] = {
            field: {"from": before.get(field), "to": value}
            for field, value in values_of_provider(row).items()
            if before.get(field) != value
        }
        if secret:
            details["client_secret"] = "replaced" if stored else "set"
        if details:
            row.save()
            row.managed_groups.set(groups)
            record(actor=actor, action=Action.SINGLE_SIGN_ON_CHANGED, target=home, request=request, **details)
    return row


def remove_provider(
    *, actor: User, organization: Organization | None = None, request: HttpRequest | None = None
) -> bool:
    """Removes the provider and everybody's connection with it, and returns whether there was one.

    People and their roles stay; those without another way to sign in request a password on the sign-in page
    (`accounts.signin.password_reset.can_reset`).
    """
    require_proof(Privilege.REMOVE_SINGLE_SIGN_ON, request)
    with transaction.atomic():
        person = allowed(actor, Ability.MANAGE_ORGANIZATION)
        home = locked_organization(person, organization or person.own_organization)
        row = OrganizationProvider.objects.filter(organization=home).first()
        if row is None:
            return False
        SocialAccount.objects.filter(provider__startswith=f"oidc-{row.pk.hex}-").delete()
        row.delete()
        record(actor=actor, action=Action.SINGLE_SIGN_ON_REMOVED, target=home, request=request, issuer=row.issuer)
    return True


def values_of_provider(row: OrganizationProvider | None) -> dict[str, Any]:
    """`PROVIDER_FIELDS` with their values, for the log and the API; empty if there is no provider."""
    return {field: getattr(row, field) for field in PROVIDER_FIELDS} if row else {}


def _check(row: OrganizationProvider) -> list[Group]:
    """Raises ``ValidationError`` by field. Returns the groups that the rules name."""
    row.name = composed(" ".join(row.name.split()))
    row.issuer, row.client_id = row.issuer.strip(), row.client_id.strip()
    errors: dict[str, Any] = {}
    try:
        row.clean_fields(exclude={"sealed_secret", "connection", "organization", "role_rules", "group_rules"})
    except ValidationError as error:
        errors |= error.message_dict
    if not is_printable(row.name):
        errors["name"] = NOT_PRINTABLE
    if "issuer" not in errors and not is_issuer(row.issuer):
        errors["issuer"] = gettext("Enter an address like https://id.example.com/realm: https, without ? and #.")
    elif "issuer" not in errors and not is_allowed(row.issuer):
        hosts = ", ".join(settings.OIDC_ORGANIZATION_HOSTS)
        errors["issuer"] = gettext("The operator allows only these hosts: %(hosts)s.") % {"hosts": hosts}
    if not row.client_id.isprintable():
        errors["client_id"] = NOT_PRINTABLE
    if row.default_role == SiteRole.ADMINISTRATOR:
        errors["default_role"] = gettext("Nobody becomes an Administrator by default. Use a rule for it.")
    groups: list[Group] = []
    for field, check in (("domains", _check_domains), ("role_rules", _check_role_rules)):
        try:
            check(row)
        except ValidationError as error:
            errors[field] = error.messages
    try:
        groups = _check_group_rules(row)
    except ValidationError as error:
        errors["group_rules"] = error.messages
    if errors:
        raise ValidationError(errors)
    return groups


def _check_domains(row: OrganizationProvider) -> None:
    domains = list(dict.fromkeys(row.domains.lower().replace(",", " ").split()))
    if wrong := [domain for domain in domains if not _DOMAIN.fullmatch(domain)]:
        raise ValidationError(gettext("Not a domain: %(domain)s. Write it like example.com.") % {"domain": wrong[0]})
    if len(domains) > DOMAINS_LIMIT:
        raise ValidationError(gettext("There can be at most %(limit)s.") % {"limit": DOMAINS_LIMIT})
    if row.creates_people and not domains:
        raise ValidationError(gettext("Enter the domains of the addresses for which people are created."))
    row.domains = " ".join(domains)


def _check_role_rules(row: OrganizationProvider) -> None:
    rules: list[RoleRule] = row.role_rules
    _check_claims(rules)
    for position, rule in enumerate(rules, start=1):
        if rule["site_role"] not in SiteRole.values:
            raise ValidationError(gettext("Rule %(position)s: no such site role.") % {"position": position})


def _check_group_rules(row: OrganizationProvider) -> list[Group]:
    rules: list[GroupRule] = row.group_rules
    _check_claims(rules)
    groups = {str(group.pk): group for group in Group.objects.filter(organization_id=row.organization_id)}
    for position, rule in enumerate(rules, start=1):
        if rule["group"] not in groups:
            said = gettext("Rule %(position)s: no such group in your organization.")
            raise ValidationError(said % {"position": position})
    return [groups[pk] for pk in dict.fromkeys(rule["group"] for rule in rules)]


def _check_claims(rules: Sequence[RoleRule] | Sequence[GroupRule]) -> None:
    if len(rules) > RULES_LIMIT:
        raise ValidationError(gettext("There can be at most %(limit)s rules.") % {"limit": RULES_LIMIT})
    for position, rule in enumerate(rules, start=1):
        for part in (rule["claim"], rule["value"]):
            if not part.strip() or len(part) > CLAIM_LIMIT or not part.isprintable():
                said = gettext("Rule %(position)s: claim and value need 1 to %(limit)s printable characters.")
                raise ValidationError(said % {"position": position, "limit": CLAIM_LIMIT})


def _checked_secret(secret: str) -> str:
    if len(secret) > 1000 or not secret.isprintable():
        raise ValidationError({"client_secret": gettext("Enter at most 1000 printable characters.")})
    return secret
