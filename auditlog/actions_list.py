"""Every action that the activity log knows, once. Named ``noun.past_verb``; the noun is the action's type."""

from django.db import models


class ActionType(models.TextChoices):
    AUTHENTICATION = "authentication", "Authentication"
    TOKEN = "token", "Token"
    USER = "user", "User"
    GROUP = "group", "Group"
    POLICY = "policy", "Policy"
    PIPELINE = "pipeline", "Pipeline"


class Action(models.TextChoices):
    SIGNED_IN = "authentication.signed_in", "Signed in"
    SIGNED_OUT = "authentication.signed_out", "Signed out"
    SIGN_IN_FAILED = "authentication.failed", "Failed sign-in"
    TOKEN_ISSUED = "token.issued", "Token created"
    TOKEN_REVEALED = "token.revealed", "Token shown"
    TOKEN_REVOKED = "token.revoked", "Token expired early"
    USER_CREATED = "user.created", "User created"
    USER_INVITED = "user.invited", "Invitation sent"
    USER_CHANGED = "user.changed", "User changed"
    USER_ROLE_CHANGED = "user.role_changed", "Site role changed"
    USER_ACTIVATED = "user.activated", "User activated"
    USER_DEACTIVATED = "user.deactivated", "User deactivated"
    GROUP_CREATED = "group.created", "Group created"
    GROUP_CHANGED = "group.changed", "Group changed"
    GROUP_DELETED = "group.deleted", "Group deleted"
    POLICY_CHANGED = "policy.changed", "Token policy changed"
    PIPELINE_CREATED = "pipeline.created", "Pipeline created"
    PIPELINE_EDITED = "pipeline.edited", "Pipeline edited"
    PIPELINE_DELETED = "pipeline.deleted", "Pipeline deleted"
    PIPELINE_DUPLICATED = "pipeline.duplicated", "Pipeline duplicated"
    PIPELINE_TRANSFERRED = "pipeline.transferred", "Pipeline transferred"
    PIPELINE_ACCESS_RULES_CHANGED = "pipeline.access_rules_changed", "Access rules changed"
    PIPELINE_LOCKED = "pipeline.locked", "Pipeline locked"
    PIPELINE_UNLOCKED = "pipeline.unlocked", "Pipeline unlocked"
    PIPELINE_STARTED = "pipeline.started", "Pipeline run started"
    PIPELINE_STOPPED = "pipeline.stopped", "Pipeline stopped"
    PIPELINE_RESUMED = "pipeline.resumed", "Pipeline resumed"
    PIPELINE_RESET = "pipeline.reset", "Pipeline reset"
    PIPELINE_APPROVED = "pipeline.approved", "Gate approved"
    PIPELINE_REJECTED = "pipeline.rejected", "Gate rejected"

    @property
    def type(self) -> ActionType:
        return ActionType(self.value.partition(".")[0])
