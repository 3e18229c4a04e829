"""Pages of a pipeline's steps. They also work without JavaScript."""

from typing import Any, Literal
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from core.pages.confirm import confirm_page
from core.pages.forms import refusals_in
from pipelines import seen, services
from pipelines.access import PipelineAction
from pipelines.forms import StepForm, initial_of, initial_of_template
from pipelines.models import STEPS_LIMIT, Pipeline, Step
from pipelines.step_templates import BY_ID, STEP_TEMPLATES
from pipelines.views.base import PipelinePage


class StepPage(PipelinePage):
    action = PipelineAction.EDIT_STEPS

    def steps_url(self, pipeline: Pipeline) -> str:
        return reverse("pipelines:step_list", args=[pipeline.pk])

    def step(self, pipeline: Pipeline, step_pk: Any) -> Step:
        return get_object_or_404(pipeline.steps.all(), pk=step_pk)


class StepListView(StepPage):
    """All steps in order, and the kinds that can be added."""

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        pipeline = self.find(pk)
        context = {
            "pipeline": pipeline,
            "steps": list(pipeline.steps.all()),
            "step_templates": STEP_TEMPLATES,
            "steps_limit": STEPS_LIMIT,
        }
        return render(request, "pipelines/step_list.html", context)


class StepFormPage(StepPage):
    """The form of one step."""

    def page(
        self, pipeline: Pipeline, form: StepForm, *, heading: str, step: Step | None = None, status: int = 200
    ) -> HttpResponse:
        # A form with errors shows what was typed, including secrets: once, to the person who typed them, on a page that
        # browsers don't store.
        context = {
            "pipeline": pipeline,
            "step": step,
            "form": form,
            "heading": heading,
            "is_gate": form.kind == Step.Kind.APPROVAL,
            "cancel_url": self.steps_url(pipeline),
        }
        return render(self.request, "pipelines/step_form.html", context, status=status)

    def save(self, pipeline: Pipeline, form: StepForm, service: Any, **arguments: Any) -> Step | None:
        with refusals_in(form):
            step: Step = service(
                actor=self.person, pipeline=pipeline, step=form.step_input(), request=self.request, **arguments
            )
            return step
        return None


class StepCreateView(StepFormPage):
    """``kind`` and ``template`` in the query choose the initial form."""

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        pipeline = self.find(pk)
        template = BY_ID.get(request.GET.get("template", ""))
        initial = initial_of_template(template) if template else {}
        return self.page(pipeline, StepForm(initial=initial, kind=kind_of(request.GET)), heading=_("Add a step"))

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        pipeline = self.find(pk)
        form = StepForm(request.POST, kind=kind_of(request.POST))
        if form.is_valid() and (step := self.save(pipeline, form, services.add_step)):
            messages.success(
                request,
                _("“%(step)s” is now step %(position)s.") % {"step": step.name, "position": step.position},
            )
            return redirect("pipelines:step_list", pk=pipeline.pk)
        return self.page(pipeline, form, heading=_("Add a step"), status=400)


class StepUpdateView(StepFormPage):
    def get(self, request: HttpRequest, pk: str, step_pk: str) -> HttpResponse:
        pipeline = self.find(pk)
        step = self.step(pipeline, step_pk)
        form = self.form(step)
        return self.page(pipeline, form, heading=_("Edit “%(name)s”") % {"name": step.name}, step=step)

    def post(self, request: HttpRequest, pk: str, step_pk: str) -> HttpResponseBase:
        pipeline = self.find(pk)
        step = self.step(pipeline, step_pk)
        form = self.form(step, request.POST)
        if form.is_valid() and (saved := self._edit(pipeline, step, form)):
            form.saved(seen.of_step(saved))
            messages.success(
                request,
                _("“%(step)s” is saved. Runs that are already queued or running keep the old step.")
                % {"step": saved.name},
            )
            return redirect("pipelines:step_list", pk=pipeline.pk)
        heading = _("Edit “%(name)s”") % {"name": step.name}
        return self.page(pipeline, form, heading=heading, step=step, status=form.refusal_status)

    def form(self, step: Step, data: Any = None) -> StepForm:
        return StepForm(
            data,
            initial=initial_of(step),
            kind=step.kind,
            has_secrets=step.has_secrets,
            now=seen.of_step(step),
            request=self.request,
        )

    def _edit(self, pipeline: Pipeline, step: Step, form: StepForm) -> Step | None:
        return self.save(pipeline, form, services.edit_step, step_id=step.pk, seen=form.cleaned_data["seen"])


class StepMoveView(StepPage):
    """Moves a step by one place."""

    http_method_names = ["post"]
    direction: Literal["up", "down"] = "up"

    def post(self, request: HttpRequest, pk: str, step_pk: UUID) -> HttpResponseBase:
        pipeline = self.find(pk)
        step = self.step(pipeline, step_pk)
        services.move_step(
            actor=self.person, pipeline=pipeline, step_id=step.pk, direction=self.direction, request=request
        )
        return redirect(f"{self.steps_url(pipeline)}#step-{step.pk}")


class StepRemoveView(StepPage):
    def get(self, request: HttpRequest, pk: str, step_pk: str) -> HttpResponse:
        pipeline = self.find(pk)
        step = self.step(pipeline, step_pk)
        return confirm_page(
            request,
            question=_("Remove “%(name)s”?") % {"name": step.name},
            consequences=[
                _("Step %(position)s of “%(pipeline)s” and its secrets are removed. You can't undo this.")
                % {"position": step.position, "pipeline": pipeline.name}
            ],
            button=_("Remove step"),
            cancel_url=self.steps_url(pipeline),
        )

    def post(self, request: HttpRequest, pk: str, step_pk: str) -> HttpResponseBase:
        pipeline = self.find(pk)
        step = self.step(pipeline, step_pk)
        services.remove_step(actor=self.person, pipeline=pipeline, step_id=step.pk, request=request)
        messages.success(request, _("“%(step)s” is removed.") % {"step": step.name})
        return redirect("pipelines:step_list", pk=pipeline.pk)


def kind_of(data: Any) -> str:
    """The kind of step; an HTTP call if it is missing or unknown."""
    kind = data.get("kind", "")
    return kind if kind in Step.Kind.values else Step.Kind.HTTP_CALL.value
