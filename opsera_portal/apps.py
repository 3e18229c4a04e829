from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class OpseraPortalConfig(AppConfig):
    name = "opsera_portal"
    verbose_name = "Opsera Portal"


class PortalAdminConfig(AdminConfig):
    default_site = "opsera_portal.admin_site.PortalAdminSite"
