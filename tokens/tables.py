from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django_tables2 import Column

from core.badges import Badge
from core.pages.addresses import address_of
from core.pages.tables import BadgeColumn, MomentColumn, PortalTable
from core.pages.templatetags.portal import relative
from tokens.models import Token
from tokens.states import ENDED, TokenState


def state_badge(token: Token) -> Badge:
    """The state as shown: an active token that expires soon says when."""
    return _badge(token, token.state)


def _badge(token: Token, state: TokenState) -> Badge:
    if _expires_soon(token, state):
        return Badge("◐", f"Expires {relative(token.expires_at)}", "warning")
    return state.badge


def _row_kind(token: Token, state: TokenState) -> str:
    if _expires_soon(token, state):
        return "ends-soon"
    return "live" if state in {TokenState.ACTIVE, TokenState.PENDING} else "ended"


def _expires_soon(token: Token, state: TokenState) -> bool:
    return state is TokenState.ACTIVE and token.is_in_its_last_days


def name_link(token: Token) -> SafeString:
    return format_html('<a href="{}">{}</a>', address_of("tokens:token_detail", token.pk), token.name)


def scope_labels(token: Token) -> SafeString:
    return format_html_join(" ", '<span class="tag">{}</span>', ((scope.label,) for scope in token.scopes))


def anchor_of(token: Token) -> str:
    """The id of its row in a list, so that an action can lead back to it."""
    return f"token-{token.pk}"


class TokenTable(PortalTable):
    anchor = "#tokens-heading"
    name = Column()
    scope = Column(verbose_name="Scopes", orderable=False)
    created_at = MomentColumn(verbose_name="Created")
    expires_at = MomentColumn(verbose_name="Expires")
    last_used_at = MomentColumn(verbose_name="Last used", default="Never")
    state = BadgeColumn(empty_values=(), orderable=False)
    expire = Column(empty_values=(), orderable=False, verbose_name="", attrs={"td": {"class": "row-action"}})

    class Meta:
        attrs = {"id": "tokens", "aria-label": "Access tokens"}
        order_by = ("-created_at",)
        empty_text = "No tokens here. Create one with the form above. It is shown once; send it as a bearer token."

    _last: tuple[Token, TokenState] | None = None

    def row_attributes(self, record: Token) -> dict[str, Any]:
        kind = _row_kind(record, self._state_of(record))
        return {"id": anchor_of(record), "data-token": record.pk, "data-row": kind, "class": kind}

    def _state_of(self, token: Token) -> TokenState:
        """Computed once for each row, because it depends on the policy, the owner and the clock."""
        if self._last is None or self._last[0] is not token:
            self._last = token, token.state
        return self._last[1]

    def render_name(self, record: Token) -> SafeString:
        return name_link(record)

    def render_scope(self, record: Token) -> SafeString:
        return scope_labels(record)

    def render_state(self, record: Token, column: BadgeColumn) -> SafeString:
        state = column.render(_badge(record, self._state_of(record)))
        if until := record.can_be_revealed_until:
            left = relative(until).removeprefix("in ")
            return format_html('{} <span class="hint">{} to show it</span>', state, left)
        return state

    def render_expire(self, record: Token) -> Any:
        state = self._state_of(record)
        if state in ENDED:
            return ""
        expire = format_html(
            '<a class="button quiet small" href="{}" data-dialog data-expire="{}" aria-label="Expire {}">Expire</a>',
            self.leading_back(address_of("tokens:token_expire", record.pk)),
            record.pk,
            record.name,
        )
        request = getattr(self, "request", None)
        if state is not TokenState.PENDING or request is None or request.user.pk != record.owner_id:
            return expire
        show = format_html(
            '<a class="button primary small" href="{}" data-show="{}" aria-label="Show {} now">Show it now</a>',
            address_of("tokens:token_reveal", record.pk),
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

    anchor = ""

    class Meta(TokenTable.Meta):
        sequence = ("select", "name", "owner", "...")
        empty_text = "No token matches."

    def __init__(self, *args: Any, may_expire: bool, **kwargs: Any) -> None:
        super().__init__(*args, exclude=[] if may_expire else ["select", "expire"], **kwargs)

    def render_select(self, record: Token) -> Any:
        """Belongs to the form below the table."""
        if self._state_of(record) in ENDED:
            return ""
        return format_html(
            '<input type="checkbox" form="expire-selected" name="id" value="{}" aria-label="Select {} of {}">',
            record.pk.hex,
            record.name,
            record.owner.email,
        )


class TokensToExpireTable(PortalTable):
    """The first of the tokens that somebody is about to expire together."""

    name = Column()
    owner = Column(accessor="owner__email", verbose_name="Owner")
    scope = Column(verbose_name="Scopes")
    last_used_at = MomentColumn(verbose_name="Last used", default="Never")
    expires_at = MomentColumn(verbose_name="Expires")

    class Meta:
        attrs = {"id": "tokens-to-expire", "aria-labelledby": "tokens-heading"}
        orderable = False

    def row_attributes(self, record: Token) -> dict[str, Any]:
        return {"data-token": record.pk}

    def render_name(self, record: Token) -> SafeString:
        return name_link(record)

    def render_scope(self, record: Token) -> SafeString:
        return scope_labels(record)
