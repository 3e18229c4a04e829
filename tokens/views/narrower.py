"""What one of my tokens did, and the form for a narrower one, filled in."""

from typing import Any

from django.shortcuts import get_object_or_404
from django.views.generic import TemplateView

from core.pages.views import MemberPageMixin
from tokens.form_links import form_link_like
from tokens.models import Token
from tokens.narrowing import PERIODS, narrowing


class TokenNarrowerView(MemberPageMixin, TemplateView):
    template_name = "tokens/token_narrower.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        token = get_object_or_404(Token.objects.managed_by(self.person).for_token_page(), pk=kwargs["pk"])
        found = narrowing(token, days=self._days(), reader=self.person)
        return super().get_context_data(
            token=token,
            found=found,
            periods=sorted(PERIODS),
            is_less=found.is_less_than(token),
            scopes_url=form_link_like(token, scopes=found.scopes),
            limited_url=form_link_like(token, scopes=found.scopes, pipelines=found.limit) if found.limit else "",
            **kwargs,
        )

    def _days(self) -> int:
        """90, unless the address says 30."""
        return next((days for days in PERIODS if str(days) == self.request.GET.get("days")), PERIODS[0])
