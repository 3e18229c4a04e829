"""The API of pipelines: the published routes and our own."""

from collections.abc import Callable, Collection
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from accounts.roles import Ability
from core.api.etags import seen_by, with_etag
from core.api.operations import DEFINE_PIPELINES, READ_PIPELINES, RUN_PIPELINES, Operation, Reach
from core.api.paging import LargePages, SmallPages, WholeList
from core.api.problems import Forbidden
from core.api.serializers import StrictSerializer
from core.api.views import ApiViewSet
from core.db.keyset import Keyset
from core.http.call_addresses import address_rules
from pipelines import seen, services
from pipelines.access import PipelineAction, allowed_actions, may, may_read_rules, may_read_some_rules
from pipelines.api.serializers import (
    AccessRulesBody,
    AccessRuleSerializer,
    AccessRulesSerializer,
    ActionDoneSerializer,
    ActionFailedSerializer,
    AddressRulesSerializer,
    ApproveBody,
    ChangePipelineBody,
    CreatePipelineBody,
    DuplicatePipelineBody,
    ListedRunSerializer,
    PipelineBody,
    PipelineRunBody,
    PipelineSerializer,
    PipelineSummarySerializer,
    RejectBody,
    RunLogLineSerializer,
    RunStartedSerializer,
    RunStatusSerializer,
    StepTemplateSerializer,
    TransferPipelineBody,
)
from pipelines.api.subjects import new_owner_of, people_of, rules_of
from pipelines.filters import PipelineFilter, RunFilter
from pipelines.models import NEWEST_RUNS_FIRST, Pipeline, Run, RunLogLine
from pipelines.step_templates import STEP_TEMPLATES

BY_NAME = Keyset(("name", "id"), descending=False)
NEWEST_FIRST = Keyset(("at", "id"))
DONE = {200: ActionDoneSerializer, 409: ActionFailedSerializer}


def _counts(user: User, among: Collection[UUID] | None) -> dict[str, int]:
    numbers = Pipeline.objects.count_allowing(user, PipelineAction.RUN, PipelineAction.SEE, among=among)
    return {"run": numbers[PipelineAction.RUN], "read": numbers[PipelineAction.SEE]}


RUNS, READS = Reach("run", "pipeline", "pipelines", _counts), Reach("read", "pipeline", "pipelines", _counts)


def may_use_pipelines(user: User) -> bool:
    return user.may(Ability.USE_PIPELINES)


def may_create_pipelines(user: User) -> bool:
    return user.may(Ability.CREATE_PIPELINES)


class PipelineViewSet(ApiViewSet):
    """Pipelines: create, change, share, lock and delete."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List pipelines"), READ_PIPELINES, only_reads=True, reach=READS),
        "create": Operation(
            _("Create a pipeline"), DEFINE_PIPELINES, role_allows=may_create_pipelines, is_closed_to_limited=True
        ),
        "retrieve": Operation(_("See a pipeline"), READ_PIPELINES, only_reads=True, has_etag=True),
        "partial_update": Operation(
            _("Change a pipeline"), DEFINE_PIPELINES, role_allows=may_use_pipelines, has_etag=True
        ),
        "destroy": Operation(_("Delete a pipeline"), DEFINE_PIPELINES, role_allows=may_use_pipelines),
        "access_rules": Operation(
            _("See a pipeline's access rules"),
            READ_PIPELINES,
            only_reads=True,
            role_allows=may_read_some_rules,
            has_etag=True,
        ),
        "replace_access_rules": Operation(
            _("Set access rules"), DEFINE_PIPELINES, role_allows=may_use_pipelines, has_etag=True
        ),
        "duplicate": Operation(
            _("Duplicate a pipeline"), DEFINE_PIPELINES, role_allows=may_create_pipelines, is_closed_to_limited=True
        ),
        "transfer": Operation(_("Transfer a pipeline"), DEFINE_PIPELINES, role_allows=may_use_pipelines),
        "lock": Operation(_("Lock a pipeline"), DEFINE_PIPELINES, role_allows=may_use_pipelines),
        "unlock": Operation(_("Unlock a pipeline"), DEFINE_PIPELINES, role_allows=may_use_pipelines),
    }
    serializer_class = PipelineSerializer
    filterset_class = PipelineFilter
    pagination_class = LargePages
    keyset = BY_NAME

    def get_queryset(self) -> Any:
        return Pipeline.objects.visible_to(self.person)

    @extend_schema(operation_id="pipeline_list")
    def list(self, request: Request) -> Response:
        """The pipelines that the token's owner can see, by name."""
        return self.page_of(self.get_queryset().for_pipeline_table())

    @extend_schema(
        operation_id="pipeline_create", request=CreatePipelineBody, responses={201: PipelineSummarySerializer}
    )
    def create(self, request: Request) -> Response:
        """Creates a pipeline that you own, with its steps."""
        body = self.read_body(CreatePipelineBody)
        pipeline = services.create_pipeline(actor=self.person, request=request._request, **body)
        return self._summary(pipeline, status=201)

    @extend_schema(operation_id="pipeline_retrieve", responses=PipelineSummarySerializer)
    def retrieve(self, request: Request, pk: str) -> Response:
        """The pipeline with its steps, its latest run, and what you are allowed to do with it."""
        return self._summary(self.get_object())

    @extend_schema(operation_id="pipeline_change", request=ChangePipelineBody, responses=PipelineSummarySerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Name, description and tags need an administrator of the pipeline; steps and notified people an editor."""
        pipeline = self.get_object()
        body = self.read_body(ChangePipelineBody)
        steps, emails = body.pop("steps", None), body.pop("notified_people", None)
        services.change_pipeline(
            actor=self.person,
            pipeline=pipeline,
            texts=body,
            steps=steps,
            people=None if emails is None else people_of(self.person, emails),
            seen=seen_by(request),
            request=request._request,
        )
        return self._summary(pipeline)

    @extend_schema(operation_id="pipeline_delete", request=None, responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Deletes the pipeline for good. Its runs and log entries stay. Not allowed while a run is in progress."""
        services.delete_pipeline(actor=self.person, pipeline=self.get_object(), request=request._request)
        return Response(status=204)

    @extend_schema(operation_id="pipeline_access_rules", responses=AccessRulesSerializer)
    def access_rules(self, request: Request, pk: str) -> Response:
        """The access rules, for people who can edit them and roles that read everything."""
        pipeline = self.get_object()
        if not may_read_rules(self.person, allowed_actions(self.person, pipeline)):
            raise Forbidden
        return self._rules(pipeline)

    @extend_schema(
        operation_id="pipeline_access_rules_replace", request=AccessRulesBody, responses=AccessRulesSerializer
    )
    def replace_access_rules(self, request: Request, pk: str) -> Response:
        """Replaces all access rules. With an empty list every User can see and run the pipeline."""
        pipeline = self.get_object()
        body = self.read_body(AccessRulesBody)
        rules = rules_of(self.person, body["rules"])
        services.replace_access_rules(
            actor=self.person, pipeline=pipeline, rules=rules, seen=seen_by(request), request=request._request
        )
        return self._rules(pipeline)

    @extend_schema(
        operation_id="pipeline_duplicate", request=DuplicatePipelineBody, responses={201: PipelineSummarySerializer}
    )
    def duplicate(self, request: Request, pk: str) -> Response:
        """Creates a copy that you own, with the same steps and access rules.

        Secrets are copied only if you administer the original. Otherwise `missing_secrets` of each step lists those to
        enter; the copy does not run until then.
        """
        body = self.read_body(DuplicatePipelineBody)
        copy = services.duplicate_pipeline(
            actor=self.person, pipeline=self.get_object(), name=body["name"], request=request._request
        )
        return self._summary(copy, status=201)

    @extend_schema(operation_id="pipeline_transfer", request=TransferPipelineBody, responses=PipelineSummarySerializer)
    def transfer(self, request: Request, pk: str) -> Response:
        """Transfers the pipeline to someone else in your organization. If you can no longer see it, you get 204."""
        pipeline = self.get_object()
        body = self.read_body(TransferPipelineBody)
        services.transfer_pipeline(
            actor=self.person, pipeline=pipeline, owner=new_owner_of(self.person, body), request=request._request
        )
        return self._summary(pipeline)

    @extend_schema(operation_id="pipeline_lock", request=None, responses=PipelineSummarySerializer)
    def lock(self, request: Request, pk: str) -> Response:
        """Nobody can start the pipeline from now on. Runs in progress continue."""
        return self._changed(services.lock_pipeline, request)

    @extend_schema(operation_id="pipeline_unlock", request=None, responses=PipelineSummarySerializer)
    def unlock(self, request: Request, pk: str) -> Response:
        """The pipeline can be started again, and queued runs begin."""
        return self._changed(services.unlock_pipeline, request)

    def _changed(self, service: Callable[..., Pipeline], request: Request) -> Response:
        self.read_body(StrictSerializer)
        pipeline = service(actor=self.person, pipeline=self.get_object(), request=request._request)
        return self._summary(pipeline)

    def _summary(self, pipeline: Pipeline, status: int = 200) -> Response:
        """The pipeline as the caller sees it now; 204 if they can no longer see it."""
        row = self.get_queryset().for_summary().for_pipeline_table().filter(pk=pipeline.pk).first()
        if row is None:
            return Response(status=204)
        answer = Response(PipelineSummarySerializer(row, context={"person": self.person}).data, status=status)
        return with_etag(answer, seen.of_definition(row))

    def _rules(self, pipeline: Pipeline) -> Response:
        rules = list(pipeline.access_rules.for_rules_table())
        data = AccessRuleSerializer(rules, many=True).data
        return with_etag(Response({"count": len(data), "data": data, "next": None}), seen.of_rules(pipeline, rules))


class RunViewSet(ApiViewSet):
    """Runs. The body names the pipeline."""

    operations: ClassVar[dict[str, Operation]] = {
        "run": Operation(_("Run a pipeline"), RUN_PIPELINES, role_allows=may_use_pipelines, reach=RUNS),
        "status": Operation(_("Get a run's status"), READ_PIPELINES, only_reads=True),
        "stop": Operation(_("Stop a pipeline"), RUN_PIPELINES, role_allows=may_use_pipelines),
        "resume": Operation(_("Resume a pipeline"), RUN_PIPELINES, role_allows=may_use_pipelines),
        "reset": Operation(_("Reset a pipeline"), RUN_PIPELINES, role_allows=may_use_pipelines),
        "approve": Operation(_("Approve a gate"), RUN_PIPELINES, role_allows=may_use_pipelines),
        "reject": Operation(_("Reject a gate"), RUN_PIPELINES, role_allows=may_use_pipelines),
        "summary": Operation(_("See a whole pipeline"), READ_PIPELINES, only_reads=True),
        "logs": Operation(_("Read a pipeline's log"), READ_PIPELINES, only_reads=True),
    }
    paged_actions = frozenset({"logs"})
    serializer_class = PipelineSerializer
    pagination_class = LargePages
    keyset = NEWEST_FIRST

    def get_queryset(self) -> Any:
        return Pipeline.objects.visible_to(self.person)

    @extend_schema(
        operation_id="pipeline_run",
        request=PipelineBody,
        responses={200: RunStartedSerializer, 409: ActionFailedSerializer},
    )
    def run(self, request: Request) -> Response:
        """Queues a run. The worker executes the runs of a pipeline in order."""
        pipeline = self._pipeline(self.read_body(PipelineBody))
        try:
            run = services.start_run(actor=self.person, pipeline=pipeline, request=request._request)
        except services.Refused as refusal:
            return as_published(refusal)
        message = f"Run {run.number} of “{run.pipeline_name}” is queued."
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

    @extend_schema(operation_id="pipeline_stop", request=PipelineBody, responses=DONE)
    def stop(self, request: Request) -> Response:
        """The current step finishes first. Queued runs are removed from the queue."""
        return self._done(services.stop_pipeline, PipelineBody, "Run {number} of “{name}” is stopped.")

    @extend_schema(operation_id="pipeline_resume", request=PipelineBody, responses=DONE)
    def resume(self, request: Request) -> Response:
        """Continues a stopped or failed run with its next step. The last step is never repeated."""
        return self._done(services.resume_pipeline, PipelineBody, "Run {number} of “{name}” continues.")

    @extend_schema(operation_id="pipeline_reset", request=PipelineBody, responses=DONE)
    def reset(self, request: Request) -> Response:
        """Ends the current run for good, so that a new one can start."""
        return self._done(services.reset_pipeline, PipelineBody, "Run {number} of “{name}” is reset.")

    @extend_schema(operation_id="pipeline_approve", request=ApproveBody, responses=DONE)
    def approve(self, request: Request) -> Response:
        """Approves the gate at which the run waits. The run continues; its log has your message, if you give one."""
        return self._done(services.approve_gate, ApproveBody, "The gate of run {number} of “{name}” is approved.")

    @extend_schema(operation_id="pipeline_reject", request=RejectBody, responses=DONE)
    def reject(self, request: Request) -> Response:
        """Rejects the gate at which the run waits. The run fails with your message."""
        return self._done(services.reject_gate, RejectBody, "The gate of run {number} of “{name}” is rejected.")

    @extend_schema(operation_id="pipeline_summary", request=PipelineBody, responses=PipelineSummarySerializer)
    def summary(self, request: Request) -> Response:
        """The pipeline with its steps, its latest run, and what you are allowed to do with it."""
        body = self.read_body(PipelineBody)
        pipeline = self._pipeline(body, self.get_queryset().for_summary().for_pipeline_table())
        return Response(PipelineSummarySerializer(pipeline, context={"person": self.person}).data)

    @extend_schema(
        operation_id="pipeline_logs",
        request=PipelineRunBody,
        responses=RunLogLineSerializer(many=True),
    )
    def logs(self, request: Request) -> Response:
        """What happened in the pipeline's runs, newest first, or in the run that `runCount` names.

        `answer` is for people who can edit the pipeline's steps. For the next page, send the same body to `next`.
        """
        body = self.read_body(PipelineRunBody)
        pipeline = self._pipeline(body)
        runs = self._runs(pipeline, body)
        if "runCount" in body and not runs.exists():
            raise Forbidden
        may_read_answers = may(self.person, PipelineAction.EDIT_STEPS, pipeline)
        lines = RunLogLine.objects.filter(run__in=runs).select_related("run")
        if not may_read_answers:
            lines = lines.defer("answer")
        return self.page_of(lines, RunLogLineSerializer, may_read_answers=may_read_answers)

    def _done(self, service: Callable[..., Run], body_class: type[PipelineBody], said: str) -> Response:
        body = self.read_body(body_class)
        pipeline = self._pipeline(body)
        body.pop("pipelineId")
        if "runCount" in body:
            body["run_number"] = body.pop("runCount")
        try:
            run = service(actor=self.person, pipeline=pipeline, request=self.request._request, **body)
        except services.Refused as refusal:
            return as_published(refusal)
        return Response({"status": "success", "message": said.format(number=run.number, name=run.pipeline_name)})

    def _pipeline(self, body: dict[str, Any], queryset: QuerySet[Pipeline] | None = None) -> Pipeline:
        rows = self.get_queryset() if queryset is None else queryset
        pipeline = rows.filter(pk=body["pipelineId"]).first()
        if pipeline is None:
            raise Forbidden
        return pipeline

    def _runs(self, pipeline: Pipeline, body: dict[str, Any]) -> QuerySet[Run]:
        runs = pipeline.runs.all()
        return runs.filter(number=body["runCount"]) if "runCount" in body else runs


class RunListViewSet(ApiViewSet):
    """Runs of all pipelines."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List runs"), READ_PIPELINES, only_reads=True),
    }
    serializer_class = ListedRunSerializer
    filterset_class = RunFilter
    pagination_class = SmallPages
    keyset = NEWEST_RUNS_FIRST

    @cached_property
    def _listed(self) -> QuerySet[Run]:
        is_search = RunFilter.is_search(self.request.query_params)
        return Run.objects.listed_for(self.person, is_search=is_search).for_run_list()

    def get_queryset(self) -> Any:
        return self._listed

    def get_searched(self) -> QuerySet[Run] | None:
        return RunFilter(self.request.query_params, self.get_queryset(), request=self.request).searched

    @extend_schema(operation_id="run_list")
    def list(self, request: Request) -> Response:
        """The runs of all pipelines that you can see, newest first, with their steps.

        Runs of deleted pipelines are for roles that see every pipeline.
        """
        return self.page_of(self.get_queryset())


class StepTemplateViewSet(ApiViewSet):
    """Templates of steps."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List templates of steps"), READ_PIPELINES, only_reads=True),
    }
    serializer_class = StepTemplateSerializer
    pagination_class = WholeList
    queryset = Pipeline.objects.none()

    @extend_schema(operation_id="step_template_list", responses=StepTemplateSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Templates for services that pipelines often call. They only fill in the form of a step."""
        return self.page_of(STEP_TEMPLATES)


class HttpStepsViewSet(ApiViewSet):
    """Addresses that HTTP steps can't call."""

    operations: ClassVar[dict[str, Operation]] = {
        "retrieve": Operation(_("See which addresses HTTP steps can't call"), READ_PIPELINES, only_reads=True),
    }
    serializer_class = AddressRulesSerializer
    queryset = Pipeline.objects.none()

    @extend_schema(operation_id="http_steps", responses=AddressRulesSerializer)
    def retrieve(self, request: Request) -> Response:
        """The networks that HTTP steps can't call, and the exceptions that the operator allows."""
        return Response(AddressRulesSerializer(address_rules()).data)


def as_published(refusal: services.Refused) -> Response:
    """The published response to a refused action."""
    return Response({"status": "failed", "message": refusal.message}, status=409)
