import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('auditlog', '0018_labels_of_fields'),
    ]

    operations = [
        migrations.CreateModel(
            name='LogPlace',
            fields=[
                ('reader', models.CharField(max_length=40, primary_key=True, serialize=False)),
                ('last_id', models.BigIntegerField()),
                ('started_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
    ]
