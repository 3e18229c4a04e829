from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("pipelines", "0015_message_of_a_name_in_use")]

    operations = [
        migrations.AddField(
            model_name="run",
            name="attempt",
            field=models.PositiveIntegerField(default=0),
        ),
    ]
