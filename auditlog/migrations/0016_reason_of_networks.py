
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('auditlog', '0015_action_of_replaced_tokens'),
    ]

    operations = [
        migrations.AlterField(
            model_name='tokenuse',
            name='reason',
            field=models.CharField(choices=[('ok', 'OK'), ('insufficient_scope', 'Scope not sufficient'), ('forbidden', 'Forbidden'), ('expired', 'Token expired'), ('revoked', 'Token expired early'), ('not_revealed', 'Token never shown'), ('owner_deactivated', 'Owner deactivated'), ('blocked_by_policy', 'Blocked by policy'), ('network_not_allowed', 'Wrong network'), ('throttled', 'Too many requests'), ('invalid_request', 'Invalid request'), ('conflict', 'Conflict'), ('not_found', 'No such operation'), ('error', 'Error in the portal')], max_length=20),
        ),
    ]
