from django.db import migrations, models

import accounts.models


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0014_organization_provider"),
    ]

    operations = [
        migrations.AddField(
            model_name='group',
            name='external_id',
            field=models.CharField(blank=True, editable=False, help_text='As SCIM sent it.', max_length=255, verbose_name='id at the identity provider'),
        ),
        migrations.AddField(
            model_name='user',
            name='external_id',
            field=models.CharField(blank=True, editable=False, help_text='As SCIM sent it.', max_length=255, verbose_name='id at the identity provider'),
        ),
        migrations.AddField(
            model_name='user',
            name='deprovisioned_at',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddConstraint(
            model_name='user',
            constraint=models.CheckConstraint(condition=models.Q(('deprovisioned_at__isnull', True), ('is_active', False), _connector='OR'), name='user_deprovisioned_is_not_active'),
        ),
        migrations.AlterField(
            model_name='organization',
            name='allowed_scopes',
            field=models.CharField(default=accounts.models.scopes_of_new_organization, help_text='Separated by spaces. Tokens with any other scope are blocked from their next use on.', max_length=200, verbose_name='scopes that tokens may have'),
        ),
    ]
