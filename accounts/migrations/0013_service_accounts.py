import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0010_user_browser_language'),
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
