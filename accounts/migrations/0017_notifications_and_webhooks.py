import uuid
import core.db.uuid7
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


def keep_choices(apps, schema_editor):
    """People who switched the mails off keep being told in the portal, as everyone is from now on."""
    users = apps.get_model("accounts", "User").objects
    users.filter(expiry_mails_of_previous_release=False).update(notification_choices={"end_near": "portal"})


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0016_erasure"),
    ]

    operations = [
        # The column keeps its name, so that the previous release can still write it during the upgrade.
        migrations.AlterField(
            model_name='user',
            name='wants_expiry_mails',
            field=models.BooleanField(db_column='wants_expiry_mails', default=True, editable=False),
        ),
        migrations.RenameField(
            model_name='user',
            old_name='wants_expiry_mails',
            new_name='expiry_mails_of_previous_release',
        ),
        migrations.AddField(
            model_name='user',
            name='notification_choices',
            field=models.JSONField(blank=True, default=dict, editable=False, help_text='A channel for each kind that differs from its default.'),
        ),
        migrations.CreateModel(
            name='Notification',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('public_id', models.UUIDField(default=core.db.uuid7.uuid7, editable=False, unique=True, verbose_name='ID on pages')),
                ('kind', models.CharField(choices=[('first_use', 'First use of a token'), ('new_network', 'First use from a new network'), ('first_refusal', 'First refusal of a token'), ('many_refusals', 'Many refusals within an hour'), ('end_near', 'A token expires soon, or has expired'), ('ended_in_use', 'A token no longer works, but is still used'), ('leaked', 'A token was reported as leaked'), ('expired_early', 'Someone else expired a token'), ('expired_unused', 'A token expired because it was unused'), ('expired_orphaned', 'A token of a service account expired because nobody active is responsible (Administrators)'), ('reused', 'A replaced token tried to replace itself again'), ('replaced', 'A token was replaced'), ('created_for_you', 'Someone else created a token for you or for a service account'), ('role_changed', 'Your site role was changed'), ('webhook_failed', 'A webhook of the organization failed for three days (Administrators)')], max_length=30)),
                ('once', models.CharField(max_length=120)),
                ('at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='time')),
                ('token_id', models.UUIDField(null=True, verbose_name='token ID')),
                ('token_name', models.CharField(blank=True, max_length=50)),
                ('details', models.JSONField(blank=True, default=dict)),
                ('is_in_portal', models.BooleanField(default=True)),
                ('read_at', models.DateTimeField(null=True)),
                ('digest_at', models.DateTimeField(null=True, verbose_name='due in the daily mail')),
                ('person', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='notifications', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-at', '-id'],
                'indexes': [models.Index(condition=models.Q(('is_in_portal', True)), fields=['person', '-at', '-id'], name='notification_newest'), models.Index(condition=models.Q(('is_in_portal', True), ('read_at__isnull', True)), fields=['person'], name='notification_unread'), models.Index(condition=models.Q(('digest_at__isnull', False)), fields=['digest_at'], name='notification_digest')],
                'constraints': [models.UniqueConstraint(fields=('person', 'kind', 'once'), name='notification_once')],
            },
        ),
        migrations.CreateModel(
            name='Webhook',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('url', models.CharField(max_length=2048, verbose_name='URL')),
                ('description', models.CharField(blank=True, max_length=100)),
                ('events', models.CharField(help_text='Separated by spaces.', max_length=400)),
                ('secret', models.TextField(editable=False)),
                ('previous_secret', models.TextField(blank=True, editable=False)),
                ('previous_secret_until', models.DateTimeField(editable=False, null=True)),
                ('paused_at', models.DateTimeField(blank=True, null=True)),
                ('failing_since', models.DateTimeField(editable=False, null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='webhooks', to='accounts.organization')),
            ],
            options={
                'ordering': ['created_at', 'id'],
            },
        ),
        migrations.CreateModel(
            name='WebhookDelivery',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('event_id', models.UUIDField(verbose_name='event ID')),
                ('type', models.CharField(max_length=60)),
                ('payload', models.TextField()),
                ('state', models.CharField(choices=[('waiting', 'Waiting'), ('delivered', 'Delivered'), ('failed', 'Given up')], default='waiting', max_length=10)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('next_attempt_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('expires_at', models.DateTimeField(verbose_name='given up at')),
                ('attempts', models.PositiveIntegerField(default=0)),
                ('last_status', models.PositiveSmallIntegerField(null=True, verbose_name='answer')),
                ('last_error', models.CharField(blank=True, max_length=300)),
                ('ended_at', models.DateTimeField(db_index=True, null=True)),
                ('webhook', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='accounts.webhook')),
            ],
            options={
                'verbose_name_plural': 'webhook deliveries',
                'ordering': ['-created_at', '-id'],
                'indexes': [models.Index(fields=['webhook', '-created_at', '-id'], name='webhookdelivery_newest'), models.Index(condition=models.Q(('state', 'waiting')), fields=['next_attempt_at'], name='webhookdelivery_due')],
                'constraints': [models.UniqueConstraint(fields=('webhook', 'event_id'), name='webhookdelivery_once')],
            },
        ),
        migrations.RunPython(keep_choices, migrations.RunPython.noop),
    ]
