"""Who may do what to a pipeline, as a table, and the functions that read it.

The rules: docs/product.md#pipelines-and-access-rules.

A person has one standing towards a pipeline, a column of the table. It comes from their site role, from owning the
pipeline and from its access rules. `standing` is the plain reading of the rules for one person and one pipeline;
`PipelineQuerySet.allowing` is the same reading as a query. Nothing else decides.
"""

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from django.db import models

from accounts.roles import ROLES, Ability, SiteRole

if TYPE_CHECKING:
    from accounts.models import User
    from pipelines.models import Pipeline


class ItemRole(models.TextChoices):
    """What an access rule gives on one pipeline, the strongest first."""

    ADMINISTRATOR = "administrator", "Administrator"
    MANAGER = "manager", "Manager"
    USER = "user", "User"
    GUEST = "guest", "Guest"


class PipelineAction(Enum):
    """The rows of the table; the value is what a person reads."""

    SEE = "See it, its runs, status and logs"
    RUN = "Run, stop, reset, resume"
    APPROVE = "Approve or reject a gate"
    EDIT_STEPS = "Edit steps and notifications, read responses of servers"
    EDIT_ACCESS_RULES = "Edit access rules"
    DUPLICATE = "Duplicate"
    LOCK = "Lock, unlock"
    ADMINISTER = "Edit name, description, tags; transfer; delete"


class Standing(Enum):
    """The columns of the table, the strongest first; the value is what a person reads."""

    OWNER = "Owner, item Administrator, site Administrator"
    MANAGER = "Item Manager"
    POWER_USER = "Site Power User"
    USER = "Item User, or site User where there are no rules"
    GUEST = "Guest, Auditor, Security Manager"

    @property
    def rank(self) -> int:
        """0 is the strongest."""
        return list(Standing).index(self)


_READS = {PipelineAction.SEE}
_USES = _READS | {PipelineAction.RUN}
_STEERS = _USES | {
    PipelineAction.APPROVE,
    PipelineAction.EDIT_STEPS,
    PipelineAction.EDIT_ACCESS_RULES,
    PipelineAction.DUPLICATE,
}

ALLOWED: dict[Standing, frozenset[PipelineAction]] = {
    Standing.OWNER: frozenset(PipelineAction),
    Standing.MANAGER: frozenset(_STEERS | {PipelineAction.LOCK}),
    Standing.POWER_USER: frozenset(_STEERS),
    Standing.USER: frozenset(_USES),
    Standing.GUEST: frozenset(_READS),
}

STANDING_BY_ITEM_ROLE: dict[ItemRole, Standing] = {
    ItemRole.ADMINISTRATOR: Standing.OWNER,
    ItemRole.MANAGER: Standing.MANAGER,
    ItemRole.USER: Standing.USER,
    ItemRole.GUEST: Standing.GUEST,
}


@dataclass(frozen=True)
class RolePosition:
    """What a site role is to pipelines.

    ``always``: the standing that no rule takes away. ``without_rules``: the standing where a pipeline has no rules.
    ``at_most``: the strongest that owning the pipeline and rules can add; someone whose site role only reads does so
    as owner too.
    """

    without_rules: Standing
    always: Standing | None = None
    at_most: Standing = Standing.OWNER


def _position(abilities: frozenset[Ability]) -> RolePosition:
    uses = Ability.USE_PIPELINES in abilities
    always = None
    for ability, gives in (
        (Ability.MANAGE_ORGANIZATION, Standing.OWNER),
        (Ability.EDIT_ALL_PIPELINES, Standing.POWER_USER),
        (Ability.SEE_ALL_PIPELINES, Standing.GUEST),
    ):
        if ability in abilities:
            always = gives
            break
    return RolePosition(
        without_rules=Standing.USER if uses else Standing.GUEST,
        always=always,
        at_most=Standing.OWNER if uses else Standing.GUEST,
    )


POSITIONS: dict[SiteRole, RolePosition] = {
    role: _position(description.abilities) for role, description in ROLES.items()
}


@dataclass(frozen=True)
class Rules:
    """What the access rules of one pipeline say about one person. A direct rule wins over those of groups."""

    exist: bool
    direct: ItemRole | None = None
    of_groups: ItemRole | None = None

    @property
    def role(self) -> ItemRole | None:
        return self.direct or self.of_groups


def position_of(user: "User") -> RolePosition:
    return POSITIONS[SiteRole(user.site_role)]


def standing(position: RolePosition, *, is_owner: bool, rules: Rules) -> Standing | None:
    """The strongest of what role, ownership and rules give, within what the role allows; ``None``: not to be seen."""
    given = [position.always]
    if is_owner:
        given.append(Standing.OWNER)
    if not rules.exist:
        given.append(position.without_rules)
    elif rules.role is not None:
        given.append(STANDING_BY_ITEM_ROLE[rules.role])
    strongest = min(filter(None, given), key=lambda found: found.rank, default=None)
    return strongest and max(strongest, position.at_most, key=lambda found: found.rank)


def standing_of(user: "User", pipeline: "Pipeline") -> Standing | None:
    """What ``user`` is to ``pipeline``, now; ``None``: to them it does not exist. At most one query."""
    if not user.is_active or user.organization_id is None or user.organization_id != pipeline.organization_id:
        return None
    position = position_of(user)
    is_owner = pipeline.owner_id == user.pk
    if position.always is not None and position.always.rank <= position.at_most.rank:
        return position.always
    return standing(position, is_owner=is_owner, rules=rules_about(user, pipeline))


def rules_about(user: "User", pipeline: "Pipeline") -> Rules:
    """In one query."""
    strongest = {role: number for number, role in enumerate(ItemRole)}
    exist, direct, of_groups = False, None, None
    for rule in pipeline.access_rules.about(user):
        exist, role = True, ItemRole(rule.role)
        if rule.is_direct:
            direct = role
        elif rule.is_of_group:
            of_groups = role if of_groups is None else min(of_groups, role, key=lambda known: strongest[known])
    return Rules(exist, direct, of_groups)


def may(user: "User", action: PipelineAction, pipeline: "Pipeline") -> bool:
    """Whether the person may do this to this pipeline now. At most one query."""
    return action in allowed_actions(user, pipeline)


def allowed_actions(user: "User", pipeline: "Pipeline") -> frozenset[PipelineAction]:
    """Everything that the person may do to this pipeline now; empty where they may not see it. At most one query."""
    found = standing_of(user, pipeline)
    return ALLOWED[found] if found else frozenset()


def item_roles_allowing(action: PipelineAction) -> list[ItemRole]:
    return [role for role, gives in STANDING_BY_ITEM_ROLE.items() if action in ALLOWED[gives]]


def may_read_rules(user: "User", pipeline: "Pipeline") -> bool:
    """Whoever edits the rules, and whoever reads everything in the organization and sees the pipeline."""
    allowed = allowed_actions(user, pipeline)
    reads_everything = user.may(Ability.READ_USERS) and PipelineAction.SEE in allowed
    return reads_everything or PipelineAction.EDIT_ACCESS_RULES in allowed


def may_be_owner(user: "User") -> bool:
    """To whom a pipeline can be transferred: whoever could have created it."""
    return user.may(Ability.CREATE_PIPELINES)


def may_grant(actor_may: frozenset[PipelineAction], role: ItemRole) -> bool:
    """Whether someone who edits access rules gives, changes and takes away rules of this role.

    Nobody makes themselves, or a friend, Administrator of a pipeline: only who is one does.
    """
    return role is not ItemRole.ADMINISTRATOR or PipelineAction.ADMINISTER in actor_may
