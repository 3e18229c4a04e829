from collections.abc import Callable, Mapping
from datetime import datetime
from inspect import signature
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.conf import settings
from django.forms.utils import flatatt
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django_tables2 import Column
from django_tables2.columns import BoundColumn

from auditlog.models import Activity, TokenUse
from core.badges import Badge
from core.pages.tables import BadgeColumn, CodeColumn, ExactMomentColumn, PortalTable


def outcome_badge(entry: TokenUse) -> Badge:
    if entry.outcome == TokenUse.Outcome.ALLOWED:
        return Badge("●", entry.get_outcome_display(), "good")
    return Badge("⊘", f"Refused: {entry.get_reason_display().lower()}", "bad")


class LogTable(PortalTable):
    """Entries of a log; the time of each links to its page.

    ``detail_view`` is the URL name of that page, ``public_id`` the field in its URL, and ``narrowing`` are the filters
    of the list.
    """

    detail_view: ClassVar[str]
    public_id: ClassVar[str]

    class Meta:
        orderable = False
        template_name = "auditlog/log_table.html"

    def __init__(self, *args: Any, narrowing: Mapping[str, str], **kwargs: Any) -> None:
        self.narrowing = narrowing
        super().__init__(*args, **kwargs)

    def body(self) -> SafeString:
        """Renders the rows.

        django-tables2 inspects the arguments of a column's function for each cell. For 450 cells, this takes longer
        than everything else on the page.
        """
        cells = [self._cell(column) for column in self.columns]
        rows = (
            (flatatt(self.row_attributes(record)), format_html_join("", "{}", ((cell(record),) for cell in cells)))
            for record in self.data
        )
        return format_html_join("\n", "<tr{}>{}</tr>", rows)

    def _cell(self, column: BoundColumn) -> Callable[[Any], SafeString]:
        """Returns a function that renders the cells of a column, and inspects the column's arguments once."""
        start = format_html(
            '<td {} data-label="{}" data-column="{}">', column.attrs["td"].as_html(), column.header, column.name
        )
        render, default = column.render, column.default
        wanted = signature(render).parameters.keys()

        def cell(record: Any) -> SafeString:
            value = getattr(record, column.name)
            if value in column.column.empty_values:
                return format_html("{}{}</td>", start, default)
            arguments = {"value": value, "record": record, "column": column.column}
            return format_html("{}{}</td>", start, render(**{name: arguments[name] for name in wanted}))

        return cell

    def row_attributes(self, record: Any) -> dict[str, Any]:
        """Attributes by which scripts and tests find a row."""
        raise NotImplementedError

    def render_at(self, record: Any, value: datetime, column: ExactMomentColumn) -> SafeString:
        address = reverse(self.detail_view, args=[getattr(record, self.public_id)])
        return format_html('<a href="{}">{}</a>', address, column.render(value))

    def render_ip(self, value: str) -> SafeString:
        return format_html("<code>{}</code>", self.narrowed_link(value, ip=value))

    def narrowed_link(self, text: str, **query: str) -> SafeString:
        """A link to the first page of the same list, also filtered by this value."""
        return format_html('<a href="?{}">{}</a>', urlencode({**self.narrowing, **query}), text)


class OneTokenUseTable(LogTable):
    """The log of one token, for its owner."""

    detail_view = "auditlog:token_use_detail"
    public_id = "request_id"

    at = ExactMomentColumn(verbose_name="Used on (UTC)")
    target = CodeColumn()
    status = Column(attrs={"td": {"class": "numeric"}, "th": {"class": "numeric"}})
    outcome = BadgeColumn(accessor="outcome")
    scope = Column()
    ip = CodeColumn(verbose_name="Address", default="–")
    user_agent = Column(verbose_name="Program", default="–")

    class Meta(LogTable.Meta):
        attrs = {"id": "authentication-log", "aria-label": "Authentication log"}
        empty_text = "No use of a token matches. Each request with a token is listed here as soon as it is answered."

    def row_attributes(self, record: TokenUse) -> dict[str, Any]:
        return {
            "data-request-id": record.request_id,
            "data-token": record.token_id,
            "data-outcome": record.outcome,
            "data-reason": record.reason,
        }

    def render_target(self, record: TokenUse) -> SafeString:
        return format_html("<code>{} {}</code>", record.method, record.target)

    def render_outcome(self, record: TokenUse, column: BadgeColumn) -> SafeString:
        return column.render(outcome_badge(record))


class OrganizationOneTokenUseTable(OneTokenUseTable):
    """The log of one token, for people who can read the organization's log."""

    detail_view = "auditlog:organization_token_use_detail"

    class Meta(OneTokenUseTable.Meta):
        # django-tables2 does not inherit options from the Meta of a base class.
        pass


class TokenUseTable(OneTokenUseTable):
    """The log of all of a person's tokens."""

    token_name = Column(verbose_name="Token")

    class Meta(OneTokenUseTable.Meta):
        sequence: tuple[str, ...] = ("at", "token_name", "...")

    def render_token_name(self, record: TokenUse) -> SafeString:
        url = reverse(settings.ACCESS_TOKEN_PAGE, args=[record.token_id])
        return format_html('<a href="{}">{}</a>', url, record.token_name)


class OrganizationTokenUseTable(TokenUseTable):
    """The log of all tokens in the organization. A token links to its entries: not every reader can open its page."""

    detail_view = "auditlog:organization_token_use_detail"

    owner_email = Column(verbose_name="Owner")

    class Meta(TokenUseTable.Meta):
        sequence = ("at", "owner_email", "token_name", "...")
        exclude = ("scope",)

    def render_owner_email(self, value: str) -> SafeString:
        return self.narrowed_link(value, user_email=value)

    def render_token_name(self, record: TokenUse) -> SafeString:
        # The scopes are below the name, because this log has one column more than a person's own.
        link = self.narrowed_link(record.token_name, token_id=str(record.token_id))
        return format_html('{}<br><span class="hint">{}</span>', link, record.scope)


class ActivityTable(LogTable):
    """What a person did."""

    detail_view = "auditlog:activity_detail"
    public_id = "public_id"

    at = ExactMomentColumn(verbose_name="When (UTC)")
    action = Column()
    target_name = Column(verbose_name="What")
    token_name = Column(verbose_name="With token", default="–")
    ip = CodeColumn(verbose_name="Address", default="–")

    class Meta(LogTable.Meta):
        attrs = {"id": "activity-log", "aria-label": "Activity log"}
        empty_text = "No action matches."

    def row_attributes(self, record: Activity) -> dict[str, Any]:
        return {
            "data-activity": record.public_id,
            "data-request-id": record.request_id,
            "data-action": record.action,
        }

    def render_action(self, record: Activity) -> str:
        return str(record.get_action_display())

    def render_token_name(self, record: Activity, value: str) -> SafeString:
        return self.narrowed_link(value, token_id=str(record.token_id))


class OrganizationActivityTable(ActivityTable):
    """What everyone did."""

    detail_view = "auditlog:organization_activity_detail"

    actor_email = Column(verbose_name="Who")

    class Meta(ActivityTable.Meta):
        sequence = ("at", "actor_email", "...")

    def render_actor_email(self, value: str) -> SafeString:
        return self.narrowed_link(value, user_email=value)
