import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Max

_SUM_BY_ORGANIZATION = """
    INSERT INTO auditlog_organizationusage (organization_id, day, allowed, refused)
    SELECT organization_id, day, SUM(allowed), SUM(refused) FROM auditlog_tokenusage
    WHERE organization_id IS NOT NULL GROUP BY organization_id, day
"""

_COUNT_SEALED = """
    INSERT INTO auditlog_tokenusage
      (token_id, owner_id, organization_id, day, ip, allowed, refused, after_end,
       first_at, last_at, first_after_end_at, last_after_end_at)
    SELECT token_id, {any}(owner_id{text}){uuid}, {any}(organization_id{text}){uuid}, {day}, {ip},
      SUM(CASE WHEN outcome = 'allowed' THEN 1 ELSE 0 END),
      SUM(CASE WHEN outcome = 'allowed' THEN 0 ELSE 1 END),
      SUM(CASE WHEN reason IN ('expired', 'revoked') THEN 1 ELSE 0 END),
      MIN(at), MAX(at),
      MIN(CASE WHEN reason IN ('expired', 'revoked') THEN at END),
      MAX(CASE WHEN reason IN ('expired', 'revoked') THEN at END)
    FROM auditlog_tokenuse WHERE id <= %s GROUP BY token_id, {day}, {ip}
"""
_DIALECTS = {
    "sqlite": {"any": "MAX", "text": "", "uuid": "", "day": "date(at)", "ip": "COALESCE(ip, '')"},
    "postgresql": {
        "any": "MAX",
        "text": "::text",
        "uuid": "::uuid",
        "day": "(at AT TIME ZONE 'UTC')::date",
        "ip": "COALESCE(host(ip), '')",
    },
}


def _last_sealed(apps):
    blocks = apps.get_model("auditlog", "Seal").objects.filter(log="authentication", kind="entries")
    return blocks.aggregate(last_id=Max("last_id"))["last_id"]


def continue_after_sealed(apps, schema_editor):
    """Until now an entry was counted when it was sealed."""
    last_id = _last_sealed(apps)
    if last_id is None:
        return
    newest = apps.get_model("auditlog", "TokenUse").objects.filter(id__lte=last_id).order_by("-id").first()
    apps.get_model("auditlog", "UsageProgress").objects.create(last_id=last_id, newest_at=newest and newest.at)
    schema_editor.execute(_SUM_BY_ORGANIZATION)


def count_only_sealed(apps, schema_editor):
    """Counts again what is sealed, because the older version counts the other entries when it seals them."""
    apps.get_model("auditlog", "TokenUsage").objects.all().delete()
    statement = _COUNT_SEALED.format(**_DIALECTS[schema_editor.connection.vendor])
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(statement, [_last_sealed(apps) or 0])


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0008_plain_field_texts"),
        ("auditlog", "0009_plain_labels"),
    ]

    operations = [
        migrations.CreateModel(
            name="OrganizationUsage",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("day", models.DateField()),
                ("allowed", models.PositiveIntegerField(default=0)),
                ("refused", models.PositiveIntegerField(default=0)),
                (
                    "organization",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="accounts.organization",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("organization", "day"), name="organizationusage_once"),
                ],
            },
        ),
        migrations.CreateModel(
            name="UsageProgress",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, editable=False, primary_key=True, serialize=False),
                ),
                ("last_id", models.BigIntegerField()),
                ("newest_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="usageprogress_is_one_row"),
                ],
            },
        ),
        migrations.RemoveIndex(model_name="tokenusage", name="tokenusage_org_day"),
        migrations.AddIndex(
            model_name="tokenusage",
            index=models.Index(fields=["organization", "day"], name="tokenusage_organization_day"),
        ),
        migrations.RunPython(continue_after_sealed, count_only_sealed),
    ]
