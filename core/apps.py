from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.urls import register_converter
from django.utils.module_loading import autodiscover_modules

from core.ids import IdConverter


class CoreConfig(AppConfig):
    """Imports the modules that register something. Each app can have one of each name."""

    name = "core"
    verbose_name = "Shared"

    def ready(self) -> None:
        register_converter(IdConverter, "id")
        autodiscover_modules("checks", "jobs", "mails", "signals")


class PortalAdminConfig(AdminConfig):
    default_site = "core.admin_site.PortalAdminSite"
