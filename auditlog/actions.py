"""All actions of the activity log. Names are ``noun.past_verb``; the noun is the action's type."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class ActionType(models.TextChoices):
    AUTHENTICATION = "authentication", _("Authentication")
    TOKEN = "token", _("Token")
    USER = "user", _("User")
    GROUP = "group", _("Group")
    POLICY = "policy", _("Policy")
    PIPELINE = "pipeline", _("Pipeline")


class Action(models.TextChoices):
    SIGNED_IN = "authentication.signed_in", _("Signed in")
    SIGNED_OUT = "authentication.signed_out", _("Signed out")
    SIGN_IN_FAILED = "authentication.failed", _("Failed sign-in")
    SESSION_ENDED = "authentication.session_ended", _("Session ended")
    SIGNED_OUT_EVERYWHERE = "authentication.signed_out_everywhere", _("Signed out everywhere")
    PASSWORD_CHANGED = "authentication.password_changed", _("Password changed")
    PASSWORD_RESET_ASKED = "authentication.password_reset_asked", _("Password reset requested")
    PASSWORD_RESET = "authentication.password_reset", _("Password reset")
    EMAIL_CHANGE_ASKED = "authentication.email_change_asked", _("E-mail change requested")
    EMAIL_CHANGED = "authentication.email_changed", _("E-mail address changed")
    TWO_FACTOR_ADDED = "authentication.two_factor_added", _("Two-factor added")
    TWO_FACTOR_REMOVED = "authentication.two_factor_removed", _("Two-factor removed")
    RECOVERY_CODES_MADE = "authentication.recovery_codes_made", _("Recovery codes created")
    RECOVERY_CODE_USED = "authentication.recovery_code_used", _("Recovery code used")
    PROVIDER_CONNECTED = "authentication.provider_connected", _("Single sign-on connected")
    PROVIDER_DISCONNECTED = "authentication.provider_disconnected", _("Single sign-on disconnected")
    TOKEN_ISSUED = "token.issued", _("Token created")
    TOKEN_REVEALED = "token.revealed", _("Token shown")
    TOKEN_CHANGED = "token.changed", _("Token renamed or described")
    TOKEN_REVOKED = "token.revoked", _("Token expired early")
    TOKEN_ENDED_BY_OPERATOR = "token.ended_by_operator", _("Token expired by the operator")
    TOKEN_ENDED_UNUSED = "token.ended_unused", _("Token expired unused")
    TOKEN_REPORTED = "token.reported", _("Token reported and expired")
    TOKEN_LOOKED_UP = "token.looked_up", _("Token looked up")
    USER_CREATED = "user.created", _("User created")
    USER_INVITED = "user.invited", _("Invitation sent")
    USER_CHANGED = "user.changed", _("User changed")
    USER_ROLE_CHANGED = "user.role_changed", _("Site role changed")
    USER_ACTIVATED = "user.activated", _("User activated")
    USER_DEACTIVATED = "user.deactivated", _("User deactivated")
    GROUP_CREATED = "group.created", _("Group created")
    GROUP_CHANGED = "group.changed", _("Group changed")
    GROUP_DELETED = "group.deleted", _("Group deleted")
    POLICY_CHANGED = "policy.changed", _("Token policy changed")
    PIPELINE_CREATED = "pipeline.created", _("Pipeline created")
    PIPELINE_EDITED = "pipeline.edited", _("Pipeline edited")
    PIPELINE_DELETED = "pipeline.deleted", _("Pipeline deleted")
    PIPELINE_DUPLICATED = "pipeline.duplicated", _("Pipeline duplicated")
    PIPELINE_TRANSFERRED = "pipeline.transferred", _("Pipeline transferred")
    PIPELINE_ACCESS_RULES_CHANGED = "pipeline.access_rules_changed", _("Access rules changed")
    PIPELINE_LOCKED = "pipeline.locked", _("Pipeline locked")
    PIPELINE_UNLOCKED = "pipeline.unlocked", _("Pipeline unlocked")
    PIPELINE_STARTED = "pipeline.started", _("Pipeline run started")
    PIPELINE_RUN_REFUSED = "pipeline.run_refused", _("Queued pipeline run refused")
    PIPELINE_STOPPED = "pipeline.stopped", _("Pipeline stopped")
    PIPELINE_RESUMED = "pipeline.resumed", _("Pipeline resumed")
    PIPELINE_RESET = "pipeline.reset", _("Pipeline reset")
    PIPELINE_APPROVED = "pipeline.approved", _("Gate approved")
    PIPELINE_REJECTED = "pipeline.rejected", _("Gate rejected")

    @property
    def type(self) -> ActionType:
        return ActionType(self.value.partition(".")[0])
