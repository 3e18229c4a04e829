"""Moves mails that wait in the queue into the outbox: the tasks that sent them no longer exist."""

import uuid
from datetime import timedelta

from django.db import migrations
from django.utils import timezone

# The task that sent the mail: the kind of mail, the names of its arguments, and for how many hours it is tried.
MAILS = {
    "accounts.tasks.send_invitation_mail": ("invitation_mail", ["user_id"], 72),
    "accounts.tasks.send_security_mail": ("security_mail", ["entry_id"], 72),
    "accounts.tasks.answer_password_reset": ("password_reset_answer", ["user_id", "address"], 4),
    "accounts.tasks.send_password_changed_mail": ("password_changed_mail", ["entry_id"], 72),
    "accounts.tasks.send_email_change_link": ("email_change_link_mail", ["address_id"], 24),
    "accounts.tasks.send_email_change_mail": ("email_change_mail", ["entry_id"], 72),
    "tokens.tasks.send_report_mail": ("report_mail", ["owner_id", "token_ids"], 72),
    "tokens.tasks.send_expired_mail": ("expired_mail", ["owner_id", "token_ids", "count"], 72),
    "tokens.tasks.send_unused_mail": ("unused_mail", ["owner_id", "token_ids"], 72),
    "pipelines.notifications.send_mails": ("run_announcement", ["run_id", "event"], 72),
}


def move_into_outbox(apps, schema_editor):
    OutgoingMail = apps.get_model("opsera_portal", "OutgoingMail")
    queued = apps.get_model("django_tasks_database", "DBTaskResult").objects.filter(status="READY", task_path__in=MAILS)
    now = timezone.now()
    for task in queued.order_by("enqueued_at").iterator():
        kind, names, hours = MAILS[task.task_path]
        arguments = _arguments(task.args_kwargs, names)
        # The worker refuses a task whose arguments cannot be read, and says so in the log.
        if arguments is None:
            continue
        OutgoingMail.objects.create(
            kind=kind,
            arguments=arguments,
            person_id=_person_id(apps, kind, arguments),
            created_at=task.enqueued_at,
            next_attempt_at=now,
            expires_at=now + timedelta(hours=hours),
        )
        task.delete()


def _arguments(kept, names):
    """By name, or ``None`` if they are not those of the task."""
    try:
        given = dict(zip(names, kept["args"], strict=False)) | kept["kwargs"]
    except (KeyError, TypeError, ValueError):
        return None
    return given if set(given) == set(names) else None


def _person_id(apps, kind, arguments):
    """Whom the mail is for, so that their row shows it; ``None`` if only its turn will tell."""
    if kind in {"password_reset_answer", "run_announcement"}:
        return None
    if "entry_id" in arguments:
        entries = apps.get_model("auditlog", "Activity").objects.filter(pk=arguments["entry_id"])
        found = entries.values_list("target_id", flat=True).first()
    elif "address_id" in arguments:
        addresses = apps.get_model("account", "EmailAddress").objects.filter(pk=arguments["address_id"])
        found = addresses.values_list("user_id", flat=True).first()
    else:
        found = arguments.get("user_id") or arguments.get("owner_id")
    try:
        person_id = uuid.UUID(str(found))
    except ValueError:
        return None
    return person_id if apps.get_model("accounts", "User").objects.filter(pk=person_id).exists() else None


class Migration(migrations.Migration):
    dependencies = [
        ("opsera_portal", "0005_submission"),
        ("account", "0001_initial"),
        ("accounts", "0001_initial"),
        ("auditlog", "0001_initial"),
        ("django_tasks_database", "0018_rename_succeeded_status"),
    ]

    operations = [
        # Not reversed: the outbox keeps what waits, and an older version cannot read it.
        migrations.RunPython(move_into_outbox, migrations.RunPython.noop),
    ]
