import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0012_max_replacement_overlap"),
    ]

    operations = [
        migrations.CreateModel(
            name='ServiceAccount',
            fields=[
                ('user', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='service_account', serialize=False, to=settings.AUTH_USER_MODEL)),
                ('description', models.CharField(blank=True, default='', max_length=500)),
            ],
            options={
                'ordering': ['user'],
            },
        ),
        migrations.AddField(
            model_name='organization',
            name='max_service_token_lifetime_days',
            field=models.PositiveSmallIntegerField(default=92, help_text='1 to 366. Their tokens with a longer lifetime are blocked from their next use on.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(366)], verbose_name="longest lifetime of a service account's token, in days"),
        ),
        migrations.AddField(
            model_name='organization',
            name='orphaned_service_tokens_end_after_days',
            field=models.PositiveSmallIntegerField(blank=True, help_text='1 to 366, or empty: they work on, although nobody active is responsible.', null=True, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(366)], verbose_name='days after which tokens of an orphaned service account expire'),
        ),
        migrations.AddField(
            model_name='organization',
            name='service_token_creators',
            field=models.CharField(choices=[('responsible', 'Responsible people and Administrators'), ('administrators', 'Only Administrators')], default='responsible', help_text='Responsible people can always expire them.', max_length=20, verbose_name='who creates tokens of service accounts'),
        ),
        migrations.AddField(
            model_name='user',
            name='is_service_account',
            field=models.BooleanField(default=False, editable=False, help_text='For machines: owns tokens and never signs in.', verbose_name='service account'),
        ),
        migrations.AddField(
            model_name='user',
            name='orphaned_at',
            field=models.DateTimeField(editable=False, help_text='Since when no responsible person of the service account is active.', null=True, verbose_name='orphaned'),
        ),
        migrations.AddIndex(
            model_name='user',
            index=models.Index(condition=models.Q(('is_service_account', True)), fields=['organization'], name='user_service_accounts'),
        ),
        migrations.AddConstraint(
            model_name='organization',
            constraint=models.CheckConstraint(condition=models.Q(('max_service_token_lifetime_days__gte', 1), ('max_service_token_lifetime_days__lte', 366)), name='organization_max_service_token_lifetime_1_to_366_days'),
        ),
        migrations.AddConstraint(
            model_name='organization',
            constraint=models.CheckConstraint(condition=models.Q(('orphaned_service_tokens_end_after_days__isnull', True), models.Q(('orphaned_service_tokens_end_after_days__gte', 1), ('orphaned_service_tokens_end_after_days__lte', 366)), _connector='OR'), name='organization_orphaned_tokens_end_after_1_to_366_days'),
        ),
        migrations.AddConstraint(
            model_name='organization',
            constraint=models.CheckConstraint(condition=models.Q(('service_token_creators__in', ['responsible', 'administrators'])), name='organization_service_token_creators_known'),
        ),
        migrations.AddConstraint(
            model_name='user',
            constraint=models.CheckConstraint(condition=models.Q(('is_service_account', False), models.Q(('is_superuser', False), ('last_login__isnull', True), ('password__startswith', '!'), models.Q(('site_role', 'administrator'), _negated=True)), _connector='OR'), name='user_service_account_never_signs_in', violation_error_message='A service account has no password, never signs in and is no Administrator.'),
        ),
        migrations.AddConstraint(
            model_name='user',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('email__endswith', '@service-account.invalid'), ('is_service_account', True)), models.Q(('is_service_account', False), models.Q(('email__endswith', '@service-account.invalid'), _negated=True)), _connector='OR'), name='user_service_account_has_its_address', violation_error_message='Only service accounts have such an address.'),
        ),
        migrations.AddConstraint(
            model_name='user',
            constraint=models.CheckConstraint(condition=models.Q(('orphaned_at__isnull', True), ('is_service_account', True), _connector='OR'), name='user_orphaned_only_service_accounts', violation_error_message='Only a service account can be orphaned.'),
        ),
        migrations.AddField(
            model_name='serviceaccount',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='serviceaccount',
            name='responsible',
            field=models.ManyToManyField(blank=True, related_name='responsible_for', to=settings.AUTH_USER_MODEL),
        ),
    ]
