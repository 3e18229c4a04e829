"""Changes to people, groups and organizations. Pages, API, Django admin and commands call the same functions.

Each change checks the actor as they are now, and writes its entry in the activity log in the same transaction.
"""

from accounts.services.erasure import NotDeactivated, StillOwns, erase_on_the_machine, erase_person
from accounts.services.groups import (
    GroupInUse,
    add_member,
    change_group,
    create_group,
    delete_group,
    remove_member,
)
from accounts.services.organizations import (
    PolicyChangedMeanwhile,
    TwoFactorFirst,
    create_organization,
    planned_policy,
    save_policy,
    set_up_organization,
)
from accounts.services.people import (
    AlreadyAccepted,
    EmailTaken,
    LastAdministrator,
    NothingToReset,
    PersonErased,
    change_site_role,
    change_user,
    check_administrator_stays,
    create_user,
    deprovision_user,
    invite_if_needed,
    invite_user,
    provision_user,
    reset_two_factor,
    reset_two_factor_on_the_machine,
    send_invitation,
    set_active,
    set_preferences,
    take_from_browser,
)
from core.errors import NameTaken, NotAllowed

__all__ = [
    "AlreadyAccepted",
    "EmailTaken",
    "GroupInUse",
    "LastAdministrator",
    "NameTaken",
    "NotAllowed",
    "NotDeactivated",
    "NothingToReset",
    "PersonErased",
    "PolicyChangedMeanwhile",
    "StillOwns",
    "TwoFactorFirst",
    "add_member",
    "change_group",
    "change_site_role",
    "change_user",
    "check_administrator_stays",
    "create_group",
    "create_organization",
    "create_user",
    "delete_group",
    "deprovision_user",
    "erase_on_the_machine",
    "erase_person",
    "invite_if_needed",
    "invite_user",
    "planned_policy",
    "provision_user",
    "remove_member",
    "reset_two_factor",
    "reset_two_factor_on_the_machine",
    "save_policy",
    "send_invitation",
    "set_active",
    "set_preferences",
    "set_up_organization",
    "take_from_browser",
]
