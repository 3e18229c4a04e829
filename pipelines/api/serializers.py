"""Serializers of pipelines, runs and logs, including the published shapes (docs/product.md#api)."""

from typing import Any, ClassVar

from django.core.validators import MaxLengthValidator
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.api.subjects import SubjectBody
from core.api.serializers import BoundedListField, IdField, NameField, StrictSerializer, TextField, WholeNumberField
from pipelines.access import ItemRole, PipelineAction, allowed_actions
from pipelines.http_step import HEADER_LIMIT_BYTES, HEADERS_LIMIT
from pipelines.models import (
    BODY_MAX_LENGTH,
    NAME_MAX_LENGTH,
    NOTIFIED_LIMIT,
    RULES_LIMIT,
    STEPS_LIMIT,
    TAG_MAX_LENGTH,
    TAGS_LIMIT,
    AccessRule,
    Pipeline,
    Run,
    RunLogLine,
    Step,
    StepRun,
)
from pipelines.querysets import STEP_RESULT
from pipelines.run_states import PipelineState, pipeline_state, status_of_run
from pipelines.services import StepInput
from pipelines.services.runs import MESSAGE_MAX_LENGTH

# What comes in


class PipelineBody(StrictSerializer):
    pipelineId = IdField(help_text="The pipeline's `id`, from the list of pipelines.")


class PipelineRunBody(PipelineBody):
    runCount = WholeNumberField(
        required=False,
        min_value=1,
        max_value=2**31 - 1,
        help_text="The run's number; without it, the latest run.",
    )


class ApproveBody(PipelineBody):
    runCount = WholeNumberField(
        required=False,
        min_value=1,
        max_value=2**31 - 1,
        help_text="The number of the run to decide about. If another run waits now, nothing is decided.",
    )
    position = WholeNumberField(
        required=False,
        min_value=1,
        max_value=2**15 - 1,
        help_text="The position of the gate. If another gate waits now, nothing is decided.",
    )
    message = TextField(
        max_length=MESSAGE_MAX_LENGTH,
        required=False,
        allow_blank=True,
        help_text="The reason, if you give one. It appears in the run's log.",
    )


class RejectBody(ApproveBody):
    message = TextField(max_length=MESSAGE_MAX_LENGTH, help_text="The reason. It appears in the run's log.")


class HeadersField(serializers.DictField):
    """An object of strings. The step's rules check names and values."""

    def __init__(self, *, allow_null: bool = False, **kwargs: Any) -> None:
        value = TextField(allow_blank=True, allow_null=allow_null, trim_whitespace=False, max_length=HEADER_LIMIT_BYTES)
        super().__init__(child=value, validators=[MaxLengthValidator(HEADERS_LIMIT)], **kwargs)


class StepBody(StrictSerializer):
    """The new content of a step. With the `id` of one of the pipeline's steps it replaces that step."""

    id = IdField(required=False)
    name = NameField(max_length=NAME_MAX_LENGTH)
    kind = serializers.ChoiceField(choices=Step.Kind.choices, required=False, default=Step.Kind.HTTP_CALL)
    method = serializers.ChoiceField(choices=Step.Method.choices, required=False, default=Step.Method.POST)
    url = TextField(max_length=2048, required=False, allow_blank=True, default="")
    headers = HeadersField(required=False, default=dict)
    secret_headers = HeadersField(
        required=False,
        default=dict,
        allow_null=True,
        help_text="Stored encrypted and never shown again. null keeps the current value.",
    )
    secret_query = HeadersField(
        required=False,
        default=dict,
        allow_null=True,
        help_text="More parameters of the URL, stored like secret headers.",
    )
    body = TextField(max_length=BODY_MAX_LENGTH, required=False, allow_blank=True, default="", trim_whitespace=False)
    secret_body = HeadersField(
        required=False,
        default=dict,
        allow_null=True,
        help_text="More fields of a body that is a JSON object or a form, stored like secret headers. "
        "`inputs.token` goes inside `inputs`.",
    )
    expected_status = WholeNumberField(required=False, default=200, min_value=100, max_value=599)
    instructions = TextField(max_length=500, required=False, allow_blank=True, default="")

    def to_internal_value(self, data: Any) -> StepInput:
        return StepInput(**super().to_internal_value(data))


class TagField(NameField):
    """A tag without commas, because forms separate tags with commas."""

    pattern: ClassVar[str] = r"^[^,\p{C}\p{Z}](([^,\p{C}\p{Z}]|[ \u200c\u200d])*[^,\p{C}\p{Z}])?$"


class TagsField(BoundedListField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=TagField(max_length=TAG_MAX_LENGTH), max_length=TAGS_LIMIT, **kwargs)


class CreatePipelineBody(StrictSerializer):
    name = NameField(max_length=NAME_MAX_LENGTH)
    description = TextField(max_length=2000, required=False, allow_blank=True, default="")
    tags = TagsField(required=False, default=list)
    steps = BoundedListField(child=StepBody(), max_length=STEPS_LIMIT, required=False, default=list)


class ChangePipelineBody(StrictSerializer):
    """Missing fields stay unchanged. `steps` replaces all steps."""

    together = {"minProperties": 1}

    name = NameField(max_length=NAME_MAX_LENGTH, required=False)
    description = TextField(max_length=2000, required=False, allow_blank=True)
    tags = TagsField(required=False)
    steps = BoundedListField(child=StepBody(), max_length=STEPS_LIMIT, required=False)
    notified_people = BoundedListField(
        child=TextField(max_length=254),
        max_length=NOTIFIED_LIMIT,
        required=False,
        help_text="E-mail addresses of the people who get an e-mail when a run fails or a gate waits.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Give at least one field to change.")
        return attrs


class AccessRuleBody(SubjectBody):
    """For a person, by id or e-mail address, or for a group, by id or name."""

    role = serializers.ChoiceField(choices=ItemRole.choices)


class AccessRulesBody(StrictSerializer):
    rules = BoundedListField(child=AccessRuleBody(), max_length=RULES_LIMIT, help_text="Replaces all rules.")


class DuplicatePipelineBody(StrictSerializer):
    name = NameField(
        max_length=NAME_MAX_LENGTH, required=False, allow_blank=True, default="", help_text="Without it: “... (copy)”."
    )


class TransferPipelineBody(StrictSerializer):
    together = {"minProperties": 1, "maxProperties": 1}

    owner_id = IdField(required=False)
    owner_email = TextField(required=False, max_length=254)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len(attrs) != 1:
            raise serializers.ValidationError("Give either `owner_id` or `owner_email`.")
        return attrs


# What goes out


class PipelineSerializer(serializers.ModelSerializer[Pipeline]):
    """One row of the list."""

    owner_id = serializers.UUIDField(read_only=True)
    owner_email = serializers.CharField(source="owner.email", read_only=True)
    tags = serializers.ListField(child=serializers.CharField(), read_only=True)
    state = serializers.SerializerMethodField(
        help_text="`stopped` if no run is in progress, which pages show as “Idle”; otherwise `running` or `paused`."
    )
    is_locked = serializers.BooleanField(read_only=True)
    runCount = serializers.IntegerField(source="run_count", read_only=True)
    last_run = serializers.SerializerMethodField(help_text="The latest run's number and status, or null.")

    class Meta:
        model = Pipeline
        fields = [
            "id",
            "name",
            "description",
            "tags",
            "owner_id",
            "owner_email",
            "state",
            "is_locked",
            "runCount",
            "last_run",
            "created_at",
            "updated_at",
        ]

    @extend_schema_field(serializers.ChoiceField(choices=PipelineState.choices))
    def get_state(self, pipeline: Any) -> str:
        return pipeline_state({pipeline.state_of_current_run} - {None}).value

    @extend_schema_field(
        {
            "type": ["object", "null"],
            "properties": {"runCount": {"type": "integer"}, "status": {"type": "string"}},
        }
    )
    def get_last_run(self, pipeline: Any) -> dict[str, Any] | None:
        if pipeline.last_run_number is None:
            return None
        status = status_of_run(pipeline.last_run_state, pipeline.last_run_outcome)
        return {"runCount": pipeline.last_run_number, "status": status}


class StepSerializer(serializers.ModelSerializer[Step]):
    """A step. Values of secrets are never shown; the whole URL, headers and body only to people who can edit it."""

    url = serializers.SerializerMethodField(help_text="Without its query for people who can't edit the step.")
    header_names = serializers.ListField(child=serializers.CharField(), read_only=True)
    secret_header_names = serializers.SerializerMethodField()
    secret_query_names = serializers.SerializerMethodField(help_text="Secret parameters of the URL.")
    secret_body_names = serializers.SerializerMethodField(help_text="Secret fields of the body.")
    missing_secrets = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        help_text="Names of secrets without a value, as in a copy. The pipeline does not run until they are entered.",
    )
    headers = serializers.SerializerMethodField(help_text="null for people who can't edit the step.")
    body = serializers.SerializerMethodField(help_text="null for people who can't edit the step.")

    class Meta:
        model = Step
        fields = [
            "id",
            "position",
            "name",
            "kind",
            "method",
            "url",
            "header_names",
            "secret_header_names",
            "secret_query_names",
            "secret_body_names",
            "missing_secrets",
            "headers",
            "body",
            "expected_status",
            "instructions",
        ]

    @property
    def may_edit(self) -> bool:
        return bool(self.context.get("may_edit"))

    @extend_schema_field(serializers.CharField())
    def get_url(self, step: Step) -> str:
        return step.url if self.may_edit else step.public_url

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_secret_header_names(self, step: Step) -> list[str]:
        return sorted(step.secret_headers, key=str.lower)

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_secret_query_names(self, step: Step) -> list[str]:
        return sorted(step.secret_query, key=str.lower)

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_secret_body_names(self, step: Step) -> list[str]:
        return sorted(step.secret_body, key=str.lower)

    @extend_schema_field({"type": ["object", "null"], "additionalProperties": {"type": "string"}})
    def get_headers(self, step: Step) -> dict[str, str] | None:
        return step.headers if self.may_edit else None

    @extend_schema_field({"type": ["string", "null"]})
    def get_body(self, step: Step) -> str | None:
        return step.body if self.may_edit else None


class StepRunSerializer(serializers.ModelSerializer[StepRun]):
    class Meta:
        model = StepRun
        fields = STEP_RESULT


class RunSerializer(serializers.ModelSerializer[Run]):
    runCount = serializers.IntegerField(source="number", read_only=True)
    status = serializers.CharField(read_only=True)
    steps = StepRunSerializer(source="step_runs", many=True, read_only=True)

    class Meta:
        model = Run
        fields = [
            "id",
            "runCount",
            "status",
            "started_by_email",
            "token_name",
            "requested_at",
            "started_at",
            "finished_at",
            "steps",
        ]


class ListedRunSerializer(RunSerializer):
    """A run in the list of all runs, with its pipeline."""

    pipelineId = serializers.UUIDField(source="pipeline_public_id", read_only=True)
    pipeline_name = serializers.CharField(
        source="current_pipeline_name",
        read_only=True,
        help_text="If the pipeline is deleted, its name when the run was requested.",
    )

    class Meta(RunSerializer.Meta):
        fields = ["id", "pipelineId", "pipeline_name", *RunSerializer.Meta.fields[1:]]


class PipelineSummarySerializer(PipelineSerializer):
    """The pipeline with its steps, its latest run, and what the caller is allowed to do.

    Context: `person`, the caller.
    """

    locked_by_email = serializers.CharField(read_only=True)
    steps = serializers.SerializerMethodField()
    notified_people = serializers.SerializerMethodField(help_text="null for people who can't edit it.")
    latest_run = serializers.SerializerMethodField()
    allowed = serializers.SerializerMethodField(help_text="What you are currently allowed to do with this pipeline.")

    class Meta(PipelineSerializer.Meta):
        fields = [
            *PipelineSerializer.Meta.fields,
            "locked_by_email",
            "steps",
            "notified_people",
            "latest_run",
            "allowed",
        ]

    def to_representation(self, instance: Pipeline) -> dict[str, Any]:
        self.allowed_actions = allowed_actions(self.context["person"], instance)
        return super().to_representation(instance)

    @property
    def may_edit(self) -> bool:
        return PipelineAction.EDIT_STEPS in self.allowed_actions

    @extend_schema_field(StepSerializer(many=True))
    def get_steps(self, pipeline: Pipeline) -> Any:
        return StepSerializer(pipeline.steps.all(), many=True, context={"may_edit": self.may_edit}).data

    @extend_schema_field({"type": ["array", "null"], "items": {"type": "string"}})
    def get_notified_people(self, pipeline: Pipeline) -> list[str] | None:
        return sorted(person.email for person in pipeline.notified_people.all()) if self.may_edit else None

    @extend_schema_field(RunSerializer(allow_null=True))
    def get_latest_run(self, pipeline: Pipeline) -> dict[str, Any] | None:
        run = pipeline.runs.prefetch_related("step_runs").order_by("-number").first()
        return dict(RunSerializer(run).data) if run else None

    @extend_schema_field(
        serializers.ListField(child=serializers.ChoiceField(choices=[action.name.lower() for action in PipelineAction]))
    )
    def get_allowed(self, pipeline: Pipeline) -> list[str]:
        return [action.name.lower() for action in PipelineAction if action in self.allowed_actions]


class AccessRuleSerializer(serializers.ModelSerializer[AccessRule]):
    user_id = serializers.UUIDField(read_only=True, allow_null=True)
    user_email = serializers.CharField(source="user.email", read_only=True, default=None, allow_null=True)
    group_id = serializers.UUIDField(read_only=True, allow_null=True)
    group_name = serializers.CharField(source="group.name", read_only=True, default=None, allow_null=True)

    class Meta:
        model = AccessRule
        fields = ["id", "user_id", "user_email", "group_id", "group_name", "role"]


class AccessRulesSerializer(serializers.Serializer[Any]):
    """Without rules every User of the organization can see and run the pipeline, and Guests can see it."""

    count = serializers.IntegerField()
    data = AccessRuleSerializer(many=True)  # type: ignore[assignment]
    next = serializers.CharField(allow_null=True, help_text="Always null: a pipeline has at most 200 rules.")


class StepTemplateSerializer(serializers.Serializer[Any]):
    """A template of a step. Replace the words in capitals with your own."""

    id = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    description = serializers.CharField()
    method = serializers.CharField()
    url = serializers.CharField()
    headers = serializers.DictField(child=serializers.CharField())
    secret_header_names = serializers.ListField(child=serializers.CharField())
    body = serializers.CharField()
    expected_status = serializers.IntegerField()


class RefusedAddressesSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField()
    networks = serializers.ListField(
        child=serializers.CharField(), help_text="Empty if the kind is not defined by networks."
    )


class AddressRulesSerializer(serializers.Serializer[Any]):
    """The addresses that HTTP steps can't call. If an allowed and a refused network overlap, the smaller one counts."""

    refused = RefusedAddressesSerializer(many=True)
    allowed = serializers.ListField(child=serializers.CharField(), help_text="Exceptions that the operator allows.")
    uses_proxy = serializers.BooleanField(help_text="Whether calls go through the operator's proxy, after the check.")


class RunStartedSerializer(serializers.Serializer[Any]):
    status = serializers.CharField(help_text="`executed`")
    message = serializers.CharField()
    runCount = serializers.IntegerField(help_text="The number of the new run.")


class RunStatusSerializer(serializers.Serializer[Any]):
    status = serializers.CharField(
        help_text="`queued`, `running`, `paused`, `success`, `failed`, or `stopped`, also when never run."
    )
    message = serializers.CharField()
    runCount = serializers.IntegerField(help_text="The run's number; 0 when never run.")


class ActionDoneSerializer(serializers.Serializer[Any]):
    status = serializers.CharField(help_text="`success`")
    message = serializers.CharField()


class ActionFailedSerializer(serializers.Serializer[Any]):
    status = serializers.CharField(help_text="`failed`")
    message = serializers.CharField(help_text="Why it is refused, and what to do.")


class RunLogLineSerializer(serializers.ModelSerializer[RunLogLine]):
    """Context: `may_read_answers`."""

    _id = serializers.UUIDField(source="public_id", read_only=True)
    id = serializers.UUIDField(source="public_id", read_only=True)
    runCount = serializers.IntegerField(source="run.number", read_only=True)
    step = serializers.CharField(source="step_name", read_only=True)
    createdAt = serializers.DateTimeField(source="at", read_only=True)
    answer = serializers.SerializerMethodField(
        help_text="The server's response, without secrets. null if there is none, and for people who can't "
        "edit the pipeline's steps."
    )

    class Meta:
        model = RunLogLine
        fields = ["_id", "id", "runCount", "step", "action", "message", "answer", "status", "level", "createdAt"]

    @extend_schema_field({"type": ["string", "null"]})
    def get_answer(self, line: RunLogLine) -> str | None:
        return (line.answer or None) if self.context.get("may_read_answers") else None
