"""Services in Django admin: to look at. The portal's own pages change them."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from core.admin_site import ReadOnlyAdmin
from core.http.request_context import person_of
from core.pages.templatetags.portal import badge
from gateway.models import Service, ServiceCredential, ServiceRule
from gateway.querysets import ServiceCredentialQuerySet, ServiceQuerySet, ServiceRuleQuerySet
from gateway.tables import SERVICE_BADGES


def _managed(request: HttpRequest) -> ServiceQuerySet:
    return Service.objects.manageable_by(person_of(request))


@admin.register(Service)
class ServiceAdmin(ReadOnlyAdmin):
    list_display = ["name", "organization", "slug", "check_by", "state_badge", "created_at"]
    list_filter = ["check_by", "is_enabled"]
    search_fields = ["name", "slug", "organization__name"]
    list_select_related = ["organization"]
    exclude = ["name_key"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Service]:
        return _managed(request)

    @admin.display(description="State", ordering="is_enabled")
    def state_badge(self, service: Service) -> SafeString:
        return badge(SERVICE_BADGES[service.is_enabled])


@admin.register(ServiceRule)
class ServiceRuleAdmin(ReadOnlyAdmin):
    list_display = ["service", "subject_name", "created_at"]
    search_fields = ["service__name", "user__email", "group__name"]
    list_select_related = ["service", "user", "group"]

    def get_queryset(self, request: HttpRequest) -> ServiceRuleQuerySet:
        return ServiceRule.objects.filter(service__in=_managed(request).order_by().values("pk"))


@admin.register(ServiceCredential)
class ServiceCredentialAdmin(ReadOnlyAdmin):
    list_display = ["service", "created_at", "ends_at", "last_used_at"]
    search_fields = ["service__name"]
    list_select_related = ["service"]
    # With the digest, somebody could recognize a secret.
    exclude = ["digest"]

    def get_queryset(self, request: HttpRequest) -> ServiceCredentialQuerySet:
        return ServiceCredential.objects.filter(service__in=_managed(request).order_by().values("pk"))
