from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("pipelines", "0009_secret_headers_encrypted")]

    operations = [
        migrations.AddField("steprun", "step_public_id", models.UUIDField(editable=False, null=True)),
    ]
