"""All changes to pipelines. Pages, API, Django admin and commands call these services.

Each service locks the pipeline's row, reads the actor and the access rules again, and writes its entry to the activity
log, all in one transaction. A right that the actor lost in the meantime no longer counts.
"""

from pipelines.services.definitions import (
    change_pipeline,
    create_pipeline,
    delete_pipeline,
    duplicate_pipeline,
    edit_pipeline,
    lock_pipeline,
    notify_people,
    transfer_pipeline,
    unlock_pipeline,
)
from pipelines.services.guard import Refused
from pipelines.services.rules import (
    RuleInput,
    change_access_rule,
    remove_access_rule,
    replace_access_rules,
    set_access_rule,
)
from pipelines.services.runs import (
    CannotStart,
    approve_gate,
    current_run,
    reject_gate,
    reset_pipeline,
    resume_pipeline,
    start_run,
    stop_pipeline,
)
from pipelines.services.steps import StepInput, add_step, edit_step, move_step, remove_step, replace_steps

__all__ = [
    "CannotStart",
    "Refused",
    "RuleInput",
    "StepInput",
    "add_step",
    "approve_gate",
    "change_access_rule",
    "change_pipeline",
    "create_pipeline",
    "current_run",
    "delete_pipeline",
    "duplicate_pipeline",
    "edit_pipeline",
    "edit_step",
    "lock_pipeline",
    "move_step",
    "notify_people",
    "reject_gate",
    "remove_access_rule",
    "remove_step",
    "replace_access_rules",
    "replace_steps",
    "reset_pipeline",
    "resume_pipeline",
    "set_access_rule",
    "start_run",
    "stop_pipeline",
    "transfer_pipeline",
    "unlock_pipeline",
]
