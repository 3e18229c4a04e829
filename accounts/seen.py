"""Fingerprints of what forms and the API show of people and groups (`core/seen.py`). An organization's policy has its
``policy_version``."""

from collections.abc import Iterable
from uuid import UUID

from accounts.models import Group, OrganizationProvider, User
from core.seen import fingerprint


def of_site_role(user: User) -> str:
    return fingerprint("site role", user.pk, user.site_role)


def of_user(user: User) -> str:
    """All that `PATCH /users/{id}` changes."""
    return fingerprint("user", user.pk, user.site_role, user.is_active)


def of_user_in_admin(user: User) -> str:
    return fingerprint("user in admin", user.pk, user.email, user.name, user.site_role, user.is_active)


def of_service_account(account: User) -> str:
    """All that its form and `PATCH /service-accounts/{id}` change. Reads groups and responsible people, unless they
    were prefetched."""
    row = account.service_account
    groups = sorted(str(group.pk) for group in account.member_groups.all())
    responsible = sorted(str(person.pk) for person in row.responsible.all())
    return fingerprint(
        "service account", account.pk, account.name, row.description, account.site_role, groups, responsible
    )


def of_provisioned_user(user: User) -> str:
    """All that SCIM changes."""
    return fingerprint(
        "provisioned user", user.pk, user.email, user.name, user.site_role, user.is_active, user.external_id
    )


def of_group_name(group: Group) -> str:
    return fingerprint("group name", group.pk, group.name)


def of_group(group: Group) -> str:
    """Name and members. Reads the members, unless they were prefetched."""
    return fingerprint("group", group.pk, group.name, sorted(str(member.pk) for member in group.members.all()))


def of_provider(row: OrganizationProvider | None) -> str:
    """All that people change. The encrypted secret is part of it, too."""
    if row is None:
        return fingerprint("provider", None)
    shown = [
        row.name, row.is_enabled, row.issuer, row.client_id, row.sealed_secret, row.trusts_email, row.creates_people,
        row.domains, row.default_role, row.people_per_hour, row.role_rules, row.refuses_unmapped, row.group_rules,
    ]  # fmt: skip
    return fingerprint("provider", row.pk, *shown)


def of_provisioned_group(group: Group, member_ids: Iterable[UUID]) -> str:
    """All that SCIM changes."""
    return fingerprint("provisioned group", group.pk, group.name, group.external_id, sorted(map(str, member_ids)))
