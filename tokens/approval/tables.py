"""The table of requests."""

from datetime import datetime
from typing import Any, ClassVar

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy, pgettext_lazy
from django_tables2 import Column

from core.pages.addresses import address_of
from core.pages.tables import BadgeColumn, MomentColumn, PersonColumn, PortalTable
from core.pages.templatetags.portal import moment, relative
from core.text import Text
from tokens.approval.models import ApprovalRequest
from tokens.tables import scope_labels


class ApprovalTable(PortalTable):
    """What waits comes first. Decided requests say by whom, when and why."""

    only_wide = ("scope",)
    first_line = ("token", "state")
    second_line: ClassVar[dict[str, Text]] = {
        "asked_by": "",
        "asked_at": pgettext_lazy("before a time", "Requested"),
        "reason": "",
    }

    token = Column(verbose_name=gettext_lazy("Token"), orderable=False)
    asked_by = PersonColumn("asked_by", verbose_name=gettext_lazy("Requested by"))
    scope = Column(verbose_name=gettext_lazy("Scopes"), empty_values=(), orderable=False)
    reason = Column(verbose_name=gettext_lazy("Why"), orderable=False)
    asked_at = MomentColumn(verbose_name=gettext_lazy("Requested"))
    state = BadgeColumn(verbose_name=gettext_lazy("State"), empty_values=(), orderable=False)

    class Meta:
        attrs = {"id": "approvals", "aria-label": gettext_lazy("Requests to approve a token")}
        empty_text = gettext_lazy("No request matches.")

    def row_attributes(self, record: ApprovalRequest) -> dict[str, Any]:
        return {"data-approval": record.pk, "data-state": record.state.value}

    def render_token(self, record: ApprovalRequest) -> SafeString:
        url = address_of("tokens:organization_approval_detail", record.pk)
        name = format_html('<a href="{}">{}</a>', url, record.token.name)
        if not record.token.owner.is_service_account:
            return name
        account = gettext("for %(account)s") % {"account": record.token.owner.name}
        return format_html('{} <span class="hint below">{}</span>', name, account)

    def render_scope(self, record: ApprovalRequest) -> SafeString:
        return scope_labels(record.token)

    def render_state(self, record: ApprovalRequest, column: BadgeColumn) -> SafeString:
        state = column.render(record.badge)
        if record.decided_by is None or record.decided_at is None:
            until = record.token.waits_until if record.is_waiting else None
            return format_html('{} <span class="hint below">{}</span>', state, _left(until)) if until else state
        by = gettext("by %(person)s") % {"person": record.decided_by.name}
        why = (
            format_html('<span class="hint below">{}</span>', record.decision_reason) if record.decision_reason else ""
        )
        return format_html('{} <span class="hint below">{} {}</span> {}', state, by, moment(record.decided_at), why)


def _left(until: datetime) -> SafeString | str:
    return moment(until, gettext("lapses %(when)s") % {"when": relative(until)})
