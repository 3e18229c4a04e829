"""The site roles and what each allows in the whole organization, as data (docs/product.md#people-and-roles).

Every check of a person's rights starts here, except for rights on one pipeline (pipelines/access.py).
"""

from dataclasses import dataclass
from enum import Enum

from django.db import models
from django.utils.translation import gettext_noop, pgettext_lazy


class SiteRole(models.TextChoices):
    ADMINISTRATOR = "administrator", pgettext_lazy("site role", "Administrator")
    POWER_USER = "power_user", pgettext_lazy("site role", "Power User")
    USER = "user", pgettext_lazy("site role", "User")
    GUEST = "guest", pgettext_lazy("site role", "Guest")
    SECURITY_MANAGER = "security_manager", pgettext_lazy("site role", "Security Manager")
    AUDITOR = "auditor", pgettext_lazy("site role", "Auditor")


class Ability(Enum):
    """What a site role can allow. The value is the sentence on the profile page, where it is translated."""

    MANAGE_ORGANIZATION = gettext_noop("Manage users, their site roles and the organization's token policy.")
    MANAGE_GROUPS = gettext_noop("Create and change groups.")
    READ_USERS = gettext_noop("See the organization's users and groups.")
    READ_LOGS = gettext_noop("Read the organization's authentication log and activity log.")
    READ_TOKENS = gettext_noop("See the metadata of everyone's tokens.")
    EXPIRE_TOKENS = gettext_noop("Expire anyone's token.")
    APPROVE_TOKENS = gettext_noop("Approve or reject tokens that need approval.")
    SEE_ALL_PIPELINES = gettext_noop("See every pipeline, whatever its access rules.")
    CREATE_PIPELINES = gettext_noop("Create pipelines.")
    USE_PIPELINES = gettext_noop("Run pipelines, if their access rules allow it.")
    EDIT_ALL_PIPELINES = gettext_noop("Edit steps and access rules of every pipeline.")
    OWN_TOKENS = gettext_noop("Create access tokens and read their log.")
    CHANGE_BY_TOKEN = gettext_noop("Change things with a token, if its scopes allow it.")


@dataclass(frozen=True)
class RoleDescription:
    """``summary`` is in English: translate it where it is shown."""

    summary: str
    abilities: frozenset[Ability]


_READS = frozenset({Ability.OWN_TOKENS})
_EVERYONE = _READS | {Ability.CHANGE_BY_TOKEN}
_READERS = frozenset({Ability.READ_USERS, Ability.READ_LOGS, Ability.READ_TOKENS, Ability.SEE_ALL_PIPELINES})

ROLES: dict[SiteRole, RoleDescription] = {
    SiteRole.ADMINISTRATOR: RoleDescription(gettext_noop("Can do everything in the organization."), frozenset(Ability)),
    SiteRole.POWER_USER: RoleDescription(
        gettext_noop("Sees and runs every pipeline, edits steps and access rules, manages groups, reads both logs."),
        _EVERYONE
        | {
            Ability.MANAGE_GROUPS,
            Ability.READ_USERS,
            Ability.READ_LOGS,
            Ability.SEE_ALL_PIPELINES,
            Ability.CREATE_PIPELINES,
            Ability.USE_PIPELINES,
            Ability.EDIT_ALL_PIPELINES,
        },
    ),
    SiteRole.USER: RoleDescription(
        gettext_noop("Uses the pipelines that are open to everyone or to them, and creates their own."),
        _EVERYONE | {Ability.CREATE_PIPELINES, Ability.USE_PIPELINES},
    ),
    SiteRole.GUEST: RoleDescription(
        gettext_noop("Sees what a User sees and changes nothing. Tokens of a Guest can only read."), _READS
    ),
    SiteRole.SECURITY_MANAGER: RoleDescription(
        gettext_noop("Reads everything in the organization, can expire anyone's token and approves tokens."),
        _EVERYONE | _READERS | {Ability.EXPIRE_TOKENS, Ability.APPROVE_TOKENS},
    ),
    SiteRole.AUDITOR: RoleDescription(
        gettext_noop("Reads everything in the organization; changes nothing but their own tokens."),
        _EVERYONE | _READERS,
    ),
}


def roles_with(ability: Ability) -> list[SiteRole]:
    return [role for role, description in ROLES.items() if ability in description.abilities]
