"""The pages of the authentication log. `tokens/views/logs.py` adds names of tokens and links to their pages."""

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from auditlog import usage
from auditlog.api.serializers import TokenUseSerializer
from auditlog.filters import OrganizationTokenUseFilter, TokenUseFilter
from auditlog.models import Activity, TokenUse
from auditlog.querysets import TokenUseQuerySet
from auditlog.reason_texts import explanation_of
from auditlog.tables import OrganizationTokenUseTable, TokenUseTable, outcome_badge, scopes_of
from auditlog.views.base import LogDetailView, LogExportView, LogListView, LogPageMixin, OrganizationLogMixin
from core.db.unreadable import mark_unreadable

# Actions that the page of a use shows. No request does more, but the page must stay short whatever happens.
MAX_RELATED = 50


class TokenUseMixin(LogPageMixin):
    log = "token_use"
    model = TokenUse
    filterset_class = TokenUseFilter
    serializer_class = TokenUseSerializer

    def get_queryset(self) -> QuerySet[Any]:
        entries: TokenUseQuerySet = super().get_queryset()  # type: ignore[assignment]
        return entries.with_services()


class TokenUseListMixin(TokenUseMixin, LogListView):
    lately = (
        (_("Refused in the last 24 hours"), {"outcome": TokenUse.Outcome.REFUSED.value}),
        *LogListView.lately,
    )


class TokenUseListView(TokenUseListMixin):
    """All uses of the person's own tokens."""

    table_class = TokenUseTable
    extra_context = {
        "heading": _("Authentication log"),
        "intro": _("Every use of your tokens, including refused ones. Check that nobody else uses them."),
    }


class OrganizationTokenUseListView(OrganizationLogMixin, TokenUseListMixin):
    """All uses of all tokens in the organization."""

    filterset_class = OrganizationTokenUseFilter
    table_class = OrganizationTokenUseTable
    extra_context = {
        "heading": _("Authentication log"),
        "intro": _("Every use of every token in your organization, including refused ones."),
    }

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        # A chart of all entries would contradict a table that shows only some.
        shows_all = not self.narrowing() and not self.request.GET.get("cursor")
        uses = usage.readable_org_entries(self.person) if shows_all else None
        return super().get_context_data(
            days=usage.days(uses) if uses else None,
            uses_are_complete=uses.is_complete if uses else None,
            **kwargs,
        )


class TokenUseDetailView(TokenUseMixin, LogDetailView):
    template_name = "auditlog/tokenuse_detail.html"
    slug_field = "request_id"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        entry: TokenUse = self.object
        return super().get_context_data(
            outcome=outcome_badge(entry),
            explanation=self.explanation() or explanation_of(entry),
            scopes=scopes_of(entry),
            service_uses_url=f"{self.url('list')}?service={entry.service_id}",
            activity=[*map(mark_unreadable, self.readable(Activity).filter(request_id=entry.request_id)[:MAX_RELATED])],
            activity_view=f"{self.prefix}activity_detail",
            **kwargs,
        )

    def explanation(self) -> str:
        """Better than the words for its reason; empty if there is nothing better. Subclasses that know tokens override
        this."""
        return ""


class OrganizationTokenUseDetailView(OrganizationLogMixin, TokenUseDetailView):
    pass


class TokenUseExportView(TokenUseMixin, LogExportView):
    pass


class OrganizationTokenUseExportView(OrganizationLogMixin, TokenUseExportView):
    filterset_class = OrganizationTokenUseFilter
