"""Who has a password has joined; who has none was invited, and waits."""

from django.db import migrations
from django.db.models import F

# As Django begins the passwords that nobody has (`django.contrib.auth.hashers.UNUSABLE_PASSWORD_PREFIX`).
NO_PASSWORD = "!"


def fill(apps, schema_editor):
    users = apps.get_model("accounts", "User").objects.filter(joined_at__isnull=True)
    users.exclude(password__startswith=NO_PASSWORD).update(joined_at=F("created_at"))


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_user_joined_at_and_expiry_mails"),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop, elidable=True),
    ]
