"""The published shapes of pipelines, runs and logs (PRODUCT section 8)."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from opsera_portal.api.paging import MAX_PAGE_SIZE, PageQuery
from opsera_portal.api.serializers import IdField, StrictSerializer
from pipelines.models import Pipeline, Run, RunLogLine, Step, StepRun


class PipelineBody(StrictSerializer):
    pipelineId = IdField(help_text="The pipeline's `id`, from the list of pipelines.")


class PipelineRunBody(PipelineBody):
    runCount = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=2**31 - 1,
        help_text="The run's number; without it, the latest run.",
    )


class PipelineListQuery(PageQuery, StrictSerializer):
    q = serializers.CharField(
        required=False, allow_blank=True, max_length=100, help_text="Part of the name or description."
    )
    page_size = serializers.IntegerField(required=False, default=MAX_PAGE_SIZE, min_value=1, max_value=MAX_PAGE_SIZE)


class RunLogQuery(PageQuery, StrictSerializer):
    """The log goes on at a cursor, as every list does."""


class PipelineSerializer(serializers.ModelSerializer[Pipeline]):
    """One row of the list."""

    owner_id = serializers.UUIDField(read_only=True)
    owner_email = serializers.CharField(source="owner.email", read_only=True)
    tags = serializers.ListField(child=serializers.CharField(), read_only=True)
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
            "runCount",
            "last_run",
            "created_at",
            "updated_at",
        ]

    @extend_schema_field(
        {
            "type": ["object", "null"],
            "properties": {"runCount": {"type": "integer"}, "status": {"type": "string"}},
        }
    )
    def get_last_run(self, pipeline: Any) -> dict[str, Any] | None:
        if pipeline.last_run_number is None:
            return None
        status = pipeline.last_run_outcome or pipeline.last_run_state
        return {"runCount": pipeline.last_run_number, "status": status}


class StepSerializer(serializers.ModelSerializer[Step]):
    """A step, without its URL's query and the values of its headers, which may be secrets."""

    url = serializers.CharField(source="public_url", read_only=True, help_text="Without its query.")
    header_names = serializers.SerializerMethodField()

    class Meta:
        model = Step
        fields = ["id", "position", "name", "kind", "method", "url", "header_names", "expected_status"]

    def get_header_names(self, step: Step) -> list[str]:
        return sorted(step.headers)


class StepRunSerializer(serializers.ModelSerializer[StepRun]):
    class Meta:
        model = StepRun
        fields = ["position", "name", "state", "started_at", "finished_at", "response_status", "message"]


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


class PipelineSummarySerializer(PipelineSerializer):
    """The whole pipeline: what it is, its steps and its latest run."""

    steps = StepSerializer(many=True, read_only=True)
    latest_run = serializers.SerializerMethodField()

    class Meta(PipelineSerializer.Meta):
        fields = [*PipelineSerializer.Meta.fields, "steps", "latest_run"]

    @extend_schema_field(RunSerializer(allow_null=True))
    def get_latest_run(self, pipeline: Pipeline) -> dict[str, Any] | None:
        run = pipeline.runs.prefetch_related("step_runs").order_by("-number").first()
        return dict(RunSerializer(run).data) if run else None


class RunStartedSerializer(serializers.Serializer[Any]):
    status = serializers.CharField(help_text="`executed`")
    message = serializers.CharField()
    runCount = serializers.IntegerField(help_text="The number of the new run.")


class RunStatusSerializer(serializers.Serializer[Any]):
    status = serializers.CharField(help_text="`queued`, `running`, `success`, `failed`, or `stopped` when never run.")
    message = serializers.CharField()
    runCount = serializers.IntegerField(help_text="The run's number; 0 when never run.")


class RunFailedSerializer(serializers.Serializer[Any]):
    status = serializers.CharField(help_text="`failed`")
    message = serializers.CharField(help_text="Why the pipeline cannot start, and what to do.")


class RunLogLineSerializer(serializers.ModelSerializer[RunLogLine]):
    _id = serializers.UUIDField(source="public_id", read_only=True)
    id = serializers.UUIDField(source="public_id", read_only=True)
    runCount = serializers.IntegerField(source="run.number", read_only=True)
    step = serializers.CharField(source="step_name", read_only=True)
    createdAt = serializers.DateTimeField(source="at", read_only=True)

    class Meta:
        model = RunLogLine
        fields = ["_id", "id", "runCount", "step", "action", "message", "status", "level", "createdAt"]
