from typing import Any

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_tables2 import Column

from accounts.models import Group, User
from accounts.states import USER_BADGES
from core.mail.kinds import label_of
from core.models import OutgoingMail
from core.pages.addresses import address_of
from core.pages.tables import BadgeColumn, MomentColumn, PortalTable
from core.pages.templatetags.portal import relative

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
        order_by = ("name",)
        empty_text = "No user matches."

    def row_attributes(self, record: User) -> dict[str, Any]:
        return {"data-user": record.pk}

    def render_name(self, record: User) -> SafeString:
        url = address_of("accounts:organization_user_detail", record.pk)
        return format_html('<a href="{}">{}</a>', url, record.name)

    def render_email(self, record: User) -> SafeString | str:
        mails: list[OutgoingMail] = getattr(record, "undelivered_mails", [])
        if not mails:
            return record.email
        what, age = label_of(mails[0]), relative(mails[0].created_at)
        said = f"{what} not delivered, created {age}: {mails[0].last_error or 'not tried yet'}"
        return format_html('{} <span class="hint" data-undelivered>⚠ {}</span>', record.email, said)

    def render_state(self, record: User, column: BadgeColumn) -> SafeString:
        return column.render(USER_BADGES[record.state])

    def render_has_two_factor(self, value: bool) -> str:
        return "On" if value else "Off"

    def render_groups(self, record: User) -> str:
        return ", ".join(group.name for group in record.member_groups.all()) or "–"


class MailTable(PortalTable):
    person = Column(verbose_name="To", orderable=False)
    kind = Column(verbose_name="Mail", orderable=False)
    created_at = MomentColumn(verbose_name="Created", orderable=False)
    last_error = Column(verbose_name="Last error", orderable=False, empty_values=())
    attempts = Column(attrs=NUMERIC, orderable=False)
    next_attempt_at = MomentColumn(verbose_name="Next attempt", orderable=False, empty_values=())

    class Meta:
        attrs = {"id": "mails", "aria-label": "Mails that were not delivered"}
        empty_text = "No undelivered mail. The mail server has accepted every mail to people in your organization."

    def row_attributes(self, record: OutgoingMail) -> dict[str, Any]:
        return {"data-mail": record.pk}

    def render_person(self, record: OutgoingMail, value: User) -> SafeString:
        url = address_of("accounts:organization_user_detail", value.pk)
        return format_html('<a href="{}">{}</a> <span class="hint">{}</span>', url, value.name, record.address)

    def render_kind(self, record: OutgoingMail) -> str:
        return label_of(record)

    def render_last_error(self, record: OutgoingMail) -> str:
        return record.last_error or "Not tried yet. Is the worker running?"

    def render_next_attempt_at(self, record: OutgoingMail, column: MomentColumn) -> SafeString | str:
        if record.state == OutgoingMail.State.FAILED:
            return "Given up"
        return column.render(record.next_attempt_at)


class GroupTable(PortalTable):
    name = Column()
    member_count = Column(verbose_name="Members", attrs=NUMERIC)
    created_at = MomentColumn(verbose_name="Created")

    class Meta:
        attrs = {"id": "groups", "aria-label": "Groups"}
        order_by = ("name",)
        empty_text = "No groups yet. Access rules of pipelines can give a group a role."

    def row_attributes(self, record: Group) -> dict[str, Any]:
        return {"data-group": record.pk}

    def render_name(self, record: Group) -> SafeString:
        url = address_of("accounts:organization_group_detail", record.pk)
        return format_html('<a href="{}">{}</a>', url, record.name)


class MemberTable(PortalTable):
    """The members of ``group``. ``may_change``: whether the person can remove them."""

    name = Column()
    email = Column(verbose_name="E-mail")
    site_role = Column(verbose_name="Role")
    state = BadgeColumn(orderable=False)
    remove = Column(empty_values=(), orderable=False, verbose_name="", attrs={"td": {"class": "row-action"}})

    class Meta:
        attrs = {"id": "members", "aria-label": "Members"}
        order_by = ("name",)
        empty_text = "This group has no members."

    def __init__(self, *args: Any, group: Group, may_change: bool, **kwargs: Any) -> None:
        self.group = group
        super().__init__(*args, exclude=() if may_change else ("remove",), **kwargs)

    def row_attributes(self, record: User) -> dict[str, Any]:
        return {"data-user": record.pk}

    def render_remove(self, record: User) -> SafeString:
        return format_html(
            '<a class="button small" href="{}" data-dialog aria-label="Remove {} from the group">Remove</a>',
            self.leading_back(reverse("accounts:organization_group_member_remove", args=[self.group.pk, record.pk])),
            record.name,
        )

    def render_name(self, record: User) -> SafeString:
        url = address_of("accounts:organization_user_detail", record.pk)
        return format_html('<a href="{}">{}</a>', url, record.name)

    def render_state(self, record: User, column: BadgeColumn) -> SafeString:
        return column.render(USER_BADGES[record.state])
