"""Pages and buttons of runs and gates."""

import time
from collections.abc import Callable
from typing import ClassVar

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from accounts.roles import Ability
from core.pages.forms import refusals_as_messages
from core.service_accounts import handle_of, is_service_account
from core.text import Text
from pipelines import services, timeline
from pipelines.access import PipelineAction
from pipelines.controls import controls_of
from pipelines.forms import GateForm
from pipelines.models import Pipeline, Run
from pipelines.run_states import RunState
from pipelines.views.base import PipelineChangeView, PipelinePage
from pipelines.views.detail import flags, log_row

LOG_LINES_SHOWN = 200
# Seldom enough that a person can still press a button or select text: the update replaces them.
GROWS_EACH_SECONDS = 3


class RunChangeView(PipelineChangeView):
    """Redirects to the run that was changed."""

    def done(self, pipeline: Pipeline, result: Run) -> HttpResponseBase:
        if not self.sees(pipeline):
            return self.home(pipeline)
        return redirect("pipelines:run_detail", pk=pipeline.pk, number=result.number)


class PipelineRunView(RunChangeView):
    """Queues a run."""

    action = PipelineAction.RUN
    service = services.start_run

    def said(self, pipeline: Pipeline, result: Run) -> str:
        return _("Run %(number)s is queued.") % {"number": result.number}


class PipelineStopView(RunChangeView):
    action = PipelineAction.RUN
    service = services.stop_pipeline

    def said(self, pipeline: Pipeline, result: Run) -> str:
        return _("Run %(number)s is stopped. Its current step finishes first. Queued runs are canceled.") % {
            "number": result.number
        }


class PipelineResumeView(RunChangeView):
    action = PipelineAction.RUN
    service = services.resume_pipeline

    def said(self, pipeline: Pipeline, result: Run) -> str:
        return _("Run %(number)s continues with its next step.") % {"number": result.number}


class PipelineResetView(RunChangeView):
    action = PipelineAction.RUN
    service = services.reset_pipeline

    def said(self, pipeline: Pipeline, result: Run) -> str:
        return _("Run %(number)s is cleared.") % {"number": result.number}


class RunPage(PipelinePage):
    template_name = "pipelines/run_detail.html"

    def run(self, pipeline: Pipeline, number: int) -> Run:
        return get_object_or_404(Run.objects.for_run_page(), pipeline=pipeline, number=number)

    def page(self, pipeline: Pipeline, run: Run, form: GateForm | None = None, status: int = 200) -> HttpResponse:
        may_read_answers = PipelineAction.EDIT_STEPS in self.allowed
        shown = run.log_lines.select_related("run")
        lines = list((shown if may_read_answers else shown.defer("answer"))[: LOG_LINES_SHOWN + 1])
        controls = controls_of(pipeline, self.allowed)
        steps = timeline.of(run)
        context = {
            "pipeline": pipeline,
            "run": run,
            "state": run.badge,
            "requested_by": requester_of(run, self.person),
            "steps": steps,
            "announced": timeline.in_words(run, steps),
            "log": [log_row(line, with_answer=may_read_answers) for line in reversed(lines[:LOG_LINES_SHOWN])],
            "log_cut_at": LOG_LINES_SHOWN if len(lines) > LOG_LINES_SHOWN else None,
            "version": version_of(run),
            # The buttons act on the pipeline's current run.
            "controls": controls if controls.run == run else None,
            "gate_form": form or GateForm(),
            **flags(self.allowed),
        }
        return render(self.request, self.template_name, context, status=status)


def requester_of(run: Run, reader: User) -> str:
    """The address, and for people who can see the organization's people the name too."""
    if run.started_by is None or not reader.may(Ability.READ_USERS):
        return handle_of(run.started_by_email)
    if is_service_account(run.started_by_email):
        return f"{run.started_by.name} ({handle_of(run.started_by_email)}, {_('service account')})"
    return f"{run.started_by.name} ({run.started_by_email})"


class RunDetailView(RunPage):
    """The page of one run, which updates while the run is in progress."""

    def get(self, request: HttpRequest, pk: str, number: int) -> HttpResponse:
        pipeline = self.find(pk)
        return self.page(pipeline, self.run(pipeline, number))


class RunProgressView(RunPage):
    """The part of the run's page that updates. The page requests it repeatedly until the run has ended.

    Answers 204 if nothing has changed since ``seen``, so that text that a person is typing stays. People who can no
    longer see the run get 404, and the script reloads the page.
    """

    template_name = "pipelines/includes/run_progress.html"
    is_part_of_page = True

    def get(self, request: HttpRequest, pk: str, number: int) -> HttpResponse:
        pipeline = self.find(pk)
        run = self.run(pipeline, number)
        if request.GET.get("seen") == version_of(run):
            return HttpResponse(status=204)
        return self.page(pipeline, run)


class GateView(RunPage):
    """Base of approve and reject. ``position`` in the form names the gate that the person saw."""

    action = PipelineAction.APPROVE
    http_method_names = ["post"]
    service: ClassVar[Callable[..., Run]]
    said: ClassVar[Text]
    needs_reason: ClassVar[bool]

    def post(self, request: HttpRequest, pk: str, number: int) -> HttpResponseBase:
        pipeline = self.find(pk)
        run = self.run(pipeline, number)
        form = GateForm(request.POST, needs_reason=self.needs_reason)
        if not form.is_valid():
            return self.page(pipeline, run, form, status=400)
        position = request.POST.get("position", "")
        with refusals_as_messages(request):
            type(self).service(
                actor=self.person,
                pipeline=pipeline,
                message=form.cleaned_data["message"],
                run_number=run.number,
                # An invalid number did not come from our form and names no gate.
                position=int(position) if position.isdecimal() and len(position) < 6 else 0,
                request=request,
            )
            messages.success(request, self.said)
        return redirect("pipelines:run_detail", pk=pipeline.pk, number=run.number)


class RunApproveView(GateView):
    service = services.approve_gate
    said = gettext_lazy("Approved. The run continues.")
    needs_reason = False


class RunRejectView(GateView):
    service = services.reject_gate
    said = gettext_lazy("Rejected. The run has failed.")
    needs_reason = True


def version_of(run: Run) -> str:
    """A version that changes with everything on the run's page, because each change writes a log line. While a step
    runs, it also changes every few seconds, so that the step's time grows."""
    latest = run.log_lines.order_by("-id").values_list("id", flat=True).first()
    grows = run.state in {RunState.RUNNING, RunState.STOPPING}
    return f"{run.state}-{latest}-{int(time.time()) // GROWS_EACH_SECONDS if grows else 0}"
