from datetime import timedelta

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        # Here and not above: what they import needs the models, which are loaded only now.
        from accounts import kept_forms, sessions, signals  # noqa: F401  (which connects its receivers)
        from auditlog import upkeep

        upkeep.register("past sessions", sessions.forget_past_sessions, every=timedelta(hours=1))
        upkeep.register("kept forms", kept_forms.forget_old, every=timedelta(hours=1))
