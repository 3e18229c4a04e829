"""People of a pipeline's organization: all of them, those who can own it, and those who can see it."""

from django.db.models import Q, QuerySet

from accounts.models import User
from accounts.roles import ROLES, Ability
from pipelines.access import POSITIONS
from pipelines.models import Pipeline

_OWNERS = [role for role, description in ROLES.items() if Ability.CREATE_PIPELINES in description.abilities]
_SEE_EVERYTHING = [role for role, position in POSITIONS.items() if position.always is not None]


def people_of(pipeline: Pipeline) -> QuerySet[User]:
    """All active people. Not service accounts: a pipeline is transferred to somebody who answers for it, and mails
    about runs go to people."""
    people: QuerySet[User] = User.objects.people().filter(organization_id=pipeline.organization_id).active()
    return people


def possible_owners(pipeline: Pipeline) -> QuerySet[User]:
    """The people to whom the pipeline can be transferred: `access.may_be_owner` as a query."""
    return people_of(pipeline).filter(site_role__in=_OWNERS)


def people_who_see(pipeline: Pipeline) -> QuerySet[User]:
    """The people who can see the pipeline: `access.standing` as a query. Every standing allows to see."""
    people, rules = people_of(pipeline), pipeline.access_rules.order_by()
    if not rules.exists():
        return people
    members = User.objects.filter(member_groups__in=rules.filter(group__isnull=False).values("group"))
    return people.filter(
        Q(site_role__in=_SEE_EVERYTHING)
        | Q(pk=pipeline.owner_id)
        | Q(pk__in=rules.filter(user__isnull=False).values("user"))
        | Q(pk__in=members.order_by().values("pk"))
    )
