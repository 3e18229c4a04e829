"""The work that people and tokens act on: pipelines, their steps, and runs of them."""

import functools
import operator
import uuid
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy, ngettext

from accounts.models import SubjectRule
from core.badges import Badge
from core.db.keyset import Keyset
from core.http import fenced_call
from core.text import is_printable
from pipelines import http_step, secret_fields, step_secrets
from pipelines.access import ItemRole
from pipelines.querysets import AccessRuleQuerySet, PipelineQuerySet, RunQuerySet
from pipelines.run_states import (
    OCCUPYING,
    PIPELINE_BADGES,
    STEP_BADGES,
    UNDER_WAY,
    PipelineState,
    RunAction,
    RunEvent,
    RunOutcome,
    RunState,
    StepState,
    after,
    badge_of_run,
    pipeline_state,
    status_of_run,
)

BODY_MAX_LENGTH = 64 * 1024
NAME_MAX_LENGTH = 100
TAGS_LIMIT = 20
TAG_MAX_LENGTH = 50
STEPS_LIMIT = 100
RULES_LIMIT = 200
NOTIFIED_LIMIT = 50
FAILURES = {StepState.FAILED.value, RunOutcome.FAILED.value}


# The order of the list of all runs, on its page and in the API.
NEWEST_RUNS_FIRST = Keyset(("requested_at", "id"))

# Steps, and steps of runs, that hold a secret.
HOLDS_SECRETS = functools.reduce(operator.or_, (~Q(**{place: {}}) for place in step_secrets.PLACES))


def no_tags() -> list[str]:
    return []


def no_headers() -> dict[str, str]:
    return {}


def check_tags(tags: object) -> None:
    """Raises ``ValidationError`` unless these are tags."""
    if not isinstance(tags, list) or not all(_is_tag(tag) for tag in tags):
        too_long = ngettext(
            "Give a list of words of at most %(limit)s character.",
            "Give a list of words of at most %(limit)s characters.",
            TAG_MAX_LENGTH,
        )
        raise ValidationError(too_long % {"limit": TAG_MAX_LENGTH})
    if len(tags) > TAGS_LIMIT:
        too_many = ngettext("Give at most %(limit)s tag.", "Give at most %(limit)s tags.", TAGS_LIMIT)
        raise ValidationError(too_many % {"limit": TAGS_LIMIT})


def _is_tag(tag: object) -> bool:
    return isinstance(tag, str) and 0 < len(tag) <= TAG_MAX_LENGTH and is_printable(tag) and "," not in tag


def _between(start: datetime | None, end: datetime | None) -> timedelta | None:
    return end - start if start and end else None


class Pipeline(models.Model):
    """Ordered steps, owned by a person, in one organization."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(
        "accounts.Organization", on_delete=models.PROTECT, related_name="pipelines", db_index=False
    )
    name = models.CharField(max_length=NAME_MAX_LENGTH)
    description = models.TextField(max_length=2000, blank=True)
    tags = models.JSONField(default=no_tags, blank=True, help_text='A list of words: ["nightly", "linux"].')
    owner = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="pipelines")
    run_count = models.PositiveIntegerField(default=0, editable=False)
    # Locked while this is set. The locker's address is a copy, shown on the page.
    locked_at = models.DateTimeField(null=True, editable=False)
    locked_by_email = models.CharField(max_length=254, blank=True, editable=False)
    notified_people = models.ManyToManyField(
        "accounts.User",
        related_name="+",
        blank=True,
        help_text="Get an e-mail when a run fails and when a gate waits.",
    )
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
                # The same words whether the person sees the other pipeline or not.
                violation_error_message="This name is already in use. Choose another one.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_locked(self) -> bool:
        return self.locked_at is not None

    @property
    def state(self) -> PipelineState:
        """One query."""
        return pipeline_state(set(self.runs.filter(state__in=OCCUPYING).order_by().values_list("state", flat=True)))

    @property
    def badge(self) -> Badge:
        return PIPELINE_BADGES[self.state]

    def clean(self) -> None:
        try:
            check_tags(self.tags)
        except ValidationError as error:
            raise ValidationError({"tags": error.messages}) from None
        if self.owner_id and self.organization_id and self.owner.organization_id != self.organization_id:
            raise ValidationError({"owner": "The owner must belong to the pipeline's organization."})


class TokenPipeline(models.Model):
    """A pipeline that a limited token reaches. A token without any reaches none."""

    # This app knows tokens by model name only.
    token = models.ForeignKey("tokens.Token", on_delete=models.CASCADE, related_name="pipeline_links", db_index=False)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="token_links")

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint("token", "pipeline", name="token_pipeline_once")]

    def __str__(self) -> str:
        return f"{self.token_id}: {self.pipeline_id}"


class AccessRule(SubjectRule):
    """Gives a person or a group a role on one pipeline."""

    Role = ItemRole

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="access_rules", db_index=False)
    role = models.CharField(max_length=13, choices=ItemRole)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[AccessRuleQuerySet] = AccessRuleQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint("pipeline", "user", name="access_rule_one_for_each_person"),
            models.UniqueConstraint("pipeline", "group", name="access_rule_one_for_each_group"),
            models.CheckConstraint(
                condition=Q(user__isnull=True, group__isnull=False) | Q(user__isnull=False, group__isnull=True),
                name="access_rule_for_a_person_or_a_group",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pipeline.name}: {self.subject_name} ({self.get_role_display()})"


class StepDefinition(models.Model):
    """What a step does. A run copies its steps when it is requested, so that later edits don't change it."""

    class Kind(models.TextChoices):
        HTTP_CALL = "http_call", gettext_lazy("HTTP call")
        APPROVAL = "approval", gettext_lazy("Approval")

    class Method(models.TextChoices):
        GET = "GET"
        POST = "POST"
        PUT = "PUT"
        PATCH = "PATCH"
        DELETE = "DELETE"

    position = models.PositiveSmallIntegerField(validators=[MinValueValidator(1)])
    name = models.CharField(max_length=NAME_MAX_LENGTH)
    kind = models.CharField(max_length=20, choices=Kind, default=Kind.HTTP_CALL)
    method = models.CharField(max_length=6, choices=Method, default=Method.POST)
    url = models.CharField("URL", max_length=2048, blank=True)
    headers = models.JSONField(default=no_headers, blank=True, help_text='An object: {"Accept": "text/plain"}.')
    # Encrypted values by name (`step_secrets`). People write them, the worker reads them.
    secret_headers = models.JSONField(default=no_headers, blank=True, editable=False)
    # Parameters of the URL and fields of the body, stored in the same way (`secret_fields`).
    secret_query = models.JSONField(default=no_headers, blank=True, editable=False)
    secret_body = models.JSONField(default=no_headers, blank=True, editable=False)
    body = models.TextField(max_length=BODY_MAX_LENGTH, blank=True)
    expected_status = models.PositiveSmallIntegerField(
        default=200, validators=[MinValueValidator(100), MaxValueValidator(599)]
    )
    instructions = models.TextField(max_length=500, blank=True, help_text="What to check before approving.")

    DEFINITION_FIELDS: ClassVar[tuple[str, ...]] = (
        "position",
        "name",
        "kind",
        "method",
        "url",
        "headers",
        "secret_headers",
        "secret_query",
        "secret_body",
        "body",
        "expected_status",
        "instructions",
    )

    class Meta:
        abstract = True

    @property
    def public_url(self) -> str:
        """The URL without its query, for everyone who can see the pipeline."""
        address, mark, _ = self.url.partition("?")
        return f"{address}?…" if mark else address

    def definition(self) -> dict[str, Any]:
        return {field: getattr(self, field) for field in self.DEFINITION_FIELDS}

    @property
    def is_gate(self) -> bool:
        return self.kind == self.Kind.APPROVAL

    @property
    def identity(self) -> tuple[str, str]:
        """The ids of pipeline and step, to which secrets are bound."""
        raise NotImplementedError

    @property
    def has_secrets(self) -> bool:
        return any(getattr(self, place) for place in step_secrets.PLACES)

    @property
    def secret_names(self) -> list[str]:
        return [name for place in step_secrets.PLACES for name in getattr(self, place)]

    @property
    def missing_secrets(self) -> list[str]:
        """Names of required secrets that have no value yet."""
        return [
            name for place in step_secrets.PLACES for name in step_secrets.names_without_value(getattr(self, place))
        ]

    @property
    def header_names(self) -> list[str]:
        return sorted([*self.headers, *self.secret_headers], key=str.lower)

    def clean(self) -> None:
        if self.is_gate:
            return
        errors: dict[str, str] = {}
        for field, check, values in (
            ("url", fenced_call.check_url, (self.url,)),
            ("headers", http_step.check_plain_headers, (self.headers,)),
            ("url", secret_fields.check_plain_query, (self.url,)),
            ("body", secret_fields.check_plain_body, (self.headers, self.body)),
        ):
            if field in errors or "headers" in errors:
                continue
            try:
                check(*values)
            except ValueError as error:
                errors[field] = str(error)
        if errors:
            raise ValidationError(errors)


class Step(StepDefinition):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="steps", db_index=False)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint("pipeline", "position", name="step_position_unique_in_pipeline")]

    def __str__(self) -> str:
        return f"{self.position}. {self.name}"

    @property
    def identity(self) -> tuple[str, str]:
        return str(self.pipeline_id), str(self.pk)


class Run(models.Model):
    """One run of a pipeline. Numbers count from 1 for each pipeline. It outlives its pipeline, whose name it copies."""

    State = RunState
    Outcome = RunOutcome

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.SET_NULL, null=True, related_name="runs", db_index=False)
    pipeline_public_id = models.UUIDField("pipeline ID")
    pipeline_name = models.CharField(max_length=NAME_MAX_LENGTH)
    organization = models.ForeignKey(
        "accounts.Organization", on_delete=models.PROTECT, related_name="+", db_index=False
    )
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
    # Who last resumed it or approved its gate, and with which token. Empty if it never waited for a person.
    continued_by = models.ForeignKey(
        "accounts.User", on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )
    continued_by_email = models.CharField(max_length=254, blank=True)
    continued_token = models.ForeignKey("tokens.Token", on_delete=models.SET_NULL, null=True, related_name="+")
    continued_token_name = models.CharField(max_length=50, blank=True)
    requested_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # The worker that executes it, and the time until which its lease lasts (`runner`).
    worker = models.CharField(max_length=64, blank=True)
    lease_ends_at = models.DateTimeField(null=True)
    # How often a worker has taken it. Only the thread that holds the last number may change it while it is executed.
    attempt = models.PositiveIntegerField(default=0)

    objects: ClassVar[RunQuerySet] = RunQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint("pipeline", "number", name="run_number_unique_in_pipeline"),
            models.UniqueConstraint(
                "pipeline",
                condition=models.Q(state__in=OCCUPYING),
                name="run_only_one_under_way_in_pipeline",
            ),
        ]
        indexes = [
            models.Index(fields=["started_by", "-requested_at"], name="run_started_by_newest"),
            models.Index(fields=["organization", "-requested_at", "-id"], name="run_organization_newest"),
            models.Index(fields=["pipeline", "-requested_at", "-id"], name="run_pipeline_newest"),
            models.Index(fields=["state"], name="run_under_way", condition=models.Q(state__in=UNDER_WAY)),
            models.Index(fields=["pipeline", "state"], name="run_pipeline_state"),
        ]

    def __str__(self) -> str:
        return f"run {self.number} of {self.pipeline_name}"

    def move(self, what: RunAction | RunEvent, **values: Any) -> bool:
        """Applies an event of the state machine if the row still has the state and the attempt with which it was read.

        Returns ``False``, and changes nothing, if it does not, or if the state does not allow the event.
        """
        following = after(self.state, what)
        if following is None:
            return False
        as_read = Run.objects.filter(pk=self.pk, state=self.state, attempt=self.attempt)
        moved = as_read.update(state=following, **values)
        if not moved:
            return False
        for field, value in {"state": following, **values}.items():
            setattr(self, field, value)
        if following == RunState.FINISHED:
            # The run makes no more calls, so its copies of secrets are deleted.
            self.step_runs.filter(HOLDS_SECRETS).update(**{place: {} for place in step_secrets.PLACES})
            self.step_runs.filter(state=StepState.WAITING).update(state=StepState.SKIPPED)
        return True

    def log(self, action: str, status: str, message: str, step: "StepRun | None" = None) -> None:
        """Adds a line to the run's log. The level follows from the status."""
        level = RunLogLine.Level.ERROR if status in FAILURES else RunLogLine.Level.INFO
        self._add_line(action, status, message, step, level=level)

    def log_answer(self, status: str, message: str, step: "StepRun", answer: str) -> None:
        """Adds a line about the server's response. ``answer`` is the response without secrets.

        The line is no error, even if the step failed: the line before it says why.
        """
        self._add_line("answer", status, message, step, level=RunLogLine.Level.INFO, answer=answer)

    def _add_line(self, action: str, status: str, message: str, step: "StepRun | None", **values: Any) -> None:
        RunLogLine.objects.create(
            run=self,
            step_name=step.name if step else "",
            action=action,
            status=status,
            message=message,
            **values,
        )

    @property
    def current_pipeline_name(self) -> str:
        """The pipeline's name, or the name that it had when the run was requested, if it is deleted."""
        return self.pipeline.name if self.pipeline else self.pipeline_name

    @property
    def duration(self) -> timedelta | None:
        """From its start to its end, with the time in which it waited at gates."""
        return _between(self.started_at, self.finished_at)

    @property
    def moves(self) -> bool:
        """Whether the run can still change, so that its page refreshes."""
        return self.state in UNDER_WAY

    @property
    def badge(self) -> Badge:
        return badge_of_run(self.state, self.outcome)

    @property
    def status(self) -> str:
        """The published word."""
        return status_of_run(self.state, self.outcome)


class StepRun(StepDefinition):
    """One step of a run: the copy of the step, and its result."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="step_runs", db_index=False)
    # The id of the original step, which may be deleted by now. The secrets are bound to it.
    step_public_id = models.UUIDField(null=True, editable=False)
    state = models.CharField(max_length=10, choices=StepState, default=StepState.WAITING)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    response_status = models.PositiveSmallIntegerField(null=True)
    # The part that was read: at most `http_step.BODY_LIMIT_BYTES`.
    response_bytes = models.PositiveIntegerField(null=True)
    message = models.TextField(blank=True)
    # Who approved or rejected a gate.
    decided_by_email = models.CharField(max_length=254, blank=True)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint("run", "position", name="step_run_position_unique_in_run")]

    def __str__(self) -> str:
        return f"{self.position}. {self.name}"

    @property
    def identity(self) -> tuple[str, str]:
        return str(self.run.pipeline_public_id), str(self.step_public_id)

    @property
    def badge(self) -> Badge:
        return STEP_BADGES[self.state]

    @property
    def duration(self) -> timedelta | None:
        return _between(self.started_at, self.finished_at)


class RunLogLine(models.Model):
    """One line of a run's log."""

    class Level(models.TextChoices):
        INFO = "info", "Info"
        ERROR = "error", "Error"

    # The number orders lines of the same microsecond; the API shows the public id.
    id = models.BigAutoField(primary_key=True)
    public_id = models.UUIDField(default=uuid.uuid4, editable=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="log_lines", db_index=False)
    step_name = models.CharField(max_length=100, blank=True)
    action = models.CharField(max_length=20)
    at = models.DateTimeField(default=timezone.now)
    level = models.CharField(max_length=5, choices=Level, default=Level.INFO)
    status = models.CharField(max_length=20, blank=True)
    message = models.TextField()
    # The server's response, only for people who can edit the steps (`PipelineAction.EDIT_STEPS`). Never part of the
    # message, which everyone can read who can see the pipeline.
    answer = models.TextField(blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["run", "-id"], name="runlogline_run_newest")]

    def __str__(self) -> str:
        return self.message
