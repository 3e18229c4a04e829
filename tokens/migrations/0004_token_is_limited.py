from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tokens', '0003_token_description'),
    ]

    operations = [
        migrations.AddField(
            model_name='token',
            name='is_limited',
            field=models.BooleanField(default=False, verbose_name='reaches only chosen pipelines'),
        ),
    ]
