import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0017_notifications_and_webhooks"),
    ]

    operations = [
        migrations.AddField(
            model_name='organization',
            name='approval_for_service_accounts',
            field=models.BooleanField(default=False, help_text='A second person must approve each new token of a service account.', verbose_name='tokens of service accounts need approval'),
        ),
        migrations.AddField(
            model_name='organization',
            name='approval_lifetime_days',
            field=models.PositiveSmallIntegerField(blank=True, help_text='1 to 366, or empty. A second person must approve new tokens with a longer lifetime.', null=True, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(366)], verbose_name='lifetime above which tokens need approval, in days'),
        ),
        migrations.AddField(
            model_name='organization',
            name='approval_scopes',
            field=models.CharField(blank=True, default='', help_text='Separated by spaces. A second person must approve new tokens with one of these scopes.', max_length=200, verbose_name='scopes that need approval'),
        ),
        migrations.AddConstraint(
            model_name='organization',
            constraint=models.CheckConstraint(condition=models.Q(('approval_lifetime_days__isnull', True), models.Q(('approval_lifetime_days__gte', 1), ('approval_lifetime_days__lte', 366)), _connector='OR'), name='organization_approval_above_1_to_366_days'),
        ),
    ]
