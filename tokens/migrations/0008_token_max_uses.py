
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0009_language_and_time_zone'),
        ('tokens', '0007_token_networks'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='token',
            name='max_uses',
            field=models.PositiveIntegerField(null=True),
        ),
        migrations.AddField(
            model_name='token',
            name='use_count',
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddConstraint(
            model_name='token',
            constraint=models.CheckConstraint(condition=models.Q(('max_uses__isnull', True), ('use_count__lte', models.F('max_uses')), _connector='OR'), name='token_used_at_most_so_often'),
        ),
    ]
