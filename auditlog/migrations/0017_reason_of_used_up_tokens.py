
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('auditlog', '0016_reason_of_networks'),
    ]

    operations = [
        migrations.AlterField(
            model_name='tokenuse',
            name='reason',
            field=models.CharField(choices=[('ok', 'OK'), ('insufficient_scope', 'Scope not sufficient'), ('forbidden', 'Forbidden'), ('expired', 'Token expired'), ('revoked', 'Token expired early'), ('not_revealed', 'Token never shown'), ('owner_deactivated', 'Owner deactivated'), ('blocked_by_policy', 'Blocked by policy'), ('network_not_allowed', 'Wrong network'), ('used_up', 'No use left'), ('throttled', 'Too many requests'), ('invalid_request', 'Invalid request'), ('conflict', 'Conflict'), ('not_found', 'No such operation'), ('error', 'Error in the portal')], max_length=20),
        ),
    ]
