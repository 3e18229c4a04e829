import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [migrations.swappable_dependency(settings.AUTH_USER_MODEL), ("pipelines", "0002_access_rules")]

    operations = [
        migrations.AddField(
            model_name="pipeline",
            name="locked_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="pipeline",
            name="locked_by_email",
            field=models.CharField(blank=True, editable=False, max_length=254),
        ),
        migrations.AddField(
            model_name="pipeline",
            name="notified_people",
            field=models.ManyToManyField(
                blank=True,
                help_text="Get an e-mail when a run fails and when a gate waits.",
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AlterConstraint(
            model_name="pipeline",
            name="pipeline_name_unique_in_organization",
            constraint=models.UniqueConstraint(
                models.F("organization"),
                django.db.models.functions.text.Lower("name"),
                name="pipeline_name_unique_in_organization",
                violation_error_message="This name cannot be used: it is taken. Choose another one.",
            ),
        ),
    ]
