"""Django admin for what belongs to no single app."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from accounts.models import Organization
from accounts.querysets import undelivered_mails_readable_by
from core.admin_site import ReadOnlyAdmin
from core.badges import Badge
from core.http.request_context import person_of
from core.models import OutgoingMail
from core.pages.templatetags.portal import badge
from tokens.policy.admin import OrganizationPolicyAdmin

admin.site.register(Organization, OrganizationPolicyAdmin)

MAIL_BADGES: dict[str, Badge] = {
    OutgoingMail.State.WAITING: Badge("◌", OutgoingMail.State.WAITING.label, "waiting"),
    OutgoingMail.State.SENT: Badge("●", OutgoingMail.State.SENT.label, "good"),
    OutgoingMail.State.FAILED: Badge("⊘", OutgoingMail.State.FAILED.label, "bad"),
}


@admin.register(OutgoingMail)
class OutgoingMailAdmin(ReadOnlyAdmin):
    """Operators see every mail of the last 30 days, Administrators those on their organization's page."""

    list_display = ["created_at", "kind", "address", "state_badge", "attempts", "next_attempt_at", "last_error"]
    list_filter = ["state"]
    search_fields = ["kind", "email", "person__email"]
    list_select_related = ["person"]
    show_full_result_count = False
    list_per_page = 50
    ordering = ["-created_at", "-pk"]

    @admin.display(description="State", ordering="state")
    def state_badge(self, mail: OutgoingMail) -> SafeString:
        return badge(MAIL_BADGES[mail.state])

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        person = person_of(request)
        return OutgoingMail.objects.all() if person.is_superuser else undelivered_mails_readable_by(person)
