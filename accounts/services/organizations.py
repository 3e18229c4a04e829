"""Creating organizations and changing their policies."""

from collections.abc import Mapping
from copy import copy
from itertools import chain, count
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from django.utils.text import slugify
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import Organization, User
from accounts.privileges import Privilege, require_proof
from accounts.roles import Ability, SiteRole
from accounts.services.guard import allowed, locked_organization
from auditlog.actions import Action
from auditlog.record import record
from core.errors import DomainError, NotAllowed
from core.http.request_context import client_address
from core.seen import check_seen


class PolicyChangedMeanwhile(DomainError):
    code = "policy_changed"
    message = _("Somebody else changed the policy since you opened it. Nothing was saved.")


class WouldLockOut(DomainError):
    """The actor could do nothing more after the change. ``field`` is the rule that would keep them out."""


class TwoFactorFirst(WouldLockOut):
    """The policy would require two-factor of the actor, who has not set it up."""

    code = "two_factor_first"
    field = "two_factor_roles"
    message = _(
        "Set up two-factor for yourself first, under your profile, Security: your own site role would require it."
    )


class OwnAddressOutside(WouldLockOut):
    """With the policy, the actor could not sign in from where they are."""

    code = "own_address_outside"
    field = "sign_in_networks"

    def __init__(self, address: str | None) -> None:
        super().__init__(
            gettext(
                "You are at %(address)s, which is in none of these networks, and your own site role could sign in only "
                "from them. Add your network, or make the change from inside."
            )
            % {"address": address or gettext("an unknown address")}
        )


def set_up_organization(*, name: str, administrator: Mapping[str, Any]) -> tuple[Organization, User]:
    """Creates an organization with its first Administrator, who is the actor. Raises ``ValidationError``.

    ``administrator``: ``email``, ``name`` and ``password``.
    """
    with transaction.atomic():
        organization = _create(name=name, slug=_free_slug(name))
        user = User.objects.create_user(organization=organization, site_role=SiteRole.ADMINISTRATOR, **administrator)
        record(actor=user, action=Action.USER_CREATED, target=user, site_role=user.site_role)
    return organization, user


def create_organization(
    *, actor: User, name: str, slug: str, policy: Mapping[str, Any], request: HttpRequest | None = None
) -> Organization:
    """Creates an organization without people, for operators. ``policy``: values by field, `POLICY_FIELDS`.

    Raises ``NotAllowed``, or ``ValidationError`` by field.
    """
    require_proof(Privilege.CREATE_ORGANIZATION, request)
    if not actor.is_superuser:
        raise NotAllowed
    with transaction.atomic():
        organization = _create(name=name, slug=slug, **policy)
        record(actor=actor, action=Action.POLICY_CHANGED, target=organization, request=request, **organization.policy)
    return organization


def planned_policy(
    *,
    actor: User,
    organization: Organization,
    changes: Mapping[str, Any],
    version: str | None = None,
    request: HttpRequest | None = None,
) -> Organization:
    """The organization as it would be after these changes: checked, and not saved.

    ``changes``: values by field, `POLICY_FIELDS` and ``name``. ``version``: the ``policy_version`` that the actor
    looked at. Raises ``PolicyChangedMeanwhile``, ``WouldLockOut`` (``TwoFactorFirst``, ``OwnAddressOutside``), or
    ``ValidationError`` by field.
    """
    if version is not None and version != organization.policy_version:
        raise PolicyChangedMeanwhile
    planned = copy(organization)
    for field, value in changes.items():
        setattr(planned, field, value)
    # The validators already say what the database's constraints would say, in better words.
    planned.full_clean(validate_constraints=False)
    if actor.organization_id == organization.pk:
        _check_own_two_factor(actor, organization, planned)
        _check_own_address(actor, planned, request)
    return planned


def save_policy(
    *,
    actor: User,
    organization: Organization,
    changes: Mapping[str, Any],
    version: str | None = None,
    seen: str | None = None,
    request: HttpRequest | None = None,
) -> Organization:
    """Changes an organization's policy, or its name. It applies from the next request on, to existing tokens too.

    ``seen``: like ``version``, but raises ``ChangedMeanwhile``. Raises ``NotAllowed`` and what `planned_policy` raises;
    then nothing is changed. If two people save at once, the second change is compared with what the first has saved.
    """
    require_proof(Privilege.CHANGE_POLICY, request)
    with transaction.atomic():
        if "name" in changes:
            # A unique column: before `allowed` locks less.
            locked_organization(actor, organization, blocks_references=True)
        person = allowed(actor, Ability.MANAGE_ORGANIZATION)
        before = locked_organization(person, organization)
        check_seen(seen, before.policy_version)
        after = planned_policy(actor=person, organization=before, changes=changes, version=version, request=request)
        changed = _changed_fields(before, after)
        if changed:
            after.save(update_fields=list(changed))
            record(actor=actor, action=Action.POLICY_CHANGED, target=after, request=request, **changed)
    return after


def _create(**fields: Any) -> Organization:
    organization = Organization(**{**fields, "name": fields["name"].strip()})
    organization.full_clean()
    organization.save()
    return organization


def _changed_fields(before: Organization, after: Organization) -> dict[str, dict[str, Any]]:
    """For the log: ``from`` and ``to`` by field."""
    old, new = ({"name": row.name, **row.policy} for row in (before, after))
    return {field: {"from": old[field], "to": new[field]} for field in new if old[field] != new[field]}


def _check_own_two_factor(actor: User, *policies: Organization) -> None:
    """Actors who require two-factor of others must have it: otherwise they would lock themselves out.

    Checks the policy before the change as well as after it, so that nobody can first drop the requirement.
    """
    if any(policy.requires_two_factor_of(actor.site_role) for policy in policies) and not actor.has_two_factor:
        raise TwoFactorFirst


def _check_own_address(actor: User, planned: Organization, request: HttpRequest | None) -> None:
    """Only the policy after the change: from outside, nobody has a session that could change it."""
    if request is None:
        return
    address = client_address(request)
    if not planned.lets_sign_in(actor.site_role, address):
        raise OwnAddressOutside(address)


def _free_slug(name: str) -> str:
    base = slugify(name)[:40] or "organization"
    taken = set(Organization.objects.filter(slug__startswith=base).values_list("slug", flat=True))
    numbered = (f"{base}-{number}" for number in count(2))
    return next(slug for slug in chain([base], numbered) if slug not in taken)
