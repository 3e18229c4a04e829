from dataclasses import dataclass

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_tables2 import Column

from auditlog.models import Activity, TokenUse
from opsera_portal.pages.tables import BadgeColumn, CodeColumn, ExactMomentColumn, PortalTable


@dataclass(frozen=True)
class OutcomeLook:
    sign: str
    label: str
    tone: str


class OneTokenUseTable(PortalTable):
    """The log of one token."""

    at = ExactMomentColumn(verbose_name="Used on (UTC)")
    target = CodeColumn()
    status = Column(attrs={"td": {"class": "numeric"}, "th": {"class": "numeric"}})
    outcome = BadgeColumn(accessor="outcome")
    scope = Column()
    ip = CodeColumn(verbose_name="Address", default="–")
    user_agent = Column(verbose_name="Program", default="–")

    class Meta:
        orderable = False
        attrs = {"id": "authentication-log", "aria-label": "Authentication log"}
        row_attrs = {
            "data-request-id": lambda record: str(record.request_id),
            "data-outcome": lambda record: record.outcome,
        }
        empty_text = (
            "No use of a token matches. Each call made with a token stands here from the moment it is answered."
        )

    def render_target(self, record: TokenUse) -> SafeString:
        return format_html("<code>{} {}</code>", record.method, record.target)

    def render_outcome(self, record: TokenUse, column: BadgeColumn) -> SafeString:
        if record.outcome == TokenUse.Outcome.ALLOWED:
            return column.render(OutcomeLook("●", record.get_outcome_display(), "good"))
        return column.render(OutcomeLook("⊘", f"Refused: {record.get_reason_display().lower()}", "bad"))


class TokenUseTable(OneTokenUseTable):
    """The log of all of a person's tokens."""

    token_name = Column(verbose_name="Token")

    class Meta(OneTokenUseTable.Meta):
        sequence: tuple[str, ...] = ("at", "token_name", "...")

    def render_token_name(self, record: TokenUse) -> SafeString:
        url = reverse("tokens:token_detail", args=[record.token_id])
        return format_html('<a href="{}">{}</a>', url, record.token_name)


class OrganizationTokenUseTable(TokenUseTable):
    """The log of everyone's tokens; whether the reader may open a token's page is not decided here, so no link."""

    owner_email = Column(verbose_name="Owner")

    class Meta(TokenUseTable.Meta):
        sequence = ("at", "owner_email", "token_name", "...")
        exclude = ("scope",)

    def render_token_name(self, record: TokenUse) -> SafeString:
        # One column more than the owner's own log has, so the scopes stand below the name.
        return format_html('{}<br><span class="hint">{}</span>', record.token_name, record.scope)


class ActivityTable(PortalTable):
    at = ExactMomentColumn(verbose_name="When (UTC)")
    actor_email = Column(verbose_name="Who")
    action = Column()
    target_name = Column(verbose_name="What")
    token_name = Column(verbose_name="With token", default="–")
    ip = CodeColumn(verbose_name="Address", default="–")

    class Meta:
        orderable = False
        attrs = {"id": "activity-log", "aria-label": "Activity log"}
        empty_text = "No action matches."

    def render_action(self, record: Activity) -> str:
        return str(record.get_action_display())
