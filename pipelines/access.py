"""The permission table of pipelines, and the functions that read it.

The rules: docs/product.md#pipelines-and-access-rules.

For each pipeline a person has one standing, which is a column of the table. It follows from their site role, from
ownership and from the access rules. A person who acts with a token that is limited to chosen pipelines has none for any
other. `standing` computes it for one person and one pipeline;
`PipelineQuerySet.allowing` computes the same as a query. Nothing else decides.
"""

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from django.db import models
from django.utils.translation import gettext_lazy, gettext_noop

from accounts.roles import ROLES, Ability, SiteRole

if TYPE_CHECKING:
    from accounts.models import User
    from pipelines.models import AccessRule, Pipeline


class ItemRole(models.TextChoices):
    """The role that an access rule gives on one pipeline, strongest first."""

    ADMINISTRATOR = "administrator", gettext_lazy("Administrator")
    MANAGER = "manager", gettext_lazy("Manager")
    USER = "user", gettext_lazy("User")
    GUEST = "guest", gettext_lazy("Guest")


class PipelineAction(Enum):
    """The rows of the table. The value is the label that people read; translate it where it is shown."""

    SEE = gettext_noop("See it, its runs, status and logs")
    RUN = gettext_noop("Run, stop, reset, resume")
    APPROVE = gettext_noop("Approve or reject a gate")
    EDIT_STEPS = gettext_noop("Edit steps and notifications, read responses of servers")
    EDIT_ACCESS_RULES = gettext_noop("Edit access rules")
    DUPLICATE = gettext_noop("Duplicate")
    LOCK = gettext_noop("Lock, unlock")
    ADMINISTER = gettext_noop("Edit name, description, tags; transfer; delete")


class Standing(Enum):
    """The columns of the table, strongest first. The value is the label that people read; translate it where it is
    shown.
    """

    OWNER = gettext_noop("Owner, item Administrator, site Administrator")
    MANAGER = gettext_noop("Item Manager")
    POWER_USER = gettext_noop("Site Power User")
    USER = gettext_noop("Item User, or site User where there are no rules")
    GUEST = gettext_noop("Guest, Auditor, Security Manager")

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
    """What a site role means for pipelines.

    ``always``: the standing that no rule can reduce. ``without_rules``: the standing if a pipeline has no rules.
    ``at_most``: the strongest standing that ownership and rules can give; a site role that only reads stays read-only
    even for owners.
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
    """The access rules of one pipeline that concern one person. A direct rule overrides those of groups."""

    exist: bool
    direct: ItemRole | None = None
    of_groups: ItemRole | None = None

    @property
    def role(self) -> ItemRole | None:
        return self.direct or self.of_groups


def position_of(user: "User") -> RolePosition:
    return POSITIONS[SiteRole(user.site_role)]


def standing(position: RolePosition, *, is_owner: bool, rules: Rules) -> Standing | None:
    """The strongest standing from role, ownership and rules, limited by the role; ``None`` if not visible."""
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
    """The current standing of ``user`` for ``pipeline``; ``None`` if not visible to them. At most one query, and one
    more with a token that is limited to chosen pipelines."""
    if not _is_active_member(user, pipeline) or not _is_within_limit(user, pipeline):
        return None
    position = position_of(user)
    if position.always is not None and position.always.rank <= position.at_most.rank:
        return position.always
    return standing(position, is_owner=pipeline.owner_id == user.pk, rules=rules_about(user, pipeline))


def _is_active_member(user: "User", pipeline: "Pipeline") -> bool:
    return user.is_active and user.organization_id is not None and user.organization_id == pipeline.organization_id


def _is_within_limit(user: "User", pipeline: "Pipeline") -> bool:
    """Whether the token that the person acts with reaches the pipeline; true without a limit."""
    token_id = user.limited_by_token
    return token_id is None or pipeline.token_links.filter(token_id=token_id).exists()


def standing_under(rule: "AccessRule") -> Standing | None:
    """`standing_of` the person of a rule. No query if the rule's ``user`` and ``pipeline`` are loaded, because a rule
    for a person overrides those of their groups."""
    user, pipeline = rule.user, rule.pipeline
    if user is None or not _is_active_member(user, pipeline):
        return None
    rules = Rules(exist=True, direct=ItemRole(rule.role))
    return standing(position_of(user), is_owner=pipeline.owner_id == user.pk, rules=rules)


def rule_gives_less(rule: "AccessRule") -> bool:
    """Whether the person of a rule can do less than its role allows: their site role may only read, or their account
    may be deactivated. Never for a group."""
    promised = ALLOWED[STANDING_BY_ITEM_ROLE[ItemRole(rule.role)]]
    return rule.user is not None and not promised <= actions_of(standing_under(rule))


def rules_about(user: "User", pipeline: "Pipeline") -> Rules:
    """The rules that concern ``user``, in one query."""
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
    """Whether the person is currently allowed to do this to this pipeline. At most one query."""
    return action in allowed_actions(user, pipeline)


def allowed_actions(user: "User", pipeline: "Pipeline") -> frozenset[PipelineAction]:
    """All actions that the person is currently allowed; empty if they can't see the pipeline. Queries:
    `standing_of`."""
    return actions_of(standing_of(user, pipeline))


def actions_of(standing: Standing | None) -> frozenset[PipelineAction]:
    """All actions that a standing allows; ``None`` is that of people who can't see the pipeline."""
    return ALLOWED[standing] if standing else frozenset()


def item_roles_allowing(action: PipelineAction) -> list[ItemRole]:
    return [role for role, gives in STANDING_BY_ITEM_ROLE.items() if action in ALLOWED[gives]]


def may_read_rules(user: "User", allowed: frozenset[PipelineAction]) -> bool:
    """People who can edit the rules, and roles that read everything in the organization. ``allowed``: the person's
    actions for the pipeline."""
    reads_everything = user.may(Ability.READ_USERS) and PipelineAction.SEE in allowed
    return reads_everything or PipelineAction.EDIT_ACCESS_RULES in allowed


def may_read_some_rules(user: "User") -> bool:
    """Whether this person's site role lets them read the rules of any pipeline. A Guest can never read them."""
    return may_read_rules(user, ALLOWED[POSITIONS[SiteRole(user.site_role)].at_most])


def may_be_owner(user: "User") -> bool:
    """Whether a pipeline can be transferred to this person: only to people who can create pipelines. A service account
    owns those that its tokens create."""
    return not user.is_service_account and user.may(Ability.CREATE_PIPELINES)


def may_grant(actor_may: frozenset[PipelineAction], role: ItemRole) -> bool:
    """Whether a person with these actions can add, change and remove rules of this role.

    Only an Administrator of a pipeline can make someone else Administrator of it.
    """
    return role is not ItemRole.ADMINISTRATOR or PipelineAction.ADMINISTER in actor_may
