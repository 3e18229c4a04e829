"""Takes over the models of `opsera_portal`, whose tables were renamed to ours."""

import uuid

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import core.db.uuid7

MODELS = ["ratecount", "keptanswer", "outgoingmail", "keptform", "submission"]


def move_content_types(apps, schema_editor):
    """So that entries of Django admin's history keep their object."""
    _move(apps, "opsera_portal", "core")


def move_content_types_back(apps, schema_editor):
    _move(apps, "core", "opsera_portal")


def _move(apps, before, after):
    types = apps.get_model("contenttypes", "ContentType").objects.filter(model__in=MODELS)
    types.filter(app_label=after).delete()
    types.filter(app_label=before).update(app_label=after)


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ("contenttypes", "0002_remove_content_type_name"),
        ("opsera_portal", "0007_tables_to_core"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name='RateCount',
                    fields=[
                        ('key', models.CharField(max_length=120, primary_key=True, serialize=False)),
                        ('count', models.PositiveIntegerField()),
                        ('ends_at', models.DateTimeField(db_index=True)),
                    ],
                ),
                migrations.CreateModel(
                    name='KeptAnswer',
                    fields=[
                        ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ('owner_id', models.UUIDField()),
                        ('key_digest', models.CharField(max_length=64)),
                        ('fingerprint', models.CharField(max_length=64)),
                        ('status', models.PositiveSmallIntegerField(null=True)),
                        ('body', models.TextField(blank=True)),
                        ('created_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                    ],
                    options={
                        'constraints': [models.UniqueConstraint(models.F('owner_id'), models.F('key_digest'), name='kept_answer_one_for_each_key')],
                    },
                ),
                migrations.CreateModel(
                    name='OutgoingMail',
                    fields=[
                        ('id', models.UUIDField(default=core.db.uuid7.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('kind', models.CharField(max_length=60)),
                        ('arguments', models.JSONField(default=dict)),
                        ('email', models.CharField(blank=True, help_text='The address of the last attempt.', max_length=254, verbose_name='e-mail')),
                        ('state', models.CharField(choices=[('waiting', 'Waiting'), ('sent', 'Sent'), ('failed', 'Not delivered')], default='waiting', max_length=10)),
                        ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('expires_at', models.DateTimeField(verbose_name='given up at')),
                        ('next_attempt_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('attempts', models.PositiveIntegerField(default=0)),
                        ('refusals', models.PositiveIntegerField(default=0, help_text='How often the server refused it permanently.')),
                        ('last_error', models.CharField(blank=True, max_length=300)),
                        ('ended_at', models.DateTimeField(db_index=True, null=True)),
                        ('person', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='outgoing_mails', to=settings.AUTH_USER_MODEL)),
                    ],
                    options={
                        'verbose_name': 'outgoing mail',
                        'indexes': [models.Index(models.F('next_attempt_at'), condition=models.Q(('state', 'waiting')), name='outgoing_mail_due')],
                    },
                ),
                migrations.CreateModel(
                    name='KeptForm',
                    fields=[
                        ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ('person_id', models.UUIDField(db_index=True)),
                        ('kept_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                        ('sealed', models.TextField()),
                    ],
                ),
                migrations.CreateModel(
                    name='Submission',
                    fields=[
                        ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ('person_id', models.UUIDField()),
                        ('form_id', models.UUIDField()),
                        ('led_to', models.CharField(blank=True, max_length=2048)),
                        ('sent_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                    ],
                    options={
                        'constraints': [models.UniqueConstraint(models.F('person_id'), models.F('form_id'), name='submission_once_for_each_form')],
                    },
                ),
            ],
        ),
        migrations.RunPython(move_content_types, move_content_types_back),
    ]
