"""The page of addresses that HTTP steps can't call."""

from typing import Any

from django.views.generic import TemplateView

from core.http.call_addresses import address_rules
from core.pages.views import MemberPageMixin, SectionMixin


class HttpStepsView(SectionMixin, MemberPageMixin, TemplateView):
    """Open to every member of the organization: everyone who creates pipelines needs it, and it is not secret."""

    section = "organization"
    current_tab = "pipelines:http_steps"
    template_name = "pipelines/http_steps.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(rules=address_rules(), **kwargs)
