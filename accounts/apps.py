from allauth.usersessions.apps import UserSessionsConfig
from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "Accounts"


class PortalUserSessionsConfig(UserSessionsConfig):
    """allauth's table of sessions without its receivers, which store the session keys themselves.

    `accounts/security/sessions.py` writes and removes the rows instead.
    """

    def ready(self) -> None:
        pass
