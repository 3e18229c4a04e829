import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy, ngettext, pgettext_lazy
from django_tables2 import Column

from accounts.models import User
from accounts.states import ACCOUNT_BADGES, USER_BADGES
from accounts.tables import page_of
from core.badges import Badge
from core.pages.addresses import address_of
from core.pages.line_breaks import breakable
from core.pages.tables import BadgeColumn, MomentColumn, PersonColumn, PortalTable
from core.pages.templatetags.portal import actor, badge, moment, relative
from core.text import Text, counted, first_of, grouped
from tokens.access_review import LISTED
from tokens.allowed_operations import OperationCounter
from tokens.models import LISTED_PIPELINES, Token, TrustRule
from tokens.querysets import TokenQuerySet
from tokens.states import ENDED, TokenState
from tokens.unused_rights import UnusedRights


def state_badge(token: Token) -> Badge:
    """The state as shown: a token that has not started says when it does, and an active one that is being replaced or
    that expires soon when it ends."""
    state = token.state
    if state is TokenState.SCHEDULED and token.not_before is not None:
        when = relative(token.not_before)
        return Badge(state.badge.sign, gettext("Not started, starts %(when)s") % {"when": when}, "waiting")
    if _is_being_replaced(token, state):
        when = relative(token.expires_at)
        return Badge("◑", gettext("Being replaced, expires %(when)s") % {"when": when}, "waiting")
    if _expires_soon(token, state):
        return Badge("◐", gettext("Expires %(when)s") % {"when": relative(token.expires_at)}, "warning")
    return state.badge


BEING_REPLACED = Badge("◑", pgettext_lazy("state of a token", "Being replaced"), "waiting")
EXPIRES_SOON = Badge("◐", pgettext_lazy("state of a token", "Expires soon"), "warning")


def short_badge(token: Token, state: TokenState) -> Badge:
    """The same, where the end is beside the badge."""
    if _is_being_replaced(token, state):
        return BEING_REPLACED
    return EXPIRES_SOON if _expires_soon(token, state) else state.badge


def _end_of(token: Token) -> SafeString | str:
    """`expires in 12 days`, `starts in 2 days`, or when it really ended: `3 days ago`. With the exact time."""
    if ended_at := token.ended_at:
        return moment(ended_at)
    if token.not_before is not None and not token.has_started(timezone.now()):
        return moment(token.not_before, gettext("starts %(when)s") % {"when": relative(token.not_before)})
    return moment(token.expires_at, gettext("expires %(when)s") % {"when": relative(token.expires_at)})


def _row_kind(token: Token, state: TokenState) -> str:
    if _expires_soon(token, state):
        return "ends-soon"
    not_ended = {TokenState.ACTIVE, TokenState.PENDING, TokenState.WAITING, TokenState.SCHEDULED}
    return "live" if state in not_ended else "ended"


def _is_being_replaced(token: Token, state: TokenState) -> bool:
    return state is TokenState.ACTIVE and token.replaced_at is not None


def _expires_soon(token: Token, state: TokenState) -> bool:
    return state is TokenState.ACTIVE and token.is_in_its_last_days


def name_link(token: Token) -> SafeString:
    return format_html('<a href="{}">{}</a>', address_of("tokens:token_detail", token.pk), token.name)


def scope_labels(token: Token) -> SafeString:
    """Its scopes and its limits. For a list `with_pipelines(seen_by=...)`."""
    labels = [*(scope.label for scope in token.scopes), *filter(None, [token.only_networks, token.uses_left_in_words])]
    tags = format_html_join(" ", '<span class="tag">{}</span>', ((label,) for label in labels))
    if token.service_id is not None and (service := token.known_service):
        return format_html("{}: {}", service.name, tags)
    return format_html("{} {}", tags, limit_of(token)) if token.is_limited else tags


def limit_of(token: Token) -> SafeString:
    """The name of the one pipeline, or the number of them with their names like exact times: as a tooltip, for the
    focused row, on touch screens and in print."""
    if not token.pipeline_ids:
        return format_html('<span class="tag">{}</span>', token.only_pipelines)
    if len(token.pipeline_ids) == len(token.seen_pipelines) == 1:
        label = gettext("Only “%(pipeline)s”") % {"pipeline": token.seen_pipelines[0].name}
        return format_html('<span class="tag">{}</span>', label)
    return format_html(
        '<span class="tag limit" title="{0}">{1}<span class="limit-names"> {0}</span></span>',
        token.listed_pipelines,
        token.only_pipelines,
    )


def anchor_of(token: Token) -> str:
    """The id of its row in a list, so that an action can lead back to it."""
    return f"token-{token.pk}"


def anchor_of_name(token_id: uuid.UUID) -> str:
    """The id of the link in its row, which gets the focus if an action leads to it."""
    return f"name-{token_id}"


def _left_to_show(until: datetime) -> str:
    """How long a token can still be shown: minutes as in `relative`, so that a new one has 10; hours rounded down."""
    seconds = math.floor((until - timezone.now()).total_seconds() + 0.5)
    if seconds < 60:
        return gettext("less than a minute left to show it")
    minutes = math.floor(seconds / 60 + 0.5)
    if hours := seconds // 3600:
        return ngettext("%(count)s hour left to show it", "%(count)s hours left to show it", hours) % {"count": hours}
    return ngettext("%(count)s minute left to show it", "%(count)s minutes left to show it", minutes) % {
        "count": minutes
    }


class TokenTable(PortalTable):
    """The end is beside the state, and the creation on the token's page. The list can still be sorted by both."""

    anchor = "#tokens-heading"
    first_line: ClassVar[tuple[str, ...]] = ("state", "expire")
    second_line: ClassVar[dict[str, Text]] = {"last_used_at": pgettext_lazy("before a time", "Used")}
    orders = (
        ("-created_at", gettext_lazy("Newest first")),
        ("created_at", gettext_lazy("Oldest first")),
        ("expires_at", gettext_lazy("Expires first")),
        ("-expires_at", gettext_lazy("Expires last")),
    )

    name = Column(verbose_name=gettext_lazy("Name"))
    scope = Column(verbose_name=gettext_lazy("Scopes"), orderable=False)
    created_at = Column(visible=False)
    expires_at = Column(visible=False)
    last_used_at = MomentColumn(verbose_name=gettext_lazy("Last used"), default=gettext_lazy("Never"))
    state = BadgeColumn(verbose_name=gettext_lazy("State"), empty_values=(), orderable=False)
    expire = Column(empty_values=(), orderable=False, verbose_name="", attrs={"td": {"class": "row-action"}})

    class Meta:
        attrs = {"id": "tokens", "aria-label": gettext_lazy("Access tokens")}
        order_by = ("-created_at",)

    _last: tuple[Token, TokenState] | None = None

    def row_values(self, records: Sequence[Token]) -> Iterator[tuple[Any, ...]]:
        keys = [record.pk for record in records]
        # Of each row, the one after it; of the last row, the one before it.
        self._next_rows = dict(zip(keys, [*keys[1:], *keys[-2:-1]], strict=False))
        return super().row_values(records)

    def row_attributes(self, record: Token) -> dict[str, Any]:
        kind = _row_kind(record, self._state_of(record))
        return {"id": anchor_of(record), "data-token": record.pk, "data-row": kind, "class": kind}

    def _state_of(self, token: Token) -> TokenState:
        """Computed once for each row, because it depends on the policy, the owner and the clock."""
        if self._last is None or self._last[0] is not token:
            self._last = token, token.state
        return self._last[1]

    def render_name(self, record: Token) -> SafeString:
        address = address_of("tokens:token_detail", record.pk)
        # The id is that of `anchor_of_name`, without another call for each row.
        return format_html('<a href="{}" id="name-{}">{}</a>', address, record.pk, record.name)

    def render_scope(self, record: Token) -> SafeString:
        return scope_labels(record)

    def order_expires_at(self, tokens: TokenQuerySet, is_descending: bool) -> tuple[TokenQuerySet, bool]:
        return tokens.by_end(is_descending=is_descending), True

    def render_state(self, record: Token, column: BadgeColumn) -> SafeString:
        state = column.render(short_badge(record, self._state_of(record)))
        until = record.can_be_revealed_until
        when = _left_to_show(until) if until else _end_of(record)
        # Beside the badge it needs no label. In a card it follows the last use.
        label = gettext("Expired") if record.ended_at else ""
        shown = format_html('{} <span class="hint" data-before="{}">{}</span>', state, label, when)
        if record.service_id is None or self._state_of(record) in ENDED or not record.service_closed_because:
            return shown
        return format_html('{} <span class="hint below">⚠ {}</span>', shown, record.service_closed_because)

    def render_expire(self, record: Token) -> Any:
        state = self._state_of(record)
        if state in ENDED:
            return ""
        expire = format_html(
            '<a class="button quiet small" href="{}" data-dialog data-expire="{}" aria-label="{}">{}</a>',
            self._expire_url(record),
            record.pk,
            gettext("Expire %(name)s") % {"name": record.name},
            gettext("Expire"),
        )
        request = getattr(self, "request", None)
        if state is not TokenState.PENDING or request is None or not record.is_made_by(request.user):
            return expire
        show = format_html(
            '<a class="button primary small" href="{}" data-show="{}" aria-label="{}">{}</a>',
            address_of("tokens:token_reveal", record.pk),
            record.pk,
            gettext("Show %(name)s now") % {"name": record.name},
            gettext("Show it now"),
        )
        return format_html("{} {}", show, expire)

    def _expire_url(self, token: Token) -> str:
        """Leads back to this list: if its filters hide the token then, to the next row."""
        url = address_of("tokens:token_expire", token.pk)
        back = self.leading_back(url)
        next_row = None if back == url else self._next_rows.get(token.pk)
        return f"{back}&next_row={next_row}" if next_row else back


class OrganizationTokenTable(TokenTable):
    select = Column(
        empty_values=(),
        orderable=False,
        verbose_name=gettext_lazy("Select"),
        attrs={"th": {"class": "row-select"}, "td": {"class": "row-select"}},
    )
    owner = PersonColumn("owner", verbose_name=gettext_lazy("Owner"))

    anchor = ""
    only_wide = ("scope",)
    first_line = ("name", *TokenTable.first_line)
    second_line: ClassVar[dict[str, Text]] = {"owner": ""}

    class Meta(TokenTable.Meta):
        sequence = ("select", "name", "owner", "...")
        empty_text = gettext_lazy("No token matches.")

    def __init__(self, *args: Any, may_expire: bool, **kwargs: Any) -> None:
        super().__init__(*args, exclude=[] if may_expire else ["select", "expire"], **kwargs)

    def render_select(self, record: Token) -> Any:
        """Belongs to the form below the table."""
        if self._state_of(record) in ENDED:
            return ""
        return format_html(
            '<input type="checkbox" form="expire-selected" name="id" value="{}" aria-label="{}">',
            record.pk.hex,
            gettext("Select %(name)s of %(owner)s") % {"name": record.name, "owner": record.owner.email},
        )


class TokensToExpireTable(PortalTable):
    """The first of the tokens that somebody is about to expire together."""

    second_line: ClassVar[dict[str, Text]] = {
        "owner": "",
        "last_used_at": pgettext_lazy("before a time", "Used"),
    }

    name = Column(verbose_name=gettext_lazy("Name"))
    owner = PersonColumn("owner", verbose_name=gettext_lazy("Owner"))
    scope = Column(verbose_name=gettext_lazy("Scopes"))
    last_used_at = MomentColumn(verbose_name=gettext_lazy("Last used"), default=gettext_lazy("Never"))
    expires_at = MomentColumn(verbose_name=gettext_lazy("Expires"))

    class Meta:
        attrs = {"id": "tokens-to-expire", "aria-labelledby": "tokens-heading"}
        orderable = False

    def row_attributes(self, record: Token) -> dict[str, Any]:
        return {"data-token": record.pk}

    def render_name(self, record: Token) -> SafeString:
        return name_link(record)

    def render_scope(self, record: Token) -> SafeString:
        return scope_labels(record)


# What is said instead of a number about tokens that can do nothing now.
CANNOT_DO: dict[TokenState, Text] = {
    TokenState.WAITING: gettext_lazy("Nothing yet: waiting for approval"),
    TokenState.PENDING: gettext_lazy("Nothing yet: not shown to anybody"),
    TokenState.SCHEDULED: gettext_lazy("Nothing yet: its start time has not come"),
    TokenState.OWNER_DEACTIVATED: gettext_lazy("Nothing now: its owner is deactivated"),
    TokenState.BLOCKED_BY_POLICY: gettext_lazy("Nothing now: blocked by policy"),
}


def can_do(token: Token, counter: OperationCounter) -> str:
    """How much the token can do now, in words, for lists."""
    state = token.state
    if state in CANNOT_DO:
        return str(CANNOT_DO[state])
    if token.service_id is not None and (service := token.known_service):
        if closed := token.service_closed_because:
            return gettext("Nothing now: %(why)s") % {"why": closed}
        numbers = {"service": service.name, "allowed": len(token.scopes), "total": len(service.all_scopes)}
        return gettext("%(service)s: %(allowed)s of %(total)s scopes") % numbers
    counted_operations = {"allowed": counter.allowed(token, state), "total": counter.total}
    return gettext("%(allowed)s of %(total)s operations") % counted_operations


class AccessReviewTable(PortalTable):
    """Live tokens below their owners. The rows are what `tokens.access_review.tokens_of` returns."""

    first_line = ("can_do",)
    second_line: ClassVar[dict[str, Text]] = {
        "expires_at": gettext_lazy("Expires"),
        "last_used_at": pgettext_lazy("before a time", "Used"),
    }

    name = Column(verbose_name=gettext_lazy("Token"))
    scope = Column(verbose_name=gettext_lazy("Scopes"))
    can_do = Column(empty_values=(), verbose_name=gettext_lazy("Can do"))
    created_at = MomentColumn(verbose_name=gettext_lazy("Created"))
    expires_at = MomentColumn(verbose_name=gettext_lazy("Expires"))
    last_used_at = MomentColumn(verbose_name=gettext_lazy("Last used"), default=gettext_lazy("Never"))

    class Meta:
        attrs = {"id": "access-review", "aria-label": gettext_lazy("Live tokens by person"), "class": "grouped"}
        orderable = False
        empty_text = gettext_lazy("No live token matches.")

    def __init__(self, *args: Any, counter: OperationCounter, **kwargs: Any) -> None:
        self.counter = counter
        super().__init__(*args, **kwargs)

    def body(self) -> str:
        records = list(self.paginated_rows.data)
        return format_html_join("\n", "{}" + self.row_format(records[0]), self._with_owners(records)) if records else ""

    def _with_owners(self, records: list[Token]) -> Iterator[tuple[Any, ...]]:
        """The values of each row. A row with the owner is before the first of their tokens."""
        owner_id = None
        for token, values in zip(records, self.row_values(records), strict=True):
            yield "" if token.owner_id == owner_id else self._owner_row(token), *values
            owner_id = token.owner_id

    def _owner_row(self, first: Token) -> SafeString:
        owner, number = first.owner, first.of_owner  # type: ignore[attr-defined]
        return format_html(
            '<tr class="group" data-person="{}"><th scope="colgroup" colspan="{}">'
            '<a href="{}">{}</a> {} <span class="group-note">{} · {} · {}</span>{}</th></tr>',
            owner.pk,
            len(self.columns),
            page_of(owner),
            owner.name,
            badge(ACCOUNT_BADGES[owner.account_state] if owner.is_service_account else USER_BADGES[owner.state]),
            actor(owner.email),
            owner.get_site_role_display(),
            counted(number, "token", "tokens"),
            self._further(owner, number),
        )

    def _further(self, owner: User, number: int) -> SafeString | str:
        if number <= LISTED:
            return ""
        query = urlencode({"owner": owner.email})
        return format_html(
            ' <span class="group-note">{} <a href="{}?{}">{}</a></span>',
            gettext("The first %(count)s are listed.") % {"count": LISTED},
            reverse("tokens:organization_token_list"),
            query,
            gettext("See all"),
        )

    def row_attributes(self, record: Token) -> dict[str, Any]:
        return {"data-token": record.pk}

    def render_name(self, record: Token) -> SafeString:
        return name_link(record)

    def render_scope(self, record: Token) -> SafeString:
        return scope_labels(record)

    def render_can_do(self, record: Token) -> str:
        return can_do(record, self.counter)


class UnusedScopesTable(PortalTable):
    """What tokens have and did not use. ``rights``: by the token's id."""

    first_line: ClassVar[tuple[str, ...]] = ("narrow",)
    second_line: ClassVar[dict[str, Text]] = {
        "enough": gettext_lazy("Would be enough"),
        "last_used_at": pgettext_lazy("before a time", "Used"),
    }

    name = Column(verbose_name=gettext_lazy("Token"))
    scope = Column(verbose_name=gettext_lazy("Scopes"))
    enough = Column(empty_values=(), verbose_name=gettext_lazy("Would be enough"))
    last_used_at = MomentColumn(verbose_name=gettext_lazy("Last used"), default=gettext_lazy("Never"))
    narrow = Column(empty_values=(), verbose_name="", attrs={"td": {"class": "row-action"}})

    class Meta:
        attrs = {"id": "unused-scopes", "aria-label": gettext_lazy("Unused scopes")}
        orderable = False
        empty_text = gettext_lazy("No live token matches.")

    def __init__(self, *args: Any, person: User, rights: Mapping[uuid.UUID, UnusedRights], **kwargs: Any) -> None:
        self.person, self.rights = person, rights
        super().__init__(*args, **kwargs)

    def row_attributes(self, record: Token) -> dict[str, Any]:
        return {"data-token": record.pk, "data-narrower": str(self.rights[record.pk].is_narrower).lower()}

    def render_name(self, record: Token) -> SafeString:
        return name_link(record)

    def render_scope(self, record: Token) -> SafeString:
        return scope_labels(record)

    def render_enough(self, record: Token) -> SafeString:
        found = self.rights[record.pk]
        return format_html("{} {}", _enough(found), _caveats(found))

    def render_narrow(self, record: Token) -> SafeString | str:
        found = self.rights[record.pk]
        if record.owner_id != self.person.pk or not (found.is_narrower and found.operations_used):
            return ""
        return format_html(
            '<a class="button quiet small" href="{}?days={}" aria-label="{}">{}</a>',
            address_of("tokens:token_narrower", record.pk),
            found.days,
            gettext("Narrow %(name)s") % {"name": record.name},
            gettext("Narrow it"),
        )


class OrganizationUnusedScopesTable(UnusedScopesTable):
    second_line: ClassVar[dict[str, Text]] = {"owner": "", **UnusedScopesTable.second_line}

    owner = PersonColumn("owner", verbose_name=gettext_lazy("Owner"))

    class Meta(UnusedScopesTable.Meta):
        sequence = ("name", "owner", "...")


def _enough(found: UnusedRights) -> SafeString | str:
    """The fewest scopes, or why there is nothing to narrow."""
    if not found.operations_used:
        return gettext("Not used in this time")
    if not found.is_narrower:
        return gettext("All its scopes")
    tags = format_html_join(" ", '<span class="tag">{}</span>', ((scope.label,) for scope in found.enough))
    if not found.pipelines:
        return tags
    number = len(found.pipelines)
    without = ngettext("without %(count)s pipeline", "without %(count)s pipelines", number) % {"count": grouped(number)}
    names = first_of([pipeline.name for pipeline in found.pipelines], LISTED_PIPELINES, total=number)
    return format_html('{} <span class="tag" title="{}">{}</span>', tags, names, without)


def _caveats(found: UnusedRights) -> SafeString | str:
    caveats = []
    if found.replaced_another:
        caveats.append(gettext("The uses of the token that it replaced were not read. It may need more."))
    elif not found.is_complete:
        caveats.append(gettext("Only its newest uses were read. It may need more."))
    if found.pipelines and not found.knows_all_pipelines:
        caveats.append(gettext("It also read, and the log does not say which pipelines."))
    return format_html('<span class="hint below">{}</span>', " ".join(caveats)) if caveats else ""


TRUST_BADGES = {
    True: Badge("●", pgettext_lazy("state of a trust rule", "On"), "good"),
    False: Badge("‖", pgettext_lazy("state of a trust rule", "Off"), "neutral"),
}


class TrustRuleTable(PortalTable):
    only_wide = ("issuer",)
    first_line = ("is_enabled",)
    second_line: ClassVar[dict[str, Text]] = {"claims": "", "account": ""}

    name = Column(verbose_name=gettext_lazy("Trust rule"), orderable=False)
    issuer = Column(verbose_name=gettext_lazy("Issuer"), orderable=False)
    claims = Column(verbose_name=gettext_lazy("Claims"), orderable=False)
    account = Column(verbose_name=gettext_lazy("Service account"), orderable=False)
    is_enabled = BadgeColumn(verbose_name=gettext_lazy("State"), orderable=False)

    class Meta:
        attrs = {"id": "trust-rules", "aria-label": gettext_lazy("Trust rules")}
        empty_text = gettext_lazy("No trust rules yet. A trust rule lets CI jobs get short tokens without a secret.")

    def row_attributes(self, record: TrustRule) -> dict[str, Any]:
        return {"data-trust-rule": record.pk}

    def render_name(self, record: TrustRule) -> SafeString:
        return format_html('<a href="{}">{}</a>', address_of("tokens:organization_trust_edit", record.pk), record)

    def render_issuer(self, value: str) -> SafeString:
        return format_html("<code>{}</code>", breakable(value))

    def render_claims(self, record: TrustRule) -> SafeString:
        claims = ((breakable(f"{claim} = {pattern}"),) for claim, pattern in record.claims.items())
        return format_html_join(format_html("<br>"), "<code>{}</code>", claims)

    def render_account(self, record: TrustRule) -> str:
        return record.account.name

    def render_is_enabled(self, record: TrustRule, column: BadgeColumn) -> SafeString:
        return column.render(TRUST_BADGES[record.is_enabled])
