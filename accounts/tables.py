from typing import Any

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_tables2 import Column

from accounts.models import Group, User
from accounts.states import USER_LOOKS
from opsera_portal.pages.tables import BadgeColumn, MomentColumn, PortalTable

NUMERIC = {"td": {"class": "numeric"}, "th": {"class": "numeric"}}


class UserTable(PortalTable):
    name = Column()
    email = Column(verbose_name="E-mail")
    site_role = Column(verbose_name="Role")
    state = BadgeColumn(orderable=False)
    groups = Column(accessor="member_groups", verbose_name="Groups", orderable=False, empty_values=())
    last_login = MomentColumn(verbose_name="Last sign-in", default="Never")
    has_two_factor = Column(verbose_name="Two-factor", orderable=False)
    live_token_count = Column(verbose_name="Live tokens", attrs=NUMERIC)

    class Meta:
        attrs = {"id": "users", "aria-label": "Users"}
        row_attrs = {"data-user": lambda record: str(record.pk)}
        order_by = ("name",)
        empty_text = "Nobody here matches."

    def render_name(self, record: User) -> SafeString:
        url = reverse("accounts:organization_user_detail", args=[record.pk])
        return format_html('<a href="{}">{}</a>', url, record.name)

    def render_state(self, record: User, column: BadgeColumn) -> SafeString:
        return column.render(USER_LOOKS[record.state])

    def render_has_two_factor(self, value: bool) -> str:
        return "On" if value else "Off"

    def render_groups(self, record: User) -> str:
        return ", ".join(group.name for group in record.member_groups.all()) or "–"


class GroupTable(PortalTable):
    name = Column()
    member_count = Column(verbose_name="Members", attrs=NUMERIC)
    created_at = MomentColumn(verbose_name="Made")

    class Meta:
        attrs = {"id": "groups", "aria-label": "Groups"}
        row_attrs = {"data-group": lambda record: str(record.pk)}
        order_by = ("name",)
        empty_text = "No group here. Groups appear in the access rules of pipelines."

    def render_name(self, record: Group) -> SafeString:
        url = reverse("accounts:organization_group_detail", args=[record.pk])
        return format_html('<a href="{}">{}</a>', url, record.name)


class MemberTable(PortalTable):
    """``group`` is whose members these are; ``may_change``: whether they can be taken out."""

    name = Column()
    email = Column(verbose_name="E-mail")
    site_role = Column(verbose_name="Role")
    state = BadgeColumn(orderable=False)
    remove = Column(empty_values=(), orderable=False, verbose_name="", attrs={"td": {"class": "row-action"}})

    class Meta:
        attrs = {"id": "members", "aria-label": "Members"}
        row_attrs = {"data-user": lambda record: str(record.pk)}
        order_by = ("name",)
        empty_text = "Nobody is in this group."

    def __init__(self, *args: Any, group: Group, may_change: bool, **kwargs: Any) -> None:
        self.group = group
        super().__init__(*args, exclude=() if may_change else ("remove",), **kwargs)

    def render_remove(self, record: User) -> SafeString:
        return format_html(
            '<a class="button small" href="{}" data-dialog aria-label="Take {} out of the group">Take out</a>',
            reverse("accounts:organization_group_member_remove", args=[self.group.pk, record.pk]),
            record.name,
        )

    def render_name(self, record: User) -> SafeString:
        url = reverse("accounts:organization_user_detail", args=[record.pk])
        return format_html('<a href="{}">{}</a>', url, record.name)

    def render_state(self, record: User, column: BadgeColumn) -> SafeString:
        return column.render(USER_LOOKS[record.state])
