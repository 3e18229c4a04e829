"""The pages of the activity log. Subclasses add names of tokens and links to their pages."""

import uuid
from contextlib import suppress
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from auditlog import detail_texts
from auditlog.actions import ActionType
from auditlog.api.serializers import ActivitySerializer
from auditlog.filters import ActivityFilter, OrganizationActivityFilter
from auditlog.models import Activity, TokenUse
from auditlog.tables import ActivityTable, OrganizationActivityTable
from auditlog.views.base import LogDetailView, LogExportView, LogListView, LogPageMixin, OrganizationLogMixin


class ActivityMixin(LogPageMixin):
    log = "activity"
    model = Activity
    filterset_class = ActivityFilter
    serializer_class = ActivitySerializer


class ActivityListView(ActivityMixin, LogListView):
    """Actions of the person, and of scripts with their tokens."""

    table_class = ActivityTable
    extra_context = {
        "heading": _("Activity log"),
        "intro": _("What you did, and what scripts did with your tokens."),
    }


class OrganizationActivityListView(OrganizationLogMixin, ActivityMixin, LogListView):
    """Actions of everyone in the organization, and of scripts with their tokens."""

    filterset_class = OrganizationActivityFilter
    table_class = OrganizationActivityTable
    extra_context = {
        "heading": _("Activity log"),
        "intro": _("Who did what in your organization: sign-ins, tokens, roles and pipelines."),
    }


class ActivityDetailView(ActivityMixin, LogDetailView):
    template_name = "auditlog/activity_detail.html"
    slug_field = "public_id"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        entry: Activity = self.object
        use = self.readable(TokenUse).filter(request_id=entry.request_id).first()
        return super().get_context_data(
            details=detail_texts.in_words(entry.details, entry.action),
            use=use,
            use_url=reverse(f"{self.prefix}token_use_detail", args=[use.request_id]) if use else None,
            target_url=self.target_url(),
            **kwargs,
        )

    def target_url(self) -> str | None:
        """The page of the token, if the target of the action is a token."""
        if self.object.type == ActionType.TOKEN:
            with suppress(ValueError):
                return self.token_url(uuid.UUID(self.object.target_id))
        return None


class OrganizationActivityDetailView(OrganizationLogMixin, ActivityDetailView):
    pass


class ActivityExportView(ActivityMixin, LogExportView):
    pass


class OrganizationActivityExportView(OrganizationLogMixin, ActivityExportView):
    filterset_class = OrganizationActivityFilter
