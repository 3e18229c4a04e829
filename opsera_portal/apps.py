from datetime import timedelta

from allauth.usersessions.apps import UserSessionsConfig
from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.urls import register_converter


class OpseraPortalConfig(AppConfig):
    name = "opsera_portal"
    verbose_name = "Opsera Portal"

    def ready(self) -> None:
        from auditlog import upkeep
        from opsera_portal import checks, ids, limits  # noqa: F401  (which registers its checks)
        from opsera_portal.api import idempotency
        from opsera_portal.mail import delivery
        from opsera_portal.pages import submissions

        register_converter(ids.IdConverter, "id")
        upkeep.register("Past limits", limits.forget_past_windows, every=timedelta(hours=1))
        upkeep.register("Kept answers", idempotency.forget_old, every=timedelta(hours=1))
        upkeep.register("past submissions", submissions.forget_past, every=timedelta(hours=1))
        upkeep.register("mail", delivery.send_due, every=delivery.EVERY)
        upkeep.register("past mail", delivery.forget_old, every=timedelta(hours=1))


class PortalAdminConfig(AdminConfig):
    default_site = "opsera_portal.admin_site.PortalAdminSite"


class PortalUserSessionsConfig(UserSessionsConfig):
    """allauth's table of sessions without its receivers, which would store the session keys themselves.

    `accounts/sessions.py` writes and removes the rows.
    """

    def ready(self) -> None:
        pass
