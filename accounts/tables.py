from typing import Any, ClassVar

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy, pgettext, pgettext_lazy
from django_tables2 import Column

from accounts.models import Group, Notification, User, Webhook, WebhookDelivery
from accounts.notifications.texts import page_about, sentence_of
from accounts.states import ACCOUNT_BADGES, USER_BADGES
from core.badges import Badge
from core.mail.kinds import label_of
from core.models import OutgoingMail
from core.pages.addresses import address_of
from core.pages.line_breaks import breakable
from core.pages.tables import BadgeColumn, MomentColumn, PortalTable
from core.pages.templatetags.portal import actor, relative
from core.service_accounts import handle_of
from core.text import Text, first_of

# How many responsible people of a service account a list names.
LISTED_PEOPLE = 3
NUMERIC = {"td": {"class": "numeric"}, "th": {"class": "numeric"}}


def page_of(user: User) -> str:
    """The page of a person or of a service account."""
    page = "organization_service_account_detail" if user.is_service_account else "organization_user_detail"
    return address_of(f"accounts:{page}", user.pk)


class UserTable(PortalTable):
    only_wide = ("groups", "has_two_factor")
    first_line = ("state",)
    second_line: ClassVar[dict[str, Text]] = {"email": "", "site_role": ""}

    name = Column(verbose_name=pgettext_lazy("of a person", "Name"))
    email = Column(verbose_name=gettext_lazy("E-mail"))
    site_role = Column(verbose_name=gettext_lazy("Role"))
    state = BadgeColumn(verbose_name=gettext_lazy("State"), orderable=False)
    groups = Column(accessor="member_groups", verbose_name=gettext_lazy("Groups"), orderable=False, empty_values=())
    last_login = MomentColumn(verbose_name=gettext_lazy("Last sign-in"), default=gettext_lazy("Never"))
    has_two_factor = Column(verbose_name=pgettext_lazy("column", "Two-factor"), orderable=False)
    live_token_count = Column(verbose_name=gettext_lazy("Live tokens"), attrs=NUMERIC)

    class Meta:
        attrs = {"id": "users", "aria-label": gettext_lazy("Users")}
        order_by = ("name",)
        empty_text = gettext_lazy("No user matches.")

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
        error = mails[0].last_error or gettext("not tried yet")
        said = gettext("%(mail)s not delivered, created %(age)s: %(error)s") % {
            "mail": what,
            "age": age,
            "error": error,
        }
        return format_html('{} <span class="hint" data-undelivered>⚠ {}</span>', record.email, said)

    def render_state(self, record: User, column: BadgeColumn) -> SafeString:
        return column.render(USER_BADGES[record.state])

    def render_has_two_factor(self, value: bool) -> str:
        return pgettext("two-factor", "On") if value else pgettext("two-factor", "Off")

    def render_groups(self, record: User) -> str:
        return ", ".join(group.name for group in record.member_groups.all()) or "–"


class ServiceAccountTable(PortalTable):
    only_wide = ("groups",)
    first_line = ("state",)
    second_line: ClassVar[dict[str, Text]] = {"responsible": gettext_lazy("Responsible"), "site_role": ""}

    name = Column(verbose_name=gettext_lazy("Name"))
    site_role = Column(verbose_name=gettext_lazy("Role"))
    responsible = Column(
        verbose_name=gettext_lazy("Responsible"), orderable=False, empty_values=(), accessor="service_account"
    )
    state = BadgeColumn(verbose_name=gettext_lazy("State"), accessor="account_state", orderable=False)
    groups = Column(accessor="member_groups", verbose_name=gettext_lazy("Groups"), orderable=False, empty_values=())
    live_token_count = Column(verbose_name=gettext_lazy("Live tokens"), attrs=NUMERIC)

    class Meta:
        attrs = {"id": "service-accounts", "aria-label": gettext_lazy("Service accounts")}
        order_by = ("name",)
        empty_text = gettext_lazy("No service account here.")

    def row_attributes(self, record: User) -> dict[str, Any]:
        return {"data-service-account": record.pk}

    def render_name(self, record: User) -> SafeString:
        shown = format_html('<a href="{}">{}</a>', page_of(record), record.name)
        return format_html('{} <span class="hint below">{}</span>', shown, handle_of(record.email))

    def render_responsible(self, record: User) -> str:
        people = record.service_account.responsible.all()
        return first_of([person.name for person in people], LISTED_PEOPLE, total=len(people)) if people else "–"

    def render_state(self, record: User, column: BadgeColumn) -> SafeString:
        return column.render(ACCOUNT_BADGES[record.account_state])

    def render_groups(self, record: User) -> str:
        return ", ".join(group.name for group in record.member_groups.all()) or "–"


class MailTable(PortalTable):
    # A mail has no page of its own, so a card has a third line that says why it was not delivered.
    second_line: ClassVar[dict[str, Text]] = {
        "kind": "",
        "next_attempt_at": gettext_lazy("Next attempt"),
        "last_error": "",
    }

    person = Column(verbose_name=gettext_lazy("To"), orderable=False)
    kind = Column(verbose_name=gettext_lazy("Mail"), orderable=False)
    created_at = MomentColumn(verbose_name=gettext_lazy("Created"), orderable=False)
    last_error = Column(verbose_name=gettext_lazy("Last error"), orderable=False, empty_values=())
    attempts = Column(verbose_name=gettext_lazy("Attempts"), attrs=NUMERIC, orderable=False)
    next_attempt_at = MomentColumn(verbose_name=gettext_lazy("Next attempt"), orderable=False, empty_values=())

    class Meta:
        attrs = {"id": "mails", "aria-label": gettext_lazy("Mails that were not delivered")}
        empty_text = gettext_lazy(
            "No undelivered mail. The mail server has accepted every mail to people in your organization."
        )

    def row_attributes(self, record: OutgoingMail) -> dict[str, Any]:
        return {"data-mail": record.pk}

    def render_person(self, record: OutgoingMail, value: User) -> SafeString:
        url = address_of("accounts:organization_user_detail", value.pk)
        return format_html('<a href="{}">{}</a> <span class="hint">{}</span>', url, value.name, record.address)

    def render_kind(self, record: OutgoingMail) -> str:
        return label_of(record)

    def render_last_error(self, record: OutgoingMail) -> str:
        return record.last_error or gettext("Not tried yet. Is the worker running?")

    def render_next_attempt_at(self, record: OutgoingMail, column: MomentColumn) -> SafeString | str:
        if record.state == OutgoingMail.State.FAILED:
            return gettext("Given up")
        return column.render(record.next_attempt_at)


class GroupTable(PortalTable):
    name = Column(verbose_name=gettext_lazy("Name"))
    member_count = Column(verbose_name=gettext_lazy("Members"), attrs=NUMERIC)
    created_at = MomentColumn(verbose_name=gettext_lazy("Created"))

    class Meta:
        attrs = {"id": "groups", "aria-label": gettext_lazy("Groups")}
        order_by = ("name",)
        empty_text = gettext_lazy("No groups yet. Access rules of pipelines can give a group a role.")

    def row_attributes(self, record: Group) -> dict[str, Any]:
        return {"data-group": record.pk}

    def render_name(self, record: Group) -> SafeString:
        url = address_of("accounts:organization_group_detail", record.pk)
        link = format_html('<a href="{}">{}</a>', url, record.name)
        if not record.is_managed:
            return link
        return format_html('{} <span class="hint" data-managed>{}</span>', link, gettext("from single sign-on"))


class MemberTable(PortalTable):
    """The members of ``group``. ``may_change``: whether the person can remove them."""

    first_line = ("state", "remove")
    second_line: ClassVar[dict[str, Text]] = {"email": "", "site_role": ""}

    name = Column(verbose_name=pgettext_lazy("of a person", "Name"))
    email = Column(verbose_name=gettext_lazy("E-mail"))
    site_role = Column(verbose_name=gettext_lazy("Role"))
    state = BadgeColumn(verbose_name=gettext_lazy("State"), orderable=False)
    remove = Column(empty_values=(), orderable=False, verbose_name="", attrs={"td": {"class": "row-action"}})

    class Meta:
        attrs = {"id": "members", "aria-label": gettext_lazy("Members")}
        order_by = ("name",)
        empty_text = gettext_lazy("This group has no members.")

    def __init__(self, *args: Any, group: Group, may_change: bool, **kwargs: Any) -> None:
        self.group = group
        super().__init__(*args, exclude=() if may_change else ("remove",), **kwargs)

    def row_attributes(self, record: User) -> dict[str, Any]:
        return {"data-user": record.pk}

    def render_remove(self, record: User) -> SafeString:
        return format_html(
            '<a class="button small" href="{}" data-dialog aria-label="{}">{}</a>',
            self.leading_back(reverse("accounts:organization_group_member_remove", args=[self.group.pk, record.pk])),
            gettext("Remove %(name)s from the group") % {"name": record.name},
            gettext("Remove"),
        )

    def render_name(self, record: User) -> SafeString:
        return format_html('<a href="{}">{}</a>', page_of(record), record.name)

    def render_email(self, record: User) -> SafeString | str:
        return actor(record.email)

    def render_state(self, record: User, column: BadgeColumn) -> SafeString:
        return column.render(USER_BADGES[record.state])


_UNREAD = Badge("●", pgettext_lazy("notifications", "Unread"), "waiting")
_READ = Badge("○", pgettext_lazy("notifications", "Read"), "neutral")


class NotificationTable(PortalTable):
    """Its buttons submit the form ``mark-read`` of the page."""

    only_wide = ("kind",)
    first_line = ("state",)
    second_line: ClassVar[dict[str, Text]] = {"at": "", "mark": ""}

    sentence = Column(verbose_name=gettext_lazy("What happened"), empty_values=(), orderable=False)
    kind = Column(verbose_name=gettext_lazy("Kind"), orderable=False)
    at = MomentColumn(verbose_name=gettext_lazy("When"), orderable=False)
    state = BadgeColumn(verbose_name=gettext_lazy("State"), empty_values=(), orderable=False)
    mark = Column(empty_values=(), orderable=False, verbose_name="", attrs={"td": {"class": "row-action"}})

    class Meta:
        attrs = {"id": "notifications", "aria-label": gettext_lazy("Notifications")}
        empty_text = gettext_lazy("No notification matches.")

    def row_attributes(self, record: Notification) -> dict[str, Any]:
        return {"data-notification": record.public_id, "data-unread": str(record.is_unread).lower()}

    def render_sentence(self, record: Notification) -> SafeString | str:
        sentence = sentence_of(record)
        page = page_about(record)
        if page is None:
            return sentence
        address = address_of(*page) if page[1:] else reverse(*page)
        return format_html('<a href="{}">{}</a>', address, sentence)

    def render_state(self, record: Notification, column: BadgeColumn) -> SafeString:
        return column.render(_UNREAD if record.is_unread else _READ)

    def render_mark(self, record: Notification) -> SafeString | str:
        if not record.is_unread:
            return ""
        return format_html(
            '<button class="button small" type="submit" form="mark-read" formaction="{}" aria-label="{}">{}</button>',
            address_of("accounts:notification_read", record.public_id),
            gettext("Mark as read: %(sentence)s") % {"sentence": sentence_of(record)},
            gettext("Mark as read"),
        )


WEBHOOK_BADGES = {
    "active": Badge("●", pgettext_lazy("state of a webhook", "Active"), "good"),
    "failing": Badge("⚠", pgettext_lazy("state of a webhook", "Failing"), "warning"),
    "paused": Badge("‖", pgettext_lazy("state of a webhook", "Paused"), "neutral"),
}
DELIVERY_BADGES: dict[str, Badge] = {
    WebhookDelivery.State.WAITING: Badge("◌", WebhookDelivery.State.WAITING.label, "waiting"),
    WebhookDelivery.State.DELIVERED: Badge("●", WebhookDelivery.State.DELIVERED.label, "good"),
    WebhookDelivery.State.FAILED: Badge("⊘", WebhookDelivery.State.FAILED.label, "bad"),
}


def webhook_badge(webhook: Webhook) -> Badge:
    if webhook.is_paused:
        return WEBHOOK_BADGES["paused"]
    return WEBHOOK_BADGES["failing" if webhook.failing_since else "active"]


class WebhookTable(PortalTable):
    first_line = ("state",)
    second_line: ClassVar[dict[str, Text]] = {"url": ""}

    description = Column(verbose_name=gettext_lazy("Webhook"), empty_values=(), orderable=False)
    url = Column(verbose_name="URL", orderable=False)
    state = BadgeColumn(verbose_name=gettext_lazy("State"), empty_values=(), orderable=False)
    created_at = MomentColumn(verbose_name=gettext_lazy("Created"), orderable=False)

    class Meta:
        attrs = {"id": "webhooks", "aria-label": gettext_lazy("Webhooks")}
        empty_text = gettext_lazy("No webhooks yet. A webhook sends what happens here to a program of yours.")

    def row_attributes(self, record: Webhook) -> dict[str, Any]:
        return {"data-webhook": record.pk}

    def render_description(self, record: Webhook) -> SafeString:
        return format_html('<a href="{}">{}</a>', address_of("accounts:organization_webhook_detail", record.pk), record)

    def render_url(self, value: str) -> SafeString:
        return format_html("<code>{}</code>", breakable(value))

    def render_state(self, record: Webhook, column: BadgeColumn) -> SafeString:
        return column.render(webhook_badge(record))


class DeliveryTable(PortalTable):
    only_wide = ("attempts",)
    first_line = ("state",)
    second_line: ClassVar[dict[str, Text]] = {"answer": "", "created_at": "", "again": ""}

    type = Column(verbose_name=gettext_lazy("Event"), orderable=False)
    state = BadgeColumn(verbose_name=gettext_lazy("State"), orderable=False)
    answer = Column(verbose_name=gettext_lazy("Answer"), empty_values=(), orderable=False)
    attempts = Column(verbose_name=gettext_lazy("Attempts"), attrs=NUMERIC, orderable=False)
    created_at = MomentColumn(verbose_name=gettext_lazy("When"), orderable=False)
    again = Column(empty_values=(), orderable=False, verbose_name="", attrs={"td": {"class": "row-action"}})

    class Meta:
        attrs = {"id": "deliveries", "aria-label": gettext_lazy("Deliveries")}
        empty_text = gettext_lazy("Nothing was sent in the last 30 days.")

    def row_attributes(self, record: WebhookDelivery) -> dict[str, Any]:
        return {"data-delivery": record.event_id}

    def render_type(self, value: str) -> SafeString:
        return format_html("<code>{}</code>", breakable(value))

    def render_state(self, record: WebhookDelivery, column: BadgeColumn) -> SafeString:
        return column.render(DELIVERY_BADGES[record.state])

    def render_answer(self, record: WebhookDelivery) -> str:
        said = " ".join(filter(None, [str(record.last_status or ""), record.last_error]))
        if record.state == WebhookDelivery.State.WAITING and record.attempts:
            next_attempt = gettext("Next attempt %(time)s.") % {"time": relative(record.next_attempt_at)}
            return f"{said} {next_attempt}"
        return said or "–"

    def render_again(self, record: WebhookDelivery) -> SafeString | str:
        if record.state == WebhookDelivery.State.WAITING:
            return ""
        return format_html(
            '<button class="button small" type="submit" form="send-again" formaction="{}">{}</button>',
            reverse("accounts:organization_webhook_send_again", args=[record.webhook_id, record.event_id]),
            gettext("Send again"),
        )
