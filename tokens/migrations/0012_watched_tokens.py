import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("tokens", "0011_token_created_by"),
    ]

    operations = [
        migrations.CreateModel(
            name='WatchedToken',
            fields=[
                ('token', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='watched', serialize=False, to='tokens.token')),
                ('was_used', models.BooleanField(default=False)),
                ('was_refused', models.BooleanField(default=False)),
                ('is_told_in_use_after_end', models.BooleanField(default=False)),
                ('networks', models.JSONField(default=list)),
                ('refused_hour', models.DateTimeField(null=True)),
                ('refused_in_hour', models.PositiveIntegerField(default=0)),
            ],
        ),
    ]
