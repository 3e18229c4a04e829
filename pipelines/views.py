from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.generic import DetailView, View
from django_filters.views import FilterView
from django_tables2 import RequestConfig, SingleTableMixin

from opsera_portal.pages.views import MemberPageMixin
from pipelines import services
from pipelines.access import PipelineAction, may
from pipelines.filters import PipelineFilter
from pipelines.models import Pipeline, Run, RunLogLine
from pipelines.tables import PipelineTable, RunTable

LOG_LINES_SHOWN = 200


class PipelineListView(MemberPageMixin, SingleTableMixin, FilterView):
    table_class = PipelineTable
    filterset_class = PipelineFilter
    template_name = "pipelines/pipeline_list.html"

    def get_queryset(self) -> QuerySet[Pipeline]:
        return Pipeline.objects.visible_to(self.person).for_pipeline_table()


class PipelineDetailView(MemberPageMixin, DetailView[Pipeline]):
    """One pipeline: what it does, its runs and their log."""

    template_name = "pipelines/pipeline_detail.html"
    context_object_name = "pipeline"

    def get_queryset(self) -> QuerySet[Pipeline]:
        return Pipeline.objects.visible_to(self.person).for_summary()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        pipeline: Pipeline = self.object
        runs_table = RunTable(pipeline.runs.all(), order_by="-number")
        RequestConfig(self.request, paginate={"per_page": 20}).configure(runs_table)
        lines = RunLogLine.objects.filter(run__pipeline=pipeline).select_related("run")
        return super().get_context_data(
            state=pipeline.badge,
            steps=[
                {
                    "position": step.position,
                    "name": step.name,
                    "kind_label": step.get_kind_display(),
                    "method": step.method,
                    "url": step.public_url,
                    "header_names": step.header_names,
                    "expected_status": step.expected_status,
                }
                for step in pipeline.steps.all()
            ],
            runs_table=runs_table,
            can_run=may(self.person, PipelineAction.RUN, pipeline),
            log=[_log_row(line) for line in lines[:50]],
            **kwargs,
        )


class PipelineRunView(MemberPageMixin, View):
    """Asks for a run."""

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        pipeline = get_object_or_404(Pipeline.objects.visible_to(self.person), pk=pk)
        try:
            run = services.start_run(actor=self.person, pipeline=pipeline, request=request)
        except services.NotAllowed:
            raise PermissionDenied("You may see this pipeline and not run it.") from None
        except services.CannotStart as error:
            messages.error(request, str(error))
            return redirect("pipelines:pipeline_detail", pk=pipeline.pk)
        return redirect("pipelines:run_detail", pk=pipeline.pk, number=run.number)


class RunDetailView(MemberPageMixin, View):
    """One run, moving as it runs."""

    template_name = "pipelines/run_detail.html"

    def get(self, request: HttpRequest, pk: str, number: int) -> HttpResponse:
        runs = Run.objects.visible_to(self.person).for_run_page()
        run = get_object_or_404(runs, pipeline_id=pk, number=number)
        lines = list(run.log_lines.select_related("run")[:LOG_LINES_SHOWN])
        context = {
            "pipeline": run.pipeline,
            "run": run,
            "state": run.badge,
            "step_runs": [
                {
                    "position": step.position,
                    "name": step.name,
                    "state": step.badge,
                    "started_at": step.started_at,
                    "finished_at": step.finished_at,
                    "duration": step.duration,
                    "response_status": step.response_status,
                    "message": step.message,
                }
                for step in run.step_runs.all()
            ],
            "log": [_log_row(line) for line in reversed(lines)],
            "is_finished": not run.moves,
        }
        return render(request, self.template_name, context)


class RunProgressView(RunDetailView):
    """The part of the run's page that moves; asked for again and again until the run has ended."""

    template_name = "pipelines/includes/run_progress.html"


def _log_row(line: RunLogLine) -> dict[str, Any]:
    return {
        "at": line.at,
        "run_number": line.run.number,
        "step_name": line.step_name,
        "level": line.level,
        "message": line.message,
    }
