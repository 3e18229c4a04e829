
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tokens', '0006_token_replacement'),
    ]

    operations = [
        migrations.AddField(
            model_name='token',
            name='networks',
            field=models.TextField(blank=True, default='', verbose_name='can be used only from'),
        ),
    ]
