from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.conf import settings
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy
from django_tables2 import Column

from auditlog.models import Activity, TokenUse
from core.api.scopes import in_order
from core.badges import SERVICE_ACCOUNT, Badge
from core.pages.addresses import address_of
from core.pages.line_breaks import breakable, ip_address
from core.pages.tables import BadgeColumn, BreakableColumn, CodeColumn, ExactMomentColumn, PortalTable
from core.pages.templatetags.portal import badge
from core.service_accounts import handle_of, is_service_account
from core.text import Text

# Whole texts, because German nouns have a capital letter in a sentence, too.
_REFUSED: dict[str, Text] = {
    TokenUse.Reason.INSUFFICIENT_SCOPE: gettext_lazy("Refused: scope not sufficient"),
    TokenUse.Reason.FORBIDDEN: gettext_lazy("Refused: forbidden"),
    TokenUse.Reason.EXPIRED: gettext_lazy("Refused: token expired"),
    TokenUse.Reason.REVOKED: gettext_lazy("Refused: token expired early"),
    TokenUse.Reason.NOT_REVEALED: gettext_lazy("Refused: token never shown"),
    TokenUse.Reason.OWNER_DEACTIVATED: gettext_lazy("Refused: owner deactivated"),
    TokenUse.Reason.BLOCKED_BY_POLICY: gettext_lazy("Refused: blocked by policy"),
    TokenUse.Reason.NETWORK_NOT_ALLOWED: gettext_lazy("Refused: wrong network"),
    TokenUse.Reason.NETWORK_POLICY: gettext_lazy("Refused: wrong network for the organization"),
    TokenUse.Reason.NOT_STARTED: gettext_lazy("Refused: token not started"),
    TokenUse.Reason.USED_UP: gettext_lazy("Refused: no use left"),
    TokenUse.Reason.TOKEN_REUSED: gettext_lazy("Refused: replaced token reused"),
    TokenUse.Reason.WRONG_AUDIENCE: gettext_lazy("Refused: made for something else"),
    TokenUse.Reason.SERVICE_DISABLED: gettext_lazy("Refused: service switched off"),
    TokenUse.Reason.PATH_NOT_ALLOWED: gettext_lazy("Refused: path closed by the service's rules"),
    TokenUse.Reason.AMBIGUOUS_PATH: gettext_lazy("Refused: ambiguous request"),
    TokenUse.Reason.THROTTLED: gettext_lazy("Refused: too many requests"),
    TokenUse.Reason.INVALID_REQUEST: gettext_lazy("Refused: invalid request"),
    TokenUse.Reason.CONFLICT: gettext_lazy("Refused: conflict"),
    TokenUse.Reason.NOT_FOUND: gettext_lazy("Refused: no such operation"),
    TokenUse.Reason.ERROR: gettext_lazy("Refused: error in the portal"),
}


REPORTED = Badge("↩", gettext_lazy("Reported"), "neutral")


def outcome_badge(entry: TokenUse) -> Badge:
    if entry.outcome == TokenUse.Outcome.ALLOWED:
        return Badge("●", TokenUse.Outcome.ALLOWED.label, "good")
    label = _REFUSED.get(entry.reason) or gettext("Refused: %(reason)s") % {"reason": entry.reason.lower()}
    return Badge("⊘", label, "bad")


def scopes_of(entry: TokenUse) -> list[Any]:
    """The token's scopes that are known. Those of a service are known only to the service."""
    # SQLite may have stored bytes.
    scope = str(entry.scope)
    chosen = entry.service.chosen(scope) if entry.service_id and entry.service else []
    return chosen or in_order(scope)


def scope_labels(entry: TokenUse) -> str:
    """For tables. The ids themselves if none is known."""
    return ", ".join(scope.label for scope in scopes_of(entry)) or str(entry.scope)


class LogTable(PortalTable):
    """Entries of a log; the time of each links to its page.

    ``detail_view`` is the URL name of that page, ``public_id`` the field in its URL, and ``narrowing`` are the filters
    of the list.
    """

    detail_view: ClassVar[str]
    public_id: ClassVar[str]

    class Meta:
        orderable = False

    def __init__(self, *args: Any, narrowing: Mapping[str, str], **kwargs: Any) -> None:
        self.narrowing = narrowing
        super().__init__(*args, **kwargs)

    def render_at(self, record: Any, value: datetime | None, column: ExactMomentColumn) -> SafeString:
        if value is None or record.unreadable:
            return self._unreadable(record, column.render(value) if value else gettext("Unreadable"))
        address = address_of(self.detail_view, getattr(record, self.public_id))
        return format_html('<a href="{}">{}</a>', address, column.render(value))

    def _unreadable(self, record: Any, moment: str) -> SafeString:
        """Links to the entry if its id is readable, and names the fields that are not."""
        public_id = getattr(record, self.public_id)
        link = format_html('<a href="{}">{}</a>', address_of(self.detail_view, public_id), moment)
        unreadable = gettext("Can’t be read: %(fields)s") % {"fields": ", ".join(record.unreadable)}
        hint = format_html('<br><span class="hint">{}</span>', unreadable)
        return format_html("{}{}", link if public_id else moment, hint if record.unreadable else "")

    def render_ip(self, value: str) -> SafeString:
        return format_html("<code>{}</code>", self.narrowed_link(ip_address(value), ip=value))

    def token_link(self, record: Any) -> SafeString:
        """A link to the entries of the token, unless its id can't be read."""
        if record.token_id is None:
            return format_html("{}", record.token_name)
        return self.narrowed_link(record.token_name, token_id=str(record.token_id))

    def person_link(self, address: str) -> SafeString:
        """The entries of this person, or of a service account, which is shown as what it is."""
        if is_service_account(address):
            link = self.narrowed_link(breakable(handle_of(address)), user_email=address)
            return format_html("{} {}", link, badge(SERVICE_ACCOUNT))
        return self.narrowed_link(breakable(address), user_email=address)

    def narrowed_link(self, text: str, **query: str) -> SafeString:
        """A link to the first page of the same list, also filtered by this value."""
        return format_html('<a href="?{}">{}</a>', urlencode({**self.narrowing, **query}), text)


class OneTokenUseTable(LogTable):
    """The log of one token, for its owner."""

    detail_view = "auditlog:token_use_detail"
    public_id = "request_id"
    only_wide: ClassVar[tuple[str, ...]] = ("scope", "user_agent")
    first_line = ("status", "outcome")
    second_line: ClassVar[dict[str, Text]] = {"target": "", "ip": ""}
    # Paper has no room for them beside long targets. The files have them.
    not_printed: ClassVar[tuple[str, ...]] = ("scope", "user_agent")

    at = ExactMomentColumn(verbose_name=gettext_lazy("Used on"), empty_values=())
    target = CodeColumn(verbose_name=gettext_lazy("Target"))
    status = Column(verbose_name=gettext_lazy("Status"), attrs={"td": {"class": "numeric"}, "th": {"class": "numeric"}})
    outcome = BadgeColumn(verbose_name=gettext_lazy("Outcome"), accessor="outcome")
    scope = Column(verbose_name=gettext_lazy("Scope"))
    ip = CodeColumn(verbose_name=gettext_lazy("Address"), default="–")
    user_agent = BreakableColumn(verbose_name=gettext_lazy("Program"), default="–")

    class Meta(LogTable.Meta):
        attrs = {"id": "authentication-log", "aria-label": gettext_lazy("Authentication log")}
        empty_text = gettext_lazy(
            "No use of a token matches. Each request with a token is listed here as soon as it is answered."
        )

    def row_attributes(self, record: TokenUse) -> dict[str, Any]:
        return {
            "data-request-id": record.request_id,
            "data-token": record.token_id,
            "data-outcome": record.outcome,
            "data-reason": record.reason,
        }

    def render_target(self, record: TokenUse) -> SafeString:
        request = format_html("<code>{} {}</code>", record.method, breakable(str(record.target)))
        return self.of_service(record, request) if record.service_id else request

    def of_service(self, record: TokenUse, request: SafeString) -> SafeString:
        """The request with the name of the service before it, and whether the service has reported it."""
        reported = format_html(" {}", badge(REPORTED)) if record.reported_at else ""
        return format_html("{} {}{}", self.service_name(record), request, reported)

    def service_name(self, record: TokenUse) -> SafeString:
        """If the service is gone, its id."""
        name = record.service.name if record.service else record.service_id
        return format_html('<span class="tag" data-service="{}">{}</span>', record.service_id, name)

    def render_outcome(self, record: TokenUse, column: BadgeColumn) -> SafeString:
        return column.render(outcome_badge(record))

    def render_scope(self, record: TokenUse) -> str:
        return scope_labels(record)


class OrganizationOneTokenUseTable(OneTokenUseTable):
    """The log of one token, for people who can read the organization's log."""

    detail_view = "auditlog:organization_token_use_detail"

    class Meta(OneTokenUseTable.Meta):
        # django-tables2 does not inherit options from the Meta of a base class.
        pass


class TokenUseTable(OneTokenUseTable):
    """The log of all of a person's tokens."""

    second_line: ClassVar[dict[str, Text]] = {"token_name": "", "target": "", "ip": ""}

    token_name = Column(verbose_name=gettext_lazy("Token"))

    class Meta(OneTokenUseTable.Meta):
        sequence: tuple[str, ...] = ("at", "token_name", "...")

    def render_token_name(self, record: TokenUse) -> SafeString:
        if record.token_id is None:
            return format_html("{}", record.token_name)
        url = address_of(settings.ACCESS_TOKEN_PAGE, record.token_id)
        return format_html('<a href="{}">{}</a>', url, record.token_name)

    def service_name(self, record: TokenUse) -> SafeString:
        return self.narrowed_link(super().service_name(record), service=str(record.service_id))


class OrganizationTokenUseTable(TokenUseTable):
    """The log of all tokens in the organization. A token links to its entries: not every reader can open its page."""

    detail_view = "auditlog:organization_token_use_detail"
    only_wide = ("status", "ip", "user_agent")
    not_printed = ("user_agent",)

    owner_email = Column(verbose_name=gettext_lazy("Owner"))

    class Meta(TokenUseTable.Meta):
        sequence = ("at", "owner_email", "token_name", "...")
        exclude = ("scope",)

    def render_owner_email(self, value: Any) -> SafeString:
        return self.person_link(str(value))

    def render_token_name(self, record: TokenUse) -> SafeString:
        # The scopes are below the name, because this log has one column more than a person's own.
        link = self.token_link(record)
        return format_html('{} <span class="hint below not-printed">{}</span>', link, scope_labels(record))


class ActivityTable(LogTable):
    """What a person did."""

    detail_view = "auditlog:activity_detail"
    public_id = "public_id"
    first_line = ("action",)
    second_line: ClassVar[dict[str, Text]] = {"target_name": "", "ip": ""}

    at = ExactMomentColumn(verbose_name=gettext_lazy("When"), empty_values=())
    action = Column(verbose_name=gettext_lazy("Action"))
    target_name = Column(verbose_name=gettext_lazy("What"))
    token_name = Column(verbose_name=gettext_lazy("With token"), default="–")
    ip = CodeColumn(verbose_name=gettext_lazy("Address"), default="–")

    class Meta(LogTable.Meta):
        attrs = {"id": "activity-log", "aria-label": gettext_lazy("Activity log")}
        empty_text = gettext_lazy("No action matches.")

    def row_attributes(self, record: Activity) -> dict[str, Any]:
        return {
            "data-activity": record.public_id,
            "data-request-id": record.request_id or "",
            "data-action": record.action,
        }

    def render_target_name(self, value: str) -> str:
        """Of a service account, what people know it by: its whole address would take two lines of a card."""
        return handle_of(value)

    def render_token_name(self, record: Activity) -> SafeString:
        return self.token_link(record)


class OrganizationActivityTable(ActivityTable):
    """What everyone did."""

    detail_view = "auditlog:organization_activity_detail"
    second_line: ClassVar[dict[str, Text]] = {"actor_email": "", "target_name": ""}

    actor_email = Column(verbose_name=gettext_lazy("Who"))

    class Meta(ActivityTable.Meta):
        sequence = ("at", "actor_email", "...")

    def render_actor_email(self, value: Any) -> SafeString:
        return self.person_link(str(value))
