"""The work that people and tokens act on: pipelines, their steps, and runs of them."""

import uuid
from datetime import timedelta
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from pipelines import http_step
from pipelines.querysets import PipelineQuerySet, RunQuerySet
from pipelines.run_states import STEP_LOOKS, RunLook, RunOutcome, RunState, StepState, look_of_run

BODY_MAX_LENGTH = 64 * 1024


def no_tags() -> list[str]:
    return []


def no_headers() -> dict[str, str]:
    return {}


def _is_tag(tag: object) -> bool:
    return isinstance(tag, str) and 0 < len(tag) <= 50 and tag.isprintable()


class Pipeline(models.Model):
    """Ordered steps, owned by a person, in one organization."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(
        "accounts.Organization", on_delete=models.PROTECT, related_name="pipelines", db_index=False
    )
    name = models.CharField(max_length=100)
    description = models.TextField(max_length=2000, blank=True)
    tags = models.JSONField(default=no_tags, blank=True, help_text='A list of words: ["nightly", "linux"].')
    owner = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="pipelines")
    run_count = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar[PipelineQuerySet] = PipelineQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["name", "id"]
        indexes = [models.Index(fields=["organization", "name", "id"], name="pipeline_org_name")]
        constraints = [
            models.UniqueConstraint(
                "organization",
                Lower("name"),
                name="pipeline_name_unique_in_organization",
                violation_error_message="A pipeline of this name exists already.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if not isinstance(self.tags, list) or not all(_is_tag(tag) for tag in self.tags):
            raise ValidationError({"tags": "Give a list of words of at most 50 characters."})
        if len(self.tags) > 20:
            raise ValidationError({"tags": "Give at most 20 tags."})
        if self.owner_id and self.organization_id and self.owner.organization_id != self.organization_id:
            raise ValidationError({"owner": "The owner must belong to the pipeline's organization."})


class StepDefinition(models.Model):
    """What a step does. A run copies it when it is asked for, so that edits do not reach runs on their way."""

    class Kind(models.TextChoices):
        HTTP_CALL = "http_call", "HTTP call"

    class Method(models.TextChoices):
        GET = "GET"
        POST = "POST"
        PUT = "PUT"
        PATCH = "PATCH"
        DELETE = "DELETE"

    position = models.PositiveSmallIntegerField(validators=[MinValueValidator(1)])
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=20, choices=Kind, default=Kind.HTTP_CALL)
    method = models.CharField(max_length=6, choices=Method, default=Method.POST)
    url = models.CharField("URL", max_length=2048)
    headers = models.JSONField(default=no_headers, blank=True, help_text='An object: {"Accept": "text/plain"}.')
    body = models.TextField(max_length=BODY_MAX_LENGTH, blank=True)
    expected_status = models.PositiveSmallIntegerField(
        default=200, validators=[MinValueValidator(100), MaxValueValidator(599)]
    )

    DEFINITION_FIELDS: ClassVar[tuple[str, ...]] = (
        "position",
        "name",
        "kind",
        "method",
        "url",
        "headers",
        "body",
        "expected_status",
    )

    class Meta:
        abstract = True

    @property
    def public_url(self) -> str:
        """The URL without its query, which may hold a secret: what everyone sees who sees the pipeline."""
        address, mark, _ = self.url.partition("?")
        return f"{address}?…" if mark else address

    def definition(self) -> dict[str, Any]:
        return {field: getattr(self, field) for field in self.DEFINITION_FIELDS}

    def clean(self) -> None:
        try:
            http_step.check_url(self.url)
        except ValueError as error:
            raise ValidationError({"url": str(error)}) from None
        if not isinstance(self.headers, dict) or not all(isinstance(v, str) for v in self.headers.values()):
            raise ValidationError({"headers": "Give an object of names and texts."})
        try:
            http_step.check_headers(self.headers)
        except ValueError as error:
            raise ValidationError({"headers": str(error)}) from None


class Step(StepDefinition):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="steps", db_index=False)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint("pipeline", "position", name="step_position_unique_in_pipeline")]

    def __str__(self) -> str:
        return f"{self.position}. {self.name}"


class Run(models.Model):
    """One run of a pipeline. Numbers count from 1 for each pipeline."""

    State = RunState
    Outcome = RunOutcome

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="runs", db_index=False)
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=RunState, default=RunState.QUEUED)
    outcome = models.CharField(max_length=10, choices=RunOutcome, blank=True)
    started_by = models.ForeignKey(
        "accounts.User", on_delete=models.SET_NULL, null=True, related_name="runs", db_index=False
    )
    started_by_email = models.CharField(max_length=254)
    # Any token: this app knows tokens by model name only.
    token = models.ForeignKey("tokens.Token", on_delete=models.SET_NULL, null=True, related_name="+")
    token_name = models.CharField(max_length=50, blank=True)
    requested_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects: ClassVar[RunQuerySet] = RunQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint("pipeline", "number", name="run_number_unique_in_pipeline"),
            models.UniqueConstraint(
                "pipeline",
                condition=models.Q(state=RunState.RUNNING),
                name="run_only_one_running_in_pipeline",
            ),
        ]
        indexes = [
            models.Index(fields=["started_by", "-requested_at"], name="run_started_by_newest"),
            models.Index(fields=["state"], name="run_state", condition=~models.Q(state=RunState.FINISHED)),
        ]

    def __str__(self) -> str:
        return f"run {self.number}"

    @property
    def is_finished(self) -> bool:
        return self.state == RunState.FINISHED

    @property
    def badge(self) -> RunLook:
        return look_of_run(self.state, self.outcome)

    @property
    def status(self) -> str:
        """The published word: the outcome of a finished run, otherwise its state."""
        return self.outcome if self.is_finished else self.state


class StepRun(StepDefinition):
    """A step of one run: the step's copy, and what became of it."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="step_runs", db_index=False)
    state = models.CharField(max_length=10, choices=StepState, default=StepState.WAITING)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    response_status = models.PositiveSmallIntegerField(null=True)
    message = models.TextField(blank=True)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint("run", "position", name="step_run_position_unique_in_run")]

    def __str__(self) -> str:
        return f"{self.position}. {self.name}"

    @property
    def badge(self) -> RunLook:
        return STEP_LOOKS[self.state]

    @property
    def duration(self) -> timedelta | None:
        if self.started_at is None or self.finished_at is None:
            return None
        return self.finished_at - self.started_at


class RunLogLine(models.Model):
    """One line of what happened in a run."""

    class Level(models.TextChoices):
        INFO = "info", "Info"
        ERROR = "error", "Error"

    # The number orders lines of one microsecond; the public id is what answers carry.
    id = models.BigAutoField(primary_key=True)
    public_id = models.UUIDField(default=uuid.uuid4, editable=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="log_lines", db_index=False)
    step_name = models.CharField(max_length=100, blank=True)
    action = models.CharField(max_length=20)
    at = models.DateTimeField(default=timezone.now)
    level = models.CharField(max_length=5, choices=Level, default=Level.INFO)
    status = models.CharField(max_length=20, blank=True)
    message = models.TextField()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["run", "-id"], name="runlogline_run_newest")]

    def __str__(self) -> str:
        return self.message
