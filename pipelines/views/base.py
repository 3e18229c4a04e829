"""Base classes of the pages of one pipeline."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy
from django.views.generic import View

from core.errors import NotAllowed
from core.pages.addresses import back_to
from core.pages.forms import refusals_as_messages
from core.pages.views import MemberPageMixin
from pipelines.access import PipelineAction, actions_of, standing_of
from pipelines.models import Pipeline

MAY_NOT = gettext_lazy("You can see this pipeline, but your role on it does not allow this.")


class PipelinePage(MemberPageMixin, View):
    """A page of one pipeline that requires ``action``: 404 for people who can't see the pipeline, 403 for people who
    can see it but are not allowed the action."""

    action: ClassVar[PipelineAction] = PipelineAction.SEE

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answers like ``find`` when the person lost a right between the page and the button."""
        try:
            return super().dispatch(request, *args, **kwargs)
        except NotAllowed:
            get_object_or_404(Pipeline.objects.visible_to(self.person), pk=kwargs["pk"])
            raise PermissionDenied(MAY_NOT) from None

    def find(self, pk: Any) -> Pipeline:
        seen = Pipeline.objects.visible_to(self.person).select_related("owner")
        pipeline: Pipeline = get_object_or_404(seen, pk=pk)
        self.standing = standing_of(self.person, pipeline)
        self.allowed = actions_of(self.standing)
        if self.action not in self.allowed:
            raise PermissionDenied(MAY_NOT)
        return pipeline

    def sees(self, pipeline: Pipeline) -> bool:
        return Pipeline.objects.visible_to(self.person).filter(pk=pipeline.pk).exists()

    def home(self, pipeline: Pipeline) -> HttpResponseBase:
        """Redirects to the pipeline, or to the list if the person can no longer see it."""
        if self.sees(pipeline):
            return redirect(back_to(self.request, reverse("pipelines:pipeline_detail", args=[pipeline.pk])))
        messages.info(self.request, gettext("You can no longer see “%(pipeline)s”.") % {"pipeline": pipeline.name})
        return redirect("pipelines:pipeline_list")


class PipelineChangeView(PipelinePage):
    """Base of the buttons of a pipeline. Each is a POST of its own."""

    http_method_names = ["post"]
    service: ClassVar[Callable[..., Any]]

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        pipeline = self.find(pk)
        with refusals_as_messages(request):
            result = type(self).service(actor=self.person, pipeline=pipeline, request=request, **self.arguments())
            messages.success(request, self.said(pipeline, result))
            return self.done(pipeline, result)
        return self.back(pipeline)

    def arguments(self) -> dict[str, Any]:
        return {}

    def said(self, pipeline: Pipeline, result: Any) -> str:
        raise NotImplementedError

    def done(self, pipeline: Pipeline, result: Any) -> HttpResponseBase:
        return self.home(pipeline)

    def back(self, pipeline: Pipeline) -> HttpResponseBase:
        return self.home(pipeline)
