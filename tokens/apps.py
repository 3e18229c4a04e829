from django.apps import AppConfig


class TokensConfig(AppConfig):
    name = "tokens"
    verbose_name = "Access tokens"

    def ready(self) -> None:
        # Here and not above: what they import needs the models, which are loaded only now.
        from accounts import credentials
        from auditlog import upkeep
        from tokens import expiry, key_care, services, unused

        upkeep.register("expiry notices", expiry.put_due, every=expiry.EVERY)
        upkeep.register("signing keys", key_care.look_after, every=key_care.EVERY)
        upkeep.register("unused tokens", unused.end_unused, every=unused.EVERY)
        credentials.ends_tokens(services.revoke_own)
