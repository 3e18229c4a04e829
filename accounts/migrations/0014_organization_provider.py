import django.core.validators
import django.db.models.deletion
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0013_service_accounts"),
    ]

    operations = [
        migrations.CreateModel(
            name='OrganizationProvider',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=40)),
                ('is_enabled', models.BooleanField(default=True, verbose_name='switched on')),
                ('issuer', models.CharField(max_length=200)),
                ('client_id', models.CharField(max_length=191)),
                ('sealed_secret', models.TextField(editable=False)),
                ('connection', models.CharField(editable=False, max_length=60, unique=True)),
                ('trusts_email', models.BooleanField(default=False, verbose_name='accepts addresses that are not verified')),
                ('creates_people', models.BooleanField(default=False, verbose_name='creates people at their first sign-in')),
                ('domains', models.CharField(blank=True, help_text='Separated by spaces.', max_length=1000)),
                ('default_role', models.CharField(choices=[('administrator', 'Administrator'), ('power_user', 'Power User'), ('user', 'User'), ('guest', 'Guest'), ('security_manager', 'Security Manager'), ('auditor', 'Auditor')], default='guest', max_length=20)),
                ('people_per_hour', models.PositiveSmallIntegerField(default=20, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(1000)], verbose_name='new people per hour')),
                ('role_rules', models.JSONField(blank=True, default=list)),
                ('refuses_unmapped', models.BooleanField(default=False, verbose_name='refuses people to whom no rule applies')),
                ('group_rules', models.JSONField(blank=True, default=list)),
                ('last_failure', models.CharField(blank=True, editable=False, max_length=500)),
                ('last_failure_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('managed_groups', models.ManyToManyField(blank=True, editable=False, related_name='providers', to='accounts.group')),
                ('organization', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='provider', to='accounts.organization')),
            ],
            options={
                'verbose_name': 'single sign-on of an organization',
                'verbose_name_plural': 'single sign-on of organizations',
                'ordering': ['organization__name'],
                'constraints': [models.CheckConstraint(condition=models.Q(('default_role', 'administrator'), _negated=True), name='provider_default_role_is_lower'), models.CheckConstraint(condition=models.Q(('people_per_hour__gte', 1), ('people_per_hour__lte', 1000)), name='provider_people_per_hour_1_to_1000'), models.CheckConstraint(condition=models.Q(('creates_people', False), models.Q(('domains', ''), _negated=True), _connector='OR'), name='provider_creates_people_of_domains')],
            },
        ),
    ]
