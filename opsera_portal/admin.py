"""Django admin for what belongs to no single app."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.models import Organization
from accounts.querysets import undelivered_mails_readable_by
from core.admin_site import ReadOnlyAdmin
from core.http.request_context import person_of
from core.models import OutgoingMail
from tokens.policy.admin import OrganizationPolicyAdmin

admin.site.register(Organization, OrganizationPolicyAdmin)


@admin.register(OutgoingMail)
class OutgoingMailAdmin(ReadOnlyAdmin):
    """Operators see every mail of the last 30 days, Administrators those on their organization's page."""

    list_display = ["created_at", "kind", "address", "state", "attempts", "next_attempt_at", "last_error"]
    list_filter = ["state"]
    search_fields = ["kind", "email", "person__email"]
    list_select_related = ["person"]
    show_full_result_count = False
    list_per_page = 50
    ordering = ["-created_at", "-pk"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        person = person_of(request)
        return OutgoingMail.objects.all() if person.is_superuser else undelivered_mails_readable_by(person)
