import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import core.db.uuid7
TYPES = [
    ("authentication", "Authentication"),
    ("token", "Token"),
    ("user", "User"),
    ("group", "Group"),
    ("policy", "Policy"),
    ("pipeline", "Pipeline"),
]
ACTIONS = [
    ("authentication.signed_in", "Signed in"),
    ("authentication.signed_out", "Signed out"),
    ("authentication.failed", "Failed sign-in"),
    ("token.issued", "Token created"),
    ("token.revealed", "Token shown"),
    ("token.revoked", "Token expired early"),
    ("user.created", "User created"),
    ("user.invited", "Invitation sent"),
    ("user.changed", "User changed"),
    ("user.role_changed", "Site role changed"),
    ("user.activated", "User activated"),
    ("user.deactivated", "User deactivated"),
    ("group.created", "Group created"),
    ("group.changed", "Group changed"),
    ("group.deleted", "Group deleted"),
    ("policy.changed", "Token policy changed"),
    ("pipeline.created", "Pipeline created"),
    ("pipeline.edited", "Pipeline edited"),
    ("pipeline.deleted", "Pipeline deleted"),
    ("pipeline.duplicated", "Pipeline duplicated"),
    ("pipeline.transferred", "Pipeline transferred"),
    ("pipeline.access_rules_changed", "Access rules changed"),
    ("pipeline.locked", "Pipeline locked"),
    ("pipeline.unlocked", "Pipeline unlocked"),
    ("pipeline.started", "Pipeline run started"),
    ("pipeline.stopped", "Pipeline stopped"),
    ("pipeline.resumed", "Pipeline resumed"),
    ("pipeline.reset", "Pipeline reset"),
    ("pipeline.approved", "Gate approved"),
    ("pipeline.rejected", "Gate rejected"),
]
COPIED = (
    "at, actor_email, account, type, action, target_id, target_name, token_name, ip, request_id, details, "
    "organization_id, token_id"
)


def copy(apps, schema_editor):
    """In the order in which they happened; what was the key becomes the public id."""
    schema_editor.execute(
        f"INSERT INTO auditlog_numberedactivity (public_id, actor_id, {COPIED}) "
        f"SELECT id, actor_public_id, {COPIED} FROM auditlog_activity ORDER BY at, id"
    )


def copy_back(apps, schema_editor):
    # The links first: they must be null where the row is gone.
    schema_editor.execute(
        f"INSERT INTO auditlog_activity (id, actor_public_id, actor_id, {COPIED}) "
        "SELECT public_id, actor_id, (SELECT id FROM accounts_user WHERE id = actor_id), "
        "at, actor_email, account, type, action, target_id, target_name, token_name, ip, request_id, details, "
        "(SELECT id FROM accounts_organization WHERE id = organization_id), "
        "(SELECT id FROM tokens_token WHERE id = token_id) FROM auditlog_numberedactivity"
    )


def link(to, **options):
    return models.ForeignKey(
        to, on_delete=django.db.models.deletion.DO_NOTHING, db_constraint=False, db_index=False, **options
    )


class Migration(migrations.Migration):
    """Actions are numbered as they arrive, like uses of tokens: seals go by the number.

    No database can give an existing table another key by itself, so a new one takes the entries over.
    """

    dependencies = [
        ("auditlog", "0003_token_use_keeps_its_ids"),
        ("accounts", "0001_initial"),
        ("tokens", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="NumberedActivity",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                ("account", models.CharField(blank=True, max_length=50)),
                ("ip", models.GenericIPAddressField(null=True)),
                (
                    "public_id",
                    models.UUIDField(default=core.db.uuid7.uuid7, editable=False, unique=True),
                ),
                ("actor_email", models.CharField(max_length=254)),
                ("type", models.CharField(choices=TYPES, max_length=20)),
                ("action", models.CharField(choices=ACTIONS, max_length=40)),
                ("target_id", models.CharField(max_length=64)),
                ("target_name", models.CharField(max_length=254)),
                ("token_name", models.CharField(blank=True, max_length=50)),
                ("request_id", models.UUIDField(db_index=True, null=True)),
                ("details", models.JSONField(blank=True, default=dict)),
                ("actor", link(settings.AUTH_USER_MODEL, related_name="activity")),
                ("organization", link("accounts.organization", null=True, related_name="+")),
                ("token", link("tokens.token", null=True, related_name="+")),
            ],
            options={
                "verbose_name": "action",
                "verbose_name_plural": "activity log",
                "ordering": ["-at", "-id"],
                "abstract": False,
            },
        ),
        migrations.RunPython(copy, copy_back, elidable=False),
        migrations.DeleteModel(name="Activity"),
        migrations.RenameModel(old_name="NumberedActivity", new_name="Activity"),
        migrations.AddIndex(
            model_name="activity",
            index=models.Index(fields=["actor", "-at", "-id"], name="activity_by_actor"),
        ),
        migrations.AddIndex(
            model_name="activity",
            index=models.Index(fields=["organization", "-at", "-id"], name="activity_by_organization"),
        ),
    ]
