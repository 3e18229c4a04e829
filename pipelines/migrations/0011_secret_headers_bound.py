import logging
import uuid

from cryptography.fernet import Fernet, MultiFernet
from django.db import migrations

from core.encryption import SecretUnreadable
from pipelines import step_secrets

logger = logging.getLogger(__name__)
PLACE = "secret_headers"


def with_secrets(apps):
    """Steps, and steps of runs, each with the identity that its secrets are bound to."""
    for step in apps.get_model("pipelines", "Step").objects.exclude(**{PLACE: {}}).iterator():
        step.identity = (str(step.pipeline_id), str(step.pk))
        yield step
    for step in apps.get_model("pipelines", "StepRun").objects.exclude(**{PLACE: {}}).select_related("run").iterator():
        # Which step it is a copy of was not kept. From now on an id of its own stands for it.
        step.step_public_id = step.step_public_id or uuid.uuid4()
        step.identity = (str(step.run.pipeline_public_id), str(step.step_public_id))
        yield step


def save(step):
    fields = [PLACE, "step_public_id"] if hasattr(step, "step_public_id") else [PLACE]
    step.save(update_fields=fields)


def bind(apps, schema_editor):
    """Binds each value to its pipeline, step, server and name. A value that no key decrypts stays as it is: it is not
    accepted any more, and `reencrypt_step_secrets --accept-unbound` converts it once the key is there again."""
    for step in with_secrets(apps):
        try:
            setattr(step, PLACE, step_secrets.encrypt_again(step, PLACE, accept_unbound=True))
        except SecretUnreadable:
            logger.warning("No key decrypts the secret headers of %s %s.", step._meta.object_name, step.pk)
        save(step)


def unbind(apps, schema_editor):
    """Writes the format that the code before this migration reads. Values that are missing or that no key decrypts stay
    as they are: the step does not run without them."""
    fernet = MultiFernet([Fernet(key) for key in step_secrets.BOX.keys()])
    for step in with_secrets(apps):
        values = step_secrets.readable(step, PLACE)
        unbound = {name: fernet.encrypt(value.encode()).decode() for name, value in values.items()}
        setattr(step, PLACE, {**getattr(step, PLACE), **unbound})
        save(step)


class Migration(migrations.Migration):
    dependencies = [("pipelines", "0010_step_run_names_its_step")]

    operations = [migrations.RunPython(bind, unbind)]
