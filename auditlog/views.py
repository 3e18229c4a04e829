from typing import Any

from django.db.models import QuerySet

from auditlog.filters import ActivityFilter, TokenUseFilter
from auditlog.models import NEWEST_FIRST, Activity, TokenUse
from auditlog.tables import ActivityTable, OrganizationTokenUseTable, TokenUseTable
from opsera_portal.pages.tabs import ORGANIZATION_TABS, PROFILE_TABS
from opsera_portal.pages.views import KeysetTableMixin, MemberPageMixin, TabsMixin


class TokenUseListView(TabsMixin, MemberPageMixin, KeysetTableMixin):
    """My authentication log: every use of all my tokens."""

    keyset = NEWEST_FIRST
    filterset_class = TokenUseFilter
    table_class = TokenUseTable
    template_name = "auditlog/tokenuse_list.html"
    tabs = PROFILE_TABS
    current_tab = "auditlog:token_use_list"
    extra_context = {
        "heading": "Authentication log",
        "intro": "Every use of your tokens, refused uses included. Check here that you are the only one who uses them.",
    }

    def get_queryset(self) -> QuerySet[TokenUse]:
        return TokenUse.objects.of(self.person)


class OrganizationTokenUseListView(TokenUseListView):
    """The organization's authentication log, for those whose role reads it."""

    table_class = OrganizationTokenUseTable
    tabs = ORGANIZATION_TABS
    current_tab = "auditlog:organization_token_use_list"
    extra_context = {
        "heading": "Authentication log",
        "intro": "Every use of every token in your organization, refused uses included.",
    }

    def role_allows(self, user: Any) -> bool:
        return bool(user.may_read_organization_logs)

    def get_queryset(self) -> QuerySet[TokenUse]:
        return TokenUse.objects.of_organization_of(self.person)


class OrganizationActivityListView(TabsMixin, MemberPageMixin, KeysetTableMixin):
    """What people did, and scripts in their name."""

    keyset = NEWEST_FIRST
    filterset_class = ActivityFilter
    table_class = ActivityTable
    template_name = "auditlog/activity_list.html"
    tabs = ORGANIZATION_TABS
    current_tab = "auditlog:organization_activity_list"
    extra_context = {
        "heading": "Activity log",
        "intro": "Who did what in your organization: sign-ins, tokens, roles and pipelines.",
    }

    def role_allows(self, user: Any) -> bool:
        return bool(user.may_read_organization_logs)

    def get_queryset(self) -> QuerySet[Activity]:
        return Activity.objects.of_organization_of(self.person)
