from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("core", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="outgoingmail",
            name="unfinished_attempts",
            field=models.PositiveIntegerField(default=0),
        ),
    ]
