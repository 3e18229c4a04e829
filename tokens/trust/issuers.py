"""The issuers that many organizations share, with their presets and the claims that tell one customer from another."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from accounts.provider_rules import values_of

GITHUB = "https://token.actions.githubusercontent.com"
GITLAB = "https://gitlab.com"
TERRAFORM = "https://app.terraform.io"


@dataclass(frozen=True)
class Preset:
    """``claims``: an example to change. ``owners``: claims of which a rule needs one, and which of its segments must
    be without ``*``; otherwise jobs of other customers of the issuer would match."""

    id: str
    label: str
    issuer: str
    claims: Mapping[str, str]
    owners: Mapping[str, int] = field(default_factory=dict)


PRESETS = {
    preset.id: preset
    for preset in (
        Preset(
            "github",
            "GitHub Actions",
            GITHUB,
            {"repository": "acme/shop", "ref": "refs/heads/main"},
            {
                "sub": 1,
                "repository": 0,
                "repository_owner": 0,
                "repository_id": 0,
                "repository_owner_id": 0,
                "job_workflow_ref": 0,
            },
        ),
        Preset(
            "gitlab",
            "GitLab CI",
            GITLAB,
            {"project_path": "acme/shop", "ref_type": "branch", "ref": "main", "ref_protected": "true"},
            {"sub": 1, "project_path": 0, "project_id": 0, "namespace_path": 0, "namespace_id": 0},
        ),
        Preset(
            "kubernetes",
            "Kubernetes",
            "https://kubernetes.example.com",
            {"sub": "system:serviceaccount:production:deployer"},
        ),
        Preset(
            "terraform",
            "Terraform",
            TERRAFORM,
            {"terraform_organization_name": "acme", "terraform_workspace_name": "shop", "terraform_run_phase": "apply"},
            {"sub": 1, "terraform_organization_name": 0, "terraform_organization_id": 0, "terraform_workspace_id": 0},
        ),
    )
}
# What identifies a job, for the activity log, if the token has it.
TELLING = (
    *("sub", "repository", "ref", "sha", "workflow", "event_name", "actor", "environment", "run_id"),
    *("project_path", "ref_type", "pipeline_id", "job_id", "user_login"),
    *("terraform_workspace_name", "terraform_run_phase", "terraform_run_id"),
)
# What identifies a run: its value becomes part of the token's name.
_RUNS = ("run_id", "job_id", "pipeline_id", "terraform_run_id")


def owners_of(issuer: str) -> Mapping[str, int]:
    return next((preset.owners for preset in PRESETS.values() if preset.issuer == issuer), {})


def run_of(claims: Mapping[str, Any]) -> str:
    """The id of the job's run, for a name; empty if there is none."""
    for claim in _RUNS:
        for value in values_of(claims, claim)[:1]:
            return "".join(character for character in value if character.isascii() and character.isalnum())[:20]
    return ""
