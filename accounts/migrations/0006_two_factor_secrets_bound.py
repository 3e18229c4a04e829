import logging

from cryptography.fernet import Fernet, MultiFernet
from django.db import migrations

from accounts.security import two_factor_secrets
from core.encryption import SecretUnreadable

logger = logging.getLogger(__name__)


def bind(apps, schema_editor):
    """Binds each seed to its owner. A seed that no key decrypts stays as it is: it is not accepted any more, and
    `reencrypt_two_factor --accept-unbound` converts it once the key is there again."""
    for app in apps.get_model("mfa", "Authenticator").objects.filter(type="totp").iterator():
        try:
            app.data["secret"] = two_factor_secrets.seal_again(app, accept_unbound=True)
        except SecretUnreadable:
            logger.warning("No key decrypts the two-factor of user %s.", app.user_id)
            continue
        app.save(update_fields=["data"])


def unbind(apps, schema_editor):
    """Writes the format that the code before this migration reads."""
    fernet = MultiFernet([Fernet(key) for key in two_factor_secrets.BOX.keys()])
    for app in apps.get_model("mfa", "Authenticator").objects.filter(type="totp").iterator():
        try:
            seed = two_factor_secrets.open_seed(app)
        except SecretUnreadable:
            continue
        app.data["secret"] = fernet.encrypt(seed.encode()).decode()
        app.save(update_fields=["data"])


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_fill_joined_at"),
        ("mfa", "0003_authenticator_type_uniq"),
    ]

    operations = [migrations.RunPython(bind, unbind)]
