from django.db import migrations, models

import pipelines.models


class Migration(migrations.Migration):
    dependencies = [("pipelines", "0003_pipeline_lock_and_notified_people")]

    operations = [
        migrations.AddField(
            model_name="step",
            name="instructions",
            field=models.TextField(
                blank=True, help_text="For whoever approves: what to look at before.", max_length=500
            ),
        ),
        migrations.AddField(
            model_name="step",
            name="secret_headers",
            field=models.JSONField(blank=True, default=pipelines.models.no_headers, editable=False),
        ),
        migrations.AddField(
            model_name="steprun",
            name="decided_by_email",
            field=models.CharField(blank=True, max_length=254),
        ),
        migrations.AddField(
            model_name="steprun",
            name="instructions",
            field=models.TextField(
                blank=True, help_text="For whoever approves: what to look at before.", max_length=500
            ),
        ),
        migrations.AddField(
            model_name="steprun",
            name="secret_headers",
            field=models.JSONField(blank=True, default=pipelines.models.no_headers, editable=False),
        ),
        migrations.AlterField(
            model_name="step",
            name="kind",
            field=models.CharField(
                choices=[("http_call", "HTTP call"), ("approval", "Approval")], default="http_call", max_length=20
            ),
        ),
        migrations.AlterField(
            model_name="step",
            name="url",
            field=models.CharField(blank=True, max_length=2048, verbose_name="URL"),
        ),
        migrations.AlterField(
            model_name="steprun",
            name="kind",
            field=models.CharField(
                choices=[("http_call", "HTTP call"), ("approval", "Approval")], default="http_call", max_length=20
            ),
        ),
        migrations.AlterField(
            model_name="steprun",
            name="state",
            field=models.CharField(
                choices=[
                    ("waiting", "Waiting"),
                    ("running", "Running"),
                    ("paused", "Waiting for approval"),
                    ("success", "Success"),
                    ("failed", "Failed"),
                    ("skipped", "Not run"),
                ],
                default="waiting",
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="steprun",
            name="url",
            field=models.CharField(blank=True, max_length=2048, verbose_name="URL"),
        ),
    ]
