"""Renames the tables of this app to those of `core`, which has their models from now on. No row is touched."""

from django.db import migrations

MODELS = ["RateCount", "KeptAnswer", "OutgoingMail", "KeptForm", "Submission"]


class Migration(migrations.Migration):

    dependencies = [
        ("opsera_portal", "0006_queued_mails_into_outbox"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.AlterModelTable(name, f"core_{name.lower()}") for name in MODELS],
            state_operations=[migrations.DeleteModel(name) for name in MODELS],
        ),
    ]
