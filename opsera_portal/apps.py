from django.apps import AppConfig


class OpseraPortalConfig(AppConfig):
    """Pages, commands and Django admin that know every app."""

    name = "opsera_portal"
    verbose_name = "Opsera Portal"
