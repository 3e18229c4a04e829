import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """Links that keep their id when the row they point at goes, in place of a link and a copy of the id beside it."""

    dependencies = [
        ("auditlog", "0002_more_actions"),
        ("accounts", "0001_initial"),
        ("tokens", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveIndex(model_name="tokenuse", name="tokenuse_token_newest"),
        migrations.RemoveField(model_name="tokenuse", name="token"),
        migrations.RenameField(model_name="tokenuse", old_name="token_public_id", new_name="token"),
        migrations.AlterField(
            model_name="tokenuse",
            name="token",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="uses",
                to="tokens.token",
            ),
        ),
        migrations.AlterField(
            model_name="tokenuse",
            name="owner",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="token_uses",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AlterField(
            model_name="tokenuse",
            name="organization",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="accounts.organization",
            ),
        ),
        migrations.AlterField(
            model_name="tokenuse", name="at", field=models.DateTimeField(default=django.utils.timezone.now)
        ),
        migrations.AlterField(
            model_name="tokenuse", name="account", field=models.CharField(blank=True, max_length=50)
        ),
        migrations.AddIndex(
            model_name="tokenuse",
            index=models.Index(fields=["token", "-at", "-id"], name="tokenuse_token_newest"),
        ),
    ]
