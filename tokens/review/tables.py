"""The tables of review campaigns: all campaigns, the items of one, and the tokens that a person is asked about."""

from collections.abc import Collection
from typing import Any, ClassVar

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy, pgettext_lazy
from django_tables2 import Column

from core.api import scopes
from core.pages.addresses import address_of
from core.pages.tables import BadgeColumn, MomentColumn, PersonColumn, PortalTable
from core.pages.templatetags.portal import actor, badge, exact, moment
from core.text import Text
from tokens.allowed_operations import OperationCounter
from tokens.models import Token
from tokens.review.models import ReviewCampaign, ReviewItem
from tokens.states import TokenState
from tokens.tables import can_do, limit_of, name_link, scope_labels, short_badge


class ReviewCampaignTable(PortalTable):
    first_line = ("state",)
    second_line: ClassVar[dict[str, Text]] = {
        "due_at": pgettext_lazy("before a time", "Answers until"),
        "repeat_months": "",
    }

    starts_at = Column(verbose_name=gettext_lazy("Starts"), orderable=False)
    due_at = MomentColumn(verbose_name=gettext_lazy("Answers until"), orderable=False)
    repeat_months = Column(verbose_name=gettext_lazy("Repeats"), empty_values=(), orderable=False)
    planned_by = PersonColumn("planned_by", verbose_name=gettext_lazy("Planned by"), orderable=False)
    state = BadgeColumn(verbose_name=gettext_lazy("State"), empty_values=(), orderable=False)

    class Meta:
        attrs = {"id": "review-campaigns", "aria-label": gettext_lazy("Review campaigns")}
        empty_text = gettext_lazy("No review campaigns yet.")

    def row_attributes(self, record: ReviewCampaign) -> dict[str, Any]:
        return {"data-campaign": record.pk, "data-state": record.state.value}

    def render_starts_at(self, record: ReviewCampaign) -> SafeString:
        url = address_of("tokens:organization_review_detail", record.pk)
        return format_html('<a href="{}">{}</a>', url, exact(record.started_at or record.starts_at))

    def render_repeat_months(self, record: ReviewCampaign) -> str:
        return repeats(record)

    def render_state(self, record: ReviewCampaign, column: BadgeColumn) -> SafeString:
        return column.render(record.badge)


class ReviewItemTable(PortalTable):
    """The items of one campaign, as they were at its start, with the answers."""

    only_wide = ("scope", "note")
    first_line = ("token_name", "state")
    second_line: ClassVar[dict[str, Text]] = {
        "owner_email": "",
        "last_used_at": pgettext_lazy("before a time", "Used"),
        "note": "",
    }

    token_name = Column(verbose_name=gettext_lazy("Token"), orderable=False)
    owner_email = Column(verbose_name=gettext_lazy("Owner"), orderable=False)
    scope = Column(verbose_name=gettext_lazy("Scopes"), orderable=False)
    last_used_at = MomentColumn(
        verbose_name=gettext_lazy("Used before the start"), default=gettext_lazy("Never"), orderable=False
    )
    state = BadgeColumn(verbose_name=gettext_lazy("Answer"), empty_values=(), orderable=False)
    note = Column(verbose_name=gettext_lazy("Note"), orderable=False)

    class Meta:
        attrs = {"id": "review-items", "aria-label": gettext_lazy("Reviewed tokens")}
        empty_text = gettext_lazy("No token matches.")

    def row_attributes(self, record: ReviewItem) -> dict[str, Any]:
        return {"data-token": record.token_id, "data-state": record.state.value}

    def render_token_name(self, record: ReviewItem) -> SafeString:
        return format_html('<a href="{}">{}</a>', address_of("tokens:token_detail", record.token_id), record.token_name)

    def render_owner_email(self, record: ReviewItem) -> SafeString:
        return format_html('{} <span class="hint below">{}</span>', record.owner_name, actor(record.owner_email))

    def render_scope(self, record: ReviewItem) -> SafeString:
        service = record.token.known_service
        found = service.chosen(record.scope) if service else scopes.in_order(record.scope)
        tags = format_html_join(" ", '<span class="tag">{}</span>', ((scope.label,) for scope in found))
        if service:
            return format_html("{}: {}", service.name, tags)
        return format_html("{} {}", tags, limit_of(record.token)) if record.token.is_limited else tags

    def render_state(self, record: ReviewItem, column: BadgeColumn) -> SafeString:
        state = column.render(record.badge)
        if not record.answered_by_email or record.answered_at is None:
            return state
        by = gettext("by %(person)s") % {"person": record.answered_by_email}
        return format_html('{} <span class="hint below">{} {}</span>', state, by, moment(record.answered_at))


class TokensToConfirmTable(PortalTable):
    """The tokens that wait for this person's answer. The rows are tokens. ``selected``: the ids of those that are
    ticked."""

    first_line = ("select", "name")
    second_line: ClassVar[dict[str, Text]] = {
        "owner": "",
        "can_do": "",
        "expires_at": gettext_lazy("Expires"),
        "last_used_at": pgettext_lazy("before a time", "Used"),
        "answer": "",
    }

    select = Column(
        empty_values=(),
        verbose_name=gettext_lazy("Select"),
        attrs={"th": {"class": "row-select"}, "td": {"class": "row-select"}},
    )
    name = Column(verbose_name=gettext_lazy("Token"))
    owner = PersonColumn("owner", verbose_name=gettext_lazy("Owner"))
    scope = Column(verbose_name=gettext_lazy("Scopes"))
    can_do = Column(empty_values=(), verbose_name=gettext_lazy("Can do"))
    last_used_at = MomentColumn(verbose_name=gettext_lazy("Last used"), default=gettext_lazy("Never"))
    expires_at = MomentColumn(verbose_name=gettext_lazy("Expires"))
    answer = Column(empty_values=(), verbose_name="", attrs={"td": {"class": "row-action"}})

    class Meta:
        attrs = {"id": "tokens-to-confirm", "aria-label": gettext_lazy("Tokens to confirm")}
        orderable = False
        empty_text = gettext_lazy("No token waits for your confirmation.")

    def __init__(self, *args: Any, counter: OperationCounter, selected: Collection[str] = (), **kwargs: Any) -> None:
        self.counter, self.selected = counter, set(selected)
        super().__init__(*args, **kwargs)

    def row_attributes(self, record: Token) -> dict[str, Any]:
        return {"data-token": record.pk}

    def render_select(self, record: Token) -> SafeString:
        return format_html(
            '<input type="checkbox" form="answers" name="id" value="{}" aria-label="{}"{}>',
            record.pk,
            gettext("Select %(name)s of %(owner)s") % {"name": record.name, "owner": record.owner.email},
            " checked" if str(record.pk) in self.selected else "",
        )

    def render_name(self, record: Token) -> SafeString:
        """With its state if it isn't just active, so that a token and the one that replaces it differ."""
        shown = short_badge(record, record.state)
        return (
            name_link(record)
            if shown == TokenState.ACTIVE.badge
            else format_html("{} {}", name_link(record), badge(shown))
        )

    def render_scope(self, record: Token) -> SafeString:
        return scope_labels(record)

    def render_can_do(self, record: Token) -> str:
        return can_do(record, self.counter)

    def render_answer(self, record: Token) -> SafeString:
        """Buttons of the form above the table."""
        return format_html(
            '<button class="button small" form="answers" name="only" value="{0}" aria-label="{1}">{2}</button> '
            '<button class="button quiet small" form="answers" formaction="{3}" name="only" value="{0}"'
            ' aria-label="{4}">{5}</button>',
            record.pk,
            gettext("Confirm %(name)s") % {"name": record.name},
            gettext("Confirm"),
            reverse("tokens:expire_unneeded"),
            gettext("Expire %(name)s") % {"name": record.name},
            gettext("Expire"),
        )


def repeats(campaign: ReviewCampaign) -> str:
    if campaign.repeat_months is None:
        return gettext("Once")
    if campaign.repeat_months == 1:
        return gettext("Every month")
    return gettext("Every %(count)s months") % {"count": campaign.repeat_months}
