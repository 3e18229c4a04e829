"""The API's doors to pipelines: the published routes, kept as published."""

from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from accounts.roles import Ability
from opsera_portal.api.operations import READ_PIPELINES, RUN_PIPELINES, Operation
from opsera_portal.api.paging import MAX_PAGE_SIZE, page_response
from opsera_portal.api.problems import Forbidden
from opsera_portal.api.views import ApiViewSet
from opsera_portal.keyset import Keyset
from pipelines import services
from pipelines.api.serializers import (
    PipelineBody,
    PipelineListQuery,
    PipelineRunBody,
    PipelineSerializer,
    PipelineSummarySerializer,
    RunFailedSerializer,
    RunLogLineSerializer,
    RunLogQuery,
    RunStartedSerializer,
    RunStatusSerializer,
)
from pipelines.filters import PipelineFilter
from pipelines.models import Pipeline, Run, RunLogLine

BY_NAME = Keyset(("name", "id"), descending=False)
NEWEST_FIRST = Keyset(("at", "id"))


def may_use_pipelines(user: User) -> bool:
    return user.may(Ability.USE_PIPELINES)


class PipelineViewSet(ApiViewSet):
    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation("List pipelines", READ_PIPELINES, only_reads=True),
        "run": Operation("Run a pipeline", RUN_PIPELINES, role_allows=may_use_pipelines),
        "status": Operation("Ask for a run's status", READ_PIPELINES, only_reads=True),
        "summary": Operation("See a whole pipeline", READ_PIPELINES, only_reads=True),
        "logs": Operation("Read a pipeline's log", READ_PIPELINES, only_reads=True),
    }
    actions_with_query = frozenset({"list", "logs"})
    serializer_class = PipelineSerializer

    def get_queryset(self) -> Any:
        return Pipeline.objects.visible_to(self.person)

    @extend_schema(operation_id="pipeline_list", parameters=[PipelineListQuery])
    def list(self, request: Request) -> Response:
        """The pipelines that the owner of the token may see, by name."""
        query = self.read_query(PipelineListQuery)
        filtered = self.narrowed(PipelineFilter, self.get_queryset().for_pipeline_table())
        return page_response(
            request,
            filtered,
            PipelineSerializer,
            keyset=BY_NAME,
            cursor=query.get("cursor"),
            size=query["page_size"],
        )

    @extend_schema(
        operation_id="pipeline_run",
        request=PipelineBody,
        responses={200: RunStartedSerializer, 409: RunFailedSerializer},
    )
    def run(self, request: Request) -> Response:
        """Asks for a run. It is executed after those that were asked for before it."""
        pipeline = self._pipeline(self.read_body(PipelineBody))
        try:
            run = services.start_run(actor=self.person, pipeline=pipeline, request=request._request)
        except services.NotAllowed:
            raise Forbidden from None
        except services.CannotStart as error:
            return Response({"status": "failed", "message": str(error)}, status=409)
        message = f"Run {run.number} of “{pipeline.name}” was asked for."
        return Response({"status": "executed", "message": message, "runCount": run.number})

    @extend_schema(operation_id="pipeline_status", request=PipelineRunBody, responses=RunStatusSerializer)
    def status(self, request: Request) -> Response:
        """The status of the latest run, or of the run that `runCount` names."""
        body = self.read_body(PipelineRunBody)
        pipeline = self._pipeline(body)
        run = self._runs(pipeline, body).order_by("-number").first()
        if run is None and "runCount" in body:
            raise Forbidden
        if run is None:
            return Response({"status": "stopped", "message": f"“{pipeline.name}” has not been run yet.", "runCount": 0})
        message = f"Run {run.number} of “{pipeline.name}”: {run.badge.label.lower()}."
        return Response({"status": run.status, "message": message, "runCount": run.number})

    @extend_schema(operation_id="pipeline_summary", request=PipelineBody, responses=PipelineSummarySerializer)
    def summary(self, request: Request) -> Response:
        """The whole pipeline: what it is, its steps and its latest run."""
        body = self.read_body(PipelineBody)
        pipeline = self._pipeline(body, self.get_queryset().for_summary().for_pipeline_table())
        return Response(PipelineSummarySerializer(pipeline).data)

    @extend_schema(
        operation_id="pipeline_logs",
        parameters=[RunLogQuery],
        request=PipelineRunBody,
        responses=RunLogLineSerializer(many=True),
    )
    def logs(self, request: Request) -> Response:
        """What happened in the pipeline's runs, newest first, or in the run that `runCount` names.

        To go on, send the same body to `next`.
        """
        query = self.read_query(RunLogQuery)
        body = self.read_body(PipelineRunBody)
        pipeline = self._pipeline(body)
        runs = self._runs(pipeline, body)
        if "runCount" in body and not runs.exists():
            raise Forbidden
        lines = RunLogLine.objects.filter(run__in=runs).select_related("run")
        return page_response(
            request,
            lines,
            RunLogLineSerializer,
            keyset=NEWEST_FIRST,
            cursor=query.get("cursor"),
            size=MAX_PAGE_SIZE,
        )

    def _pipeline(self, body: dict[str, Any], queryset: QuerySet[Pipeline] | None = None) -> Pipeline:
        rows = self.get_queryset() if queryset is None else queryset
        pipeline = rows.filter(pk=body["pipelineId"]).first()
        if pipeline is None:
            raise Forbidden
        return pipeline

    def _runs(self, pipeline: Pipeline, body: dict[str, Any]) -> QuerySet[Run]:
        runs = pipeline.runs.all()
        return runs.filter(number=body["runCount"]) if "runCount" in body else runs
