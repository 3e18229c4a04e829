import contextlib

from cryptography.fernet import Fernet, MultiFernet
from django.db import migrations

from pipelines import step_secrets
from pipelines.http_step import is_secret_name


def fernet():
    """The format of that time. A later migration replaces it."""
    return MultiFernet([Fernet(key) for key in step_secrets.BOX.keys()])


def encrypt(apps, schema_editor):
    """Values of headers that carry secrets by their name, which were kept as they were typed."""
    for name in ("Step", "StepRun"):
        for step in apps.get_model("pipelines", name).objects.exclude(headers={}).iterator():
            secret = {header: value for header, value in step.headers.items() if is_secret_name(header)}
            if secret:
                step.secret_headers = {
                    header: fernet().encrypt(value.encode()).decode() for header, value in secret.items()
                }
                step.headers = {header: value for header, value in step.headers.items() if header not in secret}
                step.save(update_fields=["headers", "secret_headers"])


def decrypt(apps, schema_editor):
    """Back into the column that the code before this migration reads."""
    for name in ("Step", "StepRun"):
        for step in apps.get_model("pipelines", name).objects.exclude(secret_headers={}).iterator():
            secret = {}
            for header, value in step.secret_headers.items():
                # A value that is missing or unreadable has no place in the plain headers.
                with contextlib.suppress(step_secrets.SecretUnreadable):
                    secret[header] = step_secrets.BOX.decrypt_unbound(value)
            step.headers = {**step.headers, **secret}
            step.secret_headers = {}
            step.save(update_fields=["headers", "secret_headers"])


class Migration(migrations.Migration):
    dependencies = [("pipelines", "0008_run_states_and_leases")]

    operations = [migrations.RunPython(encrypt, decrypt)]
