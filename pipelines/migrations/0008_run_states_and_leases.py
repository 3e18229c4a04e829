from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("pipelines", "0007_run_outlives_pipeline")]

    operations = [
        migrations.RemoveConstraint(
            model_name="run",
            name="run_only_one_running_in_pipeline",
        ),
        migrations.RemoveIndex(
            model_name="run",
            name="run_state",
        ),
        migrations.AddField(
            model_name="run",
            name="lease_ends_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="run",
            name="worker",
            field=models.CharField(blank=True, max_length=64),
        ),
        migrations.AlterField(
            model_name="run",
            name="outcome",
            field=models.CharField(
                blank=True,
                choices=[("success", "Success"), ("failed", "Failed"), ("stopped", "Stopped")],
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="run",
            name="state",
            field=models.CharField(
                choices=[
                    ("queued", "Queued"),
                    ("continuing", "Continuing"),
                    ("running", "Running"),
                    ("stopping", "Stopping"),
                    ("paused", "Waiting for approval"),
                    ("halted", "Halted"),
                    ("finished", "Finished"),
                ],
                default="queued",
                max_length=10,
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("state__in", ("queued", "continuing", "running", "stopping", "paused"))),
                fields=["state"],
                name="run_under_way",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["pipeline", "state"], name="run_pipeline_state"),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.UniqueConstraint(
                models.F("pipeline"),
                condition=models.Q(("state__in", ("continuing", "running", "stopping", "paused"))),
                name="run_only_one_under_way_in_pipeline",
            ),
        ),
    ]
