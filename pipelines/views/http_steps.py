"""What HTTP steps may not call, for everyone who writes one."""

from typing import Any

from django.views.generic import TemplateView

from core.pages.tabs import ORGANIZATION_TABS
from core.pages.views import MemberPageMixin, TabsMixin
from pipelines.http_step import rules_of_the_fence


class HttpStepsView(TabsMixin, MemberPageMixin, TemplateView):
    """For every member of the organization: who may create a pipeline needs it, and it is no secret."""

    tabs = ORGANIZATION_TABS
    current_tab = "pipelines:http_steps"
    template_name = "pipelines/http_steps.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(fence=rules_of_the_fence(), **kwargs)
