"""Checks, when a worker takes a run, that the person and token behind it are still allowed to run it.

A run can wait for hours. Meanwhile the person can lose the right or the account, and the token can be expired early.
A token that expires at its normal end does not matter: the run was requested in time.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.types import AccessToken
from pipelines.access import PipelineAction, may

if TYPE_CHECKING:
    from accounts.models import User
    from pipelines.models import Pipeline, Run, StepRun


@dataclass(frozen=True)
class Requester:
    """The person behind a run, and the token if one was used. The texts are copies that outlive the rows."""

    person: "User | None"
    email: str
    token: AccessToken | None
    token_name: str


def requester_of(run: "Run") -> Requester:
    """The person who resumed or approved the run last; for a run that never halted, the one who requested it. They have
    the limit of the token that they used."""
    if run.continued_by_email:
        found = Requester(run.continued_by, run.continued_by_email, run.continued_token, run.continued_token_name)
    else:
        found = Requester(run.started_by, run.started_by_email, run.token, run.token_name)
    if found.person is not None and found.token is not None and found.token.is_limited:
        found.person.limited_by_token = found.token.pk
    return found


def obstacle(run: "Run", pipeline: "Pipeline") -> str:
    """Why a worker must not take this run now, as a sentence for its log; empty if it can."""
    requester = requester_of(run)
    action = PipelineAction.APPROVE if approved_gate(run) else PipelineAction.RUN
    if requester.person is None or not may(requester.person, action, pipeline):
        is_gone = requester.person is None or not requester.person.is_active
        because = ": the account was deactivated" if is_gone else ""
        what = "approve gates of this pipeline" if action is PipelineAction.APPROVE else "run this pipeline"
        return f"{requester.email} can no longer {what}{because}."
    return _obstacle_of_token(requester)


def _obstacle_of_token(requester: Requester) -> str:
    if not requester.token_name:
        return ""
    name = f"The token “{requester.token_name}” of {requester.email}"
    if requester.token is None:
        return f"{name} no longer exists."
    if requester.token.revoked_at is not None:
        return f"{name} was expired early."
    # The rule itself is for the owner only, and everyone who can see the pipeline reads this log.
    return f"{name} is blocked by the policy of the organization." if requester.token.policy_advice else ""


def approved_gate(run: "Run") -> "StepRun | None":
    """The gate whose approval continued the run, if no step has run since."""
    last = run.step_runs.exclude(state="waiting").order_by("-position").first()
    if last is None or not last.is_gate or last.state != "success":
        return None
    return last if last.decided_by_email == run.continued_by_email else None
