import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('pipelines', '0017_runs_of_an_organization_newest_first'),
        ('tokens', '0004_token_is_limited'),
    ]

    operations = [
        migrations.CreateModel(
            name='TokenPipeline',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('pipeline', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='token_links', to='pipelines.pipeline')),
                ('token', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='pipeline_links', to='tokens.token')),
            ],
            options={
                'ordering': ['id'],
                'constraints': [models.UniqueConstraint(models.F('token'), models.F('pipeline'), name='token_pipeline_once')],
            },
        ),
    ]
