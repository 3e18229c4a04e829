from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tokens", "0002_expiry_notice"),
    ]

    operations = [
        migrations.AddField(
            model_name="token",
            name="description",
            field=models.CharField(blank=True, default="", max_length=500),
        ),
    ]
