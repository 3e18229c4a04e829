from django.db import migrations, models

import pipelines.models


def secrets():
    return models.JSONField(blank=True, default=pipelines.models.no_headers, editable=False)


class Migration(migrations.Migration):
    dependencies = [("pipelines", "0012_run_is_continued_by")]

    operations = [
        migrations.AddField("step", "secret_query", secrets()),
        migrations.AddField("step", "secret_body", secrets()),
        migrations.AddField("steprun", "secret_query", secrets()),
        migrations.AddField("steprun", "secret_body", secrets()),
        migrations.AddField("steprun", "response_bytes", models.PositiveIntegerField(null=True)),
        migrations.AddField("runlogline", "answer", models.TextField(blank=True, default=""), preserve_default=False),
    ]
