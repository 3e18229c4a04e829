"""The page of addresses that HTTP steps can't call."""

from typing import Any

from django.views.generic import TemplateView

from core.pages.views import MemberPageMixin, SectionMixin
from pipelines.http_step import rules_of_the_fence


class HttpStepsView(SectionMixin, MemberPageMixin, TemplateView):
    """Open to every member of the organization: everyone who creates pipelines needs it, and it is not secret."""

    section = "organization"
    current_tab = "pipelines:http_steps"
    template_name = "pipelines/http_steps.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(fence=rules_of_the_fence(), **kwargs)
