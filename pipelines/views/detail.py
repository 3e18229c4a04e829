"""The page of one pipeline, and the forms that change it."""

from typing import Any

from django.contrib import messages
from django.db.models import prefetch_related_objects
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy, ngettext
from django.views.generic import View
from django_tables2 import RequestConfig

from accounts import finding
from accounts.models import User
from accounts.roles import Ability
from core.pages.confirm import confirm_page
from core.pages.forms import refusals_in
from core.pages.views import MemberPageMixin
from core.text import Text, grouped
from pipelines import seen, services
from pipelines.access import PipelineAction, Standing, may_read_rules
from pipelines.controls import controls_of
from pipelines.examples import curl_to_run, query_of_token_form
from pipelines.forms import DuplicateForm, NotificationsForm, PipelineForm, TransferForm
from pipelines.models import Pipeline, RunLogLine
from pipelines.rule_texts import note_on
from pipelines.run_states import LOCKED
from pipelines.services.definitions import may_copy_secrets, name_of_copy
from pipelines.tables import RunTable
from pipelines.views.base import PipelineChangeView, PipelinePage

LOG_LINES_SHOWN = 50
WHAT_YOU_ARE: dict[Standing, Text] = {
    Standing.OWNER: gettext_lazy("You can do everything with it."),
    Standing.MANAGER: gettext_lazy("You can run and lock it, and edit its steps and access rules."),
    Standing.POWER_USER: gettext_lazy("You can run it and edit its steps and access rules."),
    Standing.USER: gettext_lazy("You can run it."),
    Standing.GUEST: gettext_lazy("You can see it."),
}


class PipelineDetailView(PipelinePage):
    """The pipeline, its runs and their log, and what the person is allowed to do."""

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        pipeline = self.find(pk)
        # Read once for the page and the reasons against a run.
        prefetch_related_objects([pipeline], "steps")
        runs = RunTable(pipeline.runs.all(), order_by="-number")
        RequestConfig(request, paginate={"per_page": 20}).configure(runs)
        lines = RunLogLine.objects.filter(run__pipeline=pipeline).select_related("run").defer("answer")
        may_read = may_read_rules(self.person, self.allowed)
        context = {
            "pipeline": pipeline,
            "state": pipeline.badge,
            "locked": LOCKED if pipeline.is_locked else None,
            "controls": controls_of(pipeline, self.allowed),
            "standing": WHAT_YOU_ARE[self.standing] if self.standing else "",
            "steps": list(pipeline.steps.all()),
            "may_read_rules": may_read,
            "rules": [
                {"rule": rule, "note": note_on(rule, self.person)}
                for rule in (pipeline.access_rules.for_rules_table() if may_read else ())
            ],
            "knows_people": self.person.may(Ability.READ_USERS),
            "notified_people": list(pipeline.notified_people.order_by("email")),
            "runs_table": runs,
            "curl": curl_to_run(pipeline) if PipelineAction.RUN in self.allowed else "",
            "token_query": query_of_token_form(pipeline),
            "log": [log_row(line) for line in lines[:LOG_LINES_SHOWN]],
            **flags(self.allowed),
        }
        return render(request, "pipelines/pipeline_detail.html", context)


class PipelineCreateView(MemberPageMixin, View):
    """Creates a pipeline."""

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.CREATE_PIPELINES)

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.page(PipelineForm())

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = PipelineForm(request.POST)
        if form.is_valid() and (pipeline := self._create(form)):
            messages.success(
                request, gettext("“%(pipeline)s” is created. Add its steps now.") % {"pipeline": pipeline.name}
            )
            return redirect("pipelines:step_list", pk=pipeline.pk)
        return self.page(form, status=400)

    def page(self, form: PipelineForm, status: int = 200) -> HttpResponse:
        context = {"form": form, "cancel_url": reverse("pipelines:pipeline_list")}
        return render(self.request, "pipelines/pipeline_form.html", context, status=status)

    def _create(self, form: PipelineForm) -> Pipeline | None:
        with refusals_in(form):
            return services.create_pipeline(actor=self.person, request=self.request, **form.cleaned_data)
        return None


class PipelineFormPage(PipelinePage):
    """Base of a page with one form about a pipeline."""

    template_name = "pipelines/pipeline_form.html"

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        pipeline = self.find(pk)
        return self.page(pipeline, self.form(pipeline, None))

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        pipeline = self.find(pk)
        form = self.form(pipeline, request.POST)
        if form.is_valid():
            with refusals_in(form):
                return self.save(pipeline, form)
        return self.page(pipeline, form, status=getattr(form, "refusal_status", 400))

    def form(self, pipeline: Pipeline, data: Any) -> Any:
        raise NotImplementedError

    def save(self, pipeline: Pipeline, form: Any) -> HttpResponseBase:
        raise NotImplementedError

    def context(self, pipeline: Pipeline) -> dict[str, Any]:
        """Template context besides the form."""
        return {}

    def page(self, pipeline: Pipeline, form: Any, status: int = 200) -> HttpResponse:
        context = {
            "pipeline": pipeline,
            "form": form,
            "cancel_url": reverse("pipelines:pipeline_detail", args=[pipeline.pk]),
            **self.context(pipeline),
        }
        return render(self.request, self.template_name, context, status=status)


class PipelineUpdateView(PipelineFormPage):
    """Name, description and tags."""

    action = PipelineAction.ADMINISTER

    def form(self, pipeline: Pipeline, data: Any) -> PipelineForm:
        initial = {"name": pipeline.name, "description": pipeline.description, "tags": ", ".join(pipeline.tags)}
        return PipelineForm(data, initial=initial, now=seen.of_texts(pipeline), request=self.request)

    def save(self, pipeline: Pipeline, form: Any) -> HttpResponseBase:
        edited = services.edit_pipeline(actor=self.person, pipeline=pipeline, request=self.request, **form.cleaned_data)
        form.saved(seen.of_texts(edited))
        messages.success(self.request, gettext("Saved."))
        return self.home(pipeline)


class PipelineNotificationsView(PipelineFormPage):
    """Who gets an e-mail when a run fails or a gate waits."""

    action = PipelineAction.EDIT_STEPS
    template_name = "pipelines/pipeline_notifications.html"

    def form(self, pipeline: Pipeline, data: Any) -> NotificationsForm:
        people = list(pipeline.notified_people.order_by("email"))
        return NotificationsForm(
            data,
            initial={"notified_people": "\n".join(finding.shown(person, reader=self.person) for person in people)},
            pipeline=pipeline,
            person=self.person,
            now=seen.of_notified_people(pipeline, (person.pk for person in people)),
            request=self.request,
        )

    def save(self, pipeline: Pipeline, form: Any) -> HttpResponseBase:
        people = form.cleaned_data["notified_people"]
        services.notify_people(
            actor=self.person,
            pipeline=pipeline,
            people=people,
            seen=form.cleaned_data["seen"],
            request=self.request,
        )
        form.saved(seen.of_notified_people(pipeline, (person.pk for person in people)))
        messages.success(self.request, gettext("Saved. They get a mail when a run fails and when a gate waits."))
        return self.home(pipeline)


class PipelineDuplicateView(PipelineFormPage):
    """Creates a copy that the person owns."""

    action = PipelineAction.DUPLICATE
    template_name = "pipelines/pipeline_duplicate.html"

    def form(self, pipeline: Pipeline, data: Any) -> DuplicateForm:
        return DuplicateForm(data, initial={"name": name_of_copy(pipeline)})

    def save(self, pipeline: Pipeline, form: Any) -> HttpResponseBase:
        copy = services.duplicate_pipeline(
            actor=self.person, pipeline=pipeline, name=form.cleaned_data["name"], request=self.request
        )
        messages.success(self.request, gettext("“%(pipeline)s” is created. You own it.") % {"pipeline": copy.name})
        return redirect("pipelines:pipeline_detail", pk=copy.pk)

    def context(self, pipeline: Pipeline) -> dict[str, Any]:
        with_secrets = may_copy_secrets(self.person, pipeline)
        steps = [] if with_secrets else [step for step in pipeline.steps.all() if step.has_secrets]
        return {"with_secrets": with_secrets, "steps_with_secrets": steps}


class PipelineTransferView(PipelineFormPage):
    """Makes someone else the owner."""

    action = PipelineAction.ADMINISTER
    template_name = "pipelines/pipeline_transfer.html"

    def form(self, pipeline: Pipeline, data: Any) -> TransferForm:
        return TransferForm(data, pipeline=pipeline, person=self.person)

    def save(self, pipeline: Pipeline, form: Any) -> HttpResponseBase:
        owner = form.cleaned_data["owner"]
        services.transfer_pipeline(actor=self.person, pipeline=pipeline, owner=owner, request=self.request)
        messages.success(
            self.request,
            gettext("“%(pipeline)s” belongs to %(person)s now.") % {"pipeline": pipeline.name, "person": owner.name},
        )
        return self.home(pipeline)


class PipelineLockView(PipelineChangeView):
    action = PipelineAction.LOCK
    service = services.lock_pipeline

    def said(self, pipeline: Pipeline, result: Any) -> str:
        return gettext("“%(pipeline)s” is locked: nobody can run it. Runs in progress continue.") % {
            "pipeline": pipeline.name
        }


class PipelineUnlockView(PipelineChangeView):
    action = PipelineAction.LOCK
    service = services.unlock_pipeline

    def said(self, pipeline: Pipeline, result: Any) -> str:
        return gettext("“%(pipeline)s” is unlocked. Queued runs start now.") % {"pipeline": pipeline.name}


class PipelineDeleteView(PipelineChangeView):
    action = PipelineAction.ADMINISTER
    http_method_names = ["get", "head", "post"]
    service = services.delete_pipeline

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        pipeline = self.find(pk)
        log_entries = ngettext(
            "The log entries of its %(count)s run keep its name. Scripts that run it get 403.",
            "The log entries of its %(count)s runs keep its name. Scripts that run it get 403.",
            pipeline.run_count,
        ) % {"count": grouped(pipeline.run_count)}
        return confirm_page(
            request,
            question=gettext("Delete “%(name)s”?") % {"name": pipeline.name},
            consequences=[
                gettext("Its steps, their secrets and its access rules are deleted. This cannot be undone."),
                log_entries,
            ],
            button=gettext("Delete pipeline"),
            cancel_url=reverse("pipelines:pipeline_detail", args=[pipeline.pk]),
        )

    def said(self, pipeline: Pipeline, result: Any) -> str:
        return gettext("“%(pipeline)s” is deleted.") % {"pipeline": pipeline.name}

    def done(self, pipeline: Pipeline, result: Any) -> HttpResponseBase:
        return redirect("pipelines:pipeline_list")


def flags(allowed: frozenset[PipelineAction]) -> dict[str, bool]:
    """Permissions as booleans for templates."""
    return {f"may_{action.name.lower()}": action in allowed for action in PipelineAction}


def log_row(line: RunLogLine, *, with_answer: bool = False) -> dict[str, Any]:
    """``with_answer``: for people who can edit the steps."""
    return {
        "answer": line.answer if with_answer else "",
        "at": line.at,
        "run_number": line.run.number,
        "step_name": line.step_name,
        "level": line.level,
        "message": line.message,
    }
