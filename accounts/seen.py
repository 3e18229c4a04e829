"""Fingerprints of what forms and the API show of people and groups (`core/seen.py`). An organization's policy has its
``policy_version``."""

from collections.abc import Iterable
from uuid import UUID

from accounts.models import Group, User
from core.seen import fingerprint


def of_site_role(user: User) -> str:
    return fingerprint("site role", user.pk, user.site_role)


def of_user(user: User) -> str:
    """All that `PATCH /users/{id}` changes."""
    return fingerprint("user", user.pk, user.site_role, user.is_active)


def of_user_in_admin(user: User) -> str:
    return fingerprint("user in admin", user.pk, user.email, user.name, user.site_role, user.is_active)


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


def of_provisioned_group(group: Group, member_ids: Iterable[UUID]) -> str:
    """All that SCIM changes."""
    return fingerprint("provisioned group", group.pk, group.name, group.external_id, sorted(map(str, member_ids)))
