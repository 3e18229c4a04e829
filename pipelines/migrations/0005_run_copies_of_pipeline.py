import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial"), ("pipelines", "0004_step_gates_and_secret_headers")]

    operations = [
        migrations.AddField(
            model_name="run",
            name="organization",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.organization"
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="pipeline_name",
            field=models.CharField(max_length=100, null=True),
        ),
        migrations.AddField(
            model_name="run",
            name="pipeline_public_id",
            field=models.UUIDField(null=True),
        ),
    ]
