from typing import Any, ClassVar

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy, pgettext_lazy
from django_tables2 import Column

from core.badges import Badge
from core.pages.addresses import address_of
from core.pages.tables import BadgeColumn, MomentColumn, PortalTable
from core.text import Text, counted, first_of, grouped
from gateway.models import Check, Service

NUMERIC = {"td": {"class": "numeric"}, "th": {"class": "numeric"}}
SERVICE_BADGES = {
    True: Badge("●", pgettext_lazy("state of a service", "On"), "good"),
    False: Badge("‖", pgettext_lazy("state of a service", "Off"), "neutral"),
}
# The labels of `Check` are sentences.
CHECKS: dict[str, Text] = {
    Check.FORWARD_AUTH: gettext_lazy("Forward auth"),
    Check.INTROSPECTION: gettext_lazy("Introspection"),
    Check.STATUS_LIST: gettext_lazy("Status list"),
}
ROLES_LISTED = 3
_REFUSED = gettext_lazy("Refused lately")


class ServiceTable(PortalTable):
    only_wide = ("slug", "check_by", "scopes", "used_by")
    first_line = ("is_enabled",)
    second_line: ClassVar[dict[str, Text]] = {"last_use": gettext_lazy("Last use"), "lately_refused": _REFUSED}

    name = Column(verbose_name=gettext_lazy("Service"), orderable=False)
    slug = Column(verbose_name=gettext_lazy("Short name"), orderable=False)
    check_by = Column(verbose_name=gettext_lazy("Checks by"), orderable=False)
    scopes = Column(verbose_name=gettext_lazy("Scopes"), attrs=NUMERIC, empty_values=(), orderable=False)
    used_by = Column(verbose_name=gettext_lazy("Who may use it"), empty_values=(), orderable=False)
    is_enabled = BadgeColumn(verbose_name=gettext_lazy("State"), orderable=False)
    last_use = MomentColumn(verbose_name=gettext_lazy("Last use"), orderable=False)
    lately_refused = Column(verbose_name=_REFUSED, attrs=NUMERIC, orderable=False)

    class Meta:
        attrs = {"id": "services", "aria-label": gettext_lazy("Services")}
        empty_text = gettext_lazy("No services yet. A service is a program that your tokens open.")

    def row_attributes(self, record: Service) -> dict[str, Any]:
        return {"data-service": record.pk}

    def render_name(self, record: Service) -> SafeString:
        return format_html('<a href="{}">{}</a>', address_of("gateway:organization_service_detail", record.pk), record)

    def render_slug(self, value: str) -> SafeString:
        return format_html("<code>{}</code>", value)

    def render_check_by(self, record: Service) -> Text:
        return CHECKS[record.check_by]

    def render_scopes(self, record: Service) -> str:
        return str(len(record.scopes))

    def render_used_by(self, record: Any) -> str:
        return who_may_use(record, record.rule_count)

    def render_is_enabled(self, record: Service, column: BadgeColumn) -> SafeString:
        return column.render(SERVICE_BADGES[record.is_enabled])

    def render_lately_refused(self, record: Any) -> str:
        return grouped(record.lately_refused)


def who_may_use(service: Service, rule_count: int) -> str:
    """“Administrator, User, 3 people or groups”; “Nobody” without either."""
    roles = [str(role.label) for role in service.role_list]
    words = [first_of(roles, ROLES_LISTED, total=len(roles))] if roles else []
    if rule_count:
        words.append(counted(rule_count, "person or group", "people or groups"))
    return ", ".join(words) or gettext("Nobody")
