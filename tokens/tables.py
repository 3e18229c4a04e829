from typing import Any

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django_tables2 import Column

from core.badges import Badge
from core.pages.tables import BadgeColumn, MomentColumn, PortalTable
from core.pages.templatetags.portal import relative
from tokens.models import Token
from tokens.states import TokenState


def state_badge(token: Token) -> Badge:
    """The state as shown: an active token that expires soon says when."""
    if token.expires_soon:
        return Badge("◐", f"Expires {relative(token.expires_at)}", "warning")
    return token.state.badge


def row_kind(record: Token) -> str:
    if record.expires_soon:
        return "ends-soon"
    return "ended" if record.state is not TokenState.ACTIVE and record.state is not TokenState.PENDING else "live"


class TokenTable(PortalTable):
    name = Column()
    scope = Column(verbose_name="Scopes", orderable=False)
    created_at = MomentColumn(verbose_name="Created")
    expires_at = MomentColumn(verbose_name="Expires")
    time_left = Column(empty_values=(), orderable=False, verbose_name="Time left")
    last_used_at = MomentColumn(verbose_name="Last used", default="Never")
    state = BadgeColumn(orderable=False)
    expire = Column(empty_values=(), orderable=False, verbose_name="", attrs={"td": {"class": "row-action"}})

    class Meta:
        attrs = {"id": "tokens", "aria-label": "Access tokens"}
        row_attrs = {"data-token": lambda record: str(record.pk), "data-row": row_kind, "class": row_kind}
        order_by = ("-created_at",)
        empty_text = "No tokens here. Create one with the form above. It is shown once; send it as a bearer token."

    def render_name(self, record: Token) -> SafeString:
        return format_html('<a href="{}">{}</a>', reverse("tokens:token_detail", args=[record.pk]), record.name)

    def render_scope(self, record: Token) -> SafeString:
        return format_html_join(", ", "{}", ((scope.label,) for scope in record.scopes))

    def render_time_left(self, record: Token) -> str:
        if until := record.can_be_revealed_until:
            return f"{relative(until).removeprefix('in ')} to show it"
        return relative(record.expires_at).removeprefix("in ") if record.is_active else "–"

    def render_state(self, record: Token, column: BadgeColumn) -> SafeString:
        return column.render(state_badge(record))

    def render_expire(self, record: Token) -> Any:
        if record.has_ended:
            return ""
        expire = format_html(
            '<a class="button danger small" href="{}" data-dialog data-expire="{}" aria-label="Expire {}">Expire</a>',
            self.leading_back(reverse("tokens:token_expire", args=[record.pk])),
            record.pk,
            record.name,
        )
        request = getattr(self, "request", None)
        if record.state is not TokenState.PENDING or request is None or request.user.pk != record.owner_id:
            return expire
        show = format_html(
            '<a class="button primary small" href="{}" data-show="{}" aria-label="Show {} now">Show it now</a>',
            reverse("tokens:token_reveal", args=[record.pk]),
            record.pk,
            record.name,
        )
        return format_html("{} {}", show, expire)


class OrganizationTokenTable(TokenTable):
    select = Column(
        empty_values=(),
        orderable=False,
        verbose_name="Select",
        attrs={"th": {"class": "row-select"}, "td": {"class": "row-select"}},
    )
    owner = Column(accessor="owner__email", verbose_name="Owner")

    class Meta(TokenTable.Meta):
        sequence = ("select", "name", "owner", "...")
        empty_text = "No token matches."

    def __init__(self, *args: Any, may_expire: bool, **kwargs: Any) -> None:
        # "Expires" already says it in words, and the owner needs the space.
        exclude = ["time_left"] if may_expire else ["time_left", "select", "expire"]
        super().__init__(*args, exclude=exclude, **kwargs)

    def render_select(self, record: Token) -> Any:
        """Belongs to the form below the table."""
        if record.has_ended:
            return ""
        return format_html(
            '<input type="checkbox" form="expire-selected" name="id" value="{}" aria-label="Select {} of {}">',
            record.pk.hex,
            record.name,
            record.owner.email,
        )
