"""Changes to people, groups and organizations, each with its entry in the activity log."""

import uuid
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from django.utils.text import slugify

from accounts.models import Group, Organization, User
from accounts.roles import SiteRole
from auditlog.actions import Action, record


class LastAdministrator(Exception):
    """The organization would be left without an active Administrator."""


def create_organization(*, name: str, administrator: dict[str, Any]) -> tuple[Organization, User]:
    """An organization with its first Administrator. Raises ``ValidationError``. The Administrator is the actor."""
    with transaction.atomic():
        organization = Organization(name=name.strip(), slug=_free_slug(name))
        organization.full_clean()
        organization.save()
        user = User.objects.create_user(organization=organization, site_role=SiteRole.ADMINISTRATOR, **administrator)
        record(actor=user, action=Action.USER_CREATED, target=user, site_role=user.site_role)
    return organization, user


def save_user(*, actor: User, user: User, is_new: bool, request: HttpRequest | None = None) -> User:
    """Saves a user that was filled in by a form. Raises ``LastAdministrator``.

    A changed role, an activation and a deactivation hold from the next request on, for sessions and tokens.
    """
    with transaction.atomic():
        before = None
        if not is_new:
            _lock_organization(user.organization_id)
            before = User.objects.select_for_update(no_key=True).get(pk=user.pk)
            check_administrator_stays(before, is_active=user.is_active, site_role=user.site_role)
        user.save()
        for action, details in _changes(before, user):
            record(actor=actor, action=action, target=user, request=request, **details)
    return user


def save_group(*, actor: User, group: Group, is_new: bool, request: HttpRequest | None = None, **details: Any) -> Group:
    action = Action.GROUP_CREATED if is_new else Action.GROUP_CHANGED
    with transaction.atomic():
        group.save()
        record(actor=actor, action=action, target=group, request=request, **details)
    return group


def delete_group(*, actor: User, group: Group, request: HttpRequest | None = None) -> None:
    with transaction.atomic():
        record(actor=actor, action=Action.GROUP_DELETED, target=group, request=request)
        group.delete()


def save_policy(*, actor: User, organization: Organization, request: HttpRequest | None = None) -> Organization:
    """Saves an organization's name and token policy. A shorter lifetime blocks longer tokens from their next use."""
    with transaction.atomic():
        organization.save()
        record(
            actor=actor,
            action=Action.POLICY_CHANGED,
            target=organization,
            request=request,
            max_token_lifetime_days=organization.max_token_lifetime_days,
        )
    return organization


def check_administrator_stays(before: User, *, is_active: bool, site_role: str) -> None:
    """Raises ``LastAdministrator`` when the change would leave an organization without an active one.

    Locks the organization's row, so that of two demotions at once the second sees the first. Call in a transaction.
    """
    was = before.is_active and before.site_role == SiteRole.ADMINISTRATOR
    stays = is_active and site_role == SiteRole.ADMINISTRATOR
    if not was or stays or before.organization_id is None:
        return
    _lock_organization(before.organization_id)
    administrators = User.objects.active().filter(
        organization_id=before.organization_id, site_role=SiteRole.ADMINISTRATOR
    )
    if not administrators.exclude(pk=before.pk).exists():
        raise LastAdministrator("The organization needs an active Administrator. Make someone else one first.")


def _lock_organization(organization_id: uuid.UUID | None) -> None:
    """Until the transaction ends. Comes before the lock of any person, so that two changes at once cannot deadlock.

    Without its key: entries of the logs, which refer to the organization and to the people, need not wait.
    """
    if organization_id is not None:
        Organization.objects.select_for_update(no_key=True).get(pk=organization_id)


def _changes(before: User | None, after: User) -> list[tuple[Action, dict[str, Any]]]:
    if before is None:
        return [(Action.USER_CREATED, {"site_role": after.site_role})]
    changes: list[tuple[Action, dict[str, Any]]] = []
    if before.site_role != after.site_role:
        changes.append((Action.USER_ROLE_CHANGED, {"from": before.site_role, "to": after.site_role}))
    if before.is_active != after.is_active:
        changes.append((Action.USER_ACTIVATED if after.is_active else Action.USER_DEACTIVATED, {}))
    # What changed and not to what: a password is none of the log's business, an address stands beside every entry.
    changed = [field for field in ("name", "email", "password") if getattr(before, field) != getattr(after, field)]
    if changed:
        changes.append((Action.USER_CHANGED, {"fields": changed}))
    return changes


def _free_slug(name: str) -> str:
    base = slugify(name)[:40] or "organization"
    taken = set(Organization.objects.filter(slug__startswith=base).values_list("slug", flat=True))
    return next(slug for slug in (base, *(f"{base}-{number}" for number in range(2, 10**6))) if slug not in taken)
