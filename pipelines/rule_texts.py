"""What an access rule really allows, in words, if that is less than its role says.

Only people who can see the organization's people learn a person's name and site role, and who is deactivated.
"""

from django.utils.translation import gettext as _

from accounts.models import User
from accounts.roles import Ability
from pipelines.access import ItemRole, rule_gives_less
from pipelines.models import AccessRule


def note_on(rule: AccessRule, reader: User) -> str:
    """For the list of rules; empty if the rule allows what its role says."""
    person: User | None = rule.user
    if person is None or not rule_gives_less(rule):
        return ""
    if not reader.may(Ability.READ_USERS):
        return _("This person can't use the whole role at the moment.")
    if not person.is_active:
        return _("Can do nothing: this person is deactivated.")
    role = person.get_site_role_display()
    return _("Can only see the pipeline: their role in the organization is %(site_role)s.") % {"site_role": role}


def message_after_saving(rule: AccessRule, reader: User) -> str:
    """The message after a rule is saved."""
    person: User | None = rule.user
    knows_people = reader.may(Ability.READ_USERS)
    words = {
        "subject": person.name if person and knows_people else rule.subject_name,
        "role": ItemRole(rule.role).label,
    }
    if person is None or not rule_gives_less(rule):
        return _("%(subject)s now has the role %(role)s.") % words
    if not knows_people:
        return _("%(subject)s now has the role %(role)s here, but can't use the whole role at the moment.") % words
    if not person.is_active:
        return _("%(subject)s now has the role %(role)s here, but can do nothing: this person is deactivated.") % words
    said = _(
        "%(subject)s now has the role %(role)s here, but can only see the pipeline: their role in the organization is "
        "%(site_role)s."
    )
    return said % {**words, "site_role": person.get_site_role_display()}
