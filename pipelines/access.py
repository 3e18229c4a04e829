"""Who may do what to a pipeline: the table of PRODUCT section 5 as data, and the functions that read it.

A person has one standing towards a pipeline. Access rules will give the standings between owner and guest; until a
pipeline has rules, its owner and everyone's site role decide.
"""

from enum import Enum
from typing import TYPE_CHECKING

from accounts.roles import Ability, SiteRole, roles_with

if TYPE_CHECKING:
    from accounts.models import User
    from pipelines.models import Pipeline


class PipelineAction(Enum):
    SEE = "see"
    RUN = "run"
    APPROVE = "approve"
    EDIT_STEPS = "edit_steps"
    EDIT_ACCESS_RULES = "edit_access_rules"
    DUPLICATE = "duplicate"
    LOCK = "lock"
    ADMINISTER = "administer"


class Standing(Enum):
    """The columns of the table, the strongest first."""

    OWNER = "owner"
    MANAGER = "manager"
    POWER_USER = "power_user"
    USER = "user"
    GUEST = "guest"


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

# Someone whose site role uses no pipelines reads, whatever else they are to a pipeline: an owner who became an Auditor
# changes nothing any more.
USING_ROLES = frozenset(roles_with(Ability.USE_PIPELINES))


def standing_of(user: "User", pipeline: "Pipeline") -> Standing | None:
    """What ``user`` is to ``pipeline``; ``None``: to them it does not exist."""
    if not user.is_active or user.organization_id is None or user.organization_id != pipeline.organization_id:
        return None
    if user.site_role not in USING_ROLES:
        return Standing.GUEST
    if pipeline.owner_id == user.pk or user.site_role == SiteRole.ADMINISTRATOR:
        return Standing.OWNER
    return Standing.POWER_USER if user.site_role == SiteRole.POWER_USER else Standing.USER


def may(user: "User", action: PipelineAction, pipeline: "Pipeline") -> bool:
    standing = standing_of(user, pipeline)
    return standing is not None and action in ALLOWED[standing]
