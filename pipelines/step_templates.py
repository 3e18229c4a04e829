"""Templates of HTTP steps for services that pipelines often call. They only fill in the form."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.utils.translation import gettext_lazy as _

from core.text import Text
from pipelines.models import Step


@dataclass(frozen=True)
class StepTemplate:
    """Replace the words in capitals with your own."""

    id: str
    label: Text
    description: Text
    url: str
    method: str = Step.Method.POST
    headers: Mapping[str, str] = field(default_factory=dict)
    secret_header_names: tuple[str, ...] = ()
    body: str = ""
    expected_status: int = 200


STEP_TEMPLATES: tuple[StepTemplate, ...] = (
    StepTemplate(
        id="jenkins",
        label=_("Jenkins job"),
        description=_("Starts a build. Secret: “Basic” and the base64 of USER:API_TOKEN. Jenkins answers 201."),
        url="https://jenkins.example.com/job/JOB/build",
        secret_header_names=("Authorization",),
        expected_status=201,
    ),
    StepTemplate(
        id="github",
        label=_("GitHub Actions workflow"),
        description=_(
            "Starts a workflow that has workflow_dispatch. Secret: “Bearer” and a token. GitHub answers 204."
        ),
        url="https://api.github.com/repos/OWNER/REPOSITORY/actions/workflows/WORKFLOW.yml/dispatches",
        headers={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
        secret_header_names=("Authorization",),
        body='{"ref": "main"}',
        expected_status=204,
    ),
    StepTemplate(
        id="gitlab",
        label=_("GitLab pipeline"),
        description=_("Starts a project's pipeline on a branch. Secret: an access token. GitLab answers 201."),
        url="https://gitlab.example.com/api/v4/projects/PROJECT_ID/pipeline",
        headers={"Content-Type": "application/json"},
        secret_header_names=("PRIVATE-TOKEN",),
        body='{"ref": "main"}',
        expected_status=201,
    ),
    StepTemplate(
        id="argo",
        label=_("Argo workflow"),
        description=_("Submits a workflow from a template. Secret: “Bearer” and a token of a service account."),
        url="https://argo.example.com/api/v1/workflows/NAMESPACE/submit",
        headers={"Content-Type": "application/json"},
        secret_header_names=("Authorization",),
        body='{"resourceKind": "WorkflowTemplate", "resourceName": "TEMPLATE"}',
    ),
    StepTemplate(
        id="webhook",
        label=_("Plain webhook"),
        description=_("Sends a JSON body to any address."),
        url="https://hooks.example.com/PATH",
        headers={"Content-Type": "application/json"},
        body='{"text": "A pipeline runs."}',
    ),
)
BY_ID = {template.id: template for template in STEP_TEMPLATES}
