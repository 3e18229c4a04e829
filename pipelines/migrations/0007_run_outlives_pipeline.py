import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("pipelines", "0006_run_copies_filled")]

    operations = [
        migrations.AlterField(
            model_name="run",
            name="pipeline",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="runs",
                to="pipelines.pipeline",
            ),
        ),
        migrations.AlterField(
            model_name="run",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.organization"
            ),
        ),
        migrations.AlterField(
            model_name="run",
            name="pipeline_name",
            field=models.CharField(max_length=100),
        ),
        migrations.AlterField(
            model_name="run",
            name="pipeline_public_id",
            field=models.UUIDField(),
        ),
    ]
