"""Migration of mails that were queued before the outbox existed."""

import inspect
from importlib import import_module

import pytest
from django.apps import apps
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from accounts.tests.factories import UserFactory
from auditlog.actions import Action
from auditlog.record import record
from core.mail import kinds
from core.models import OutgoingMail
from opsera_portal.tests.mails import delivered

migration = import_module("opsera_portal.migrations.0006_queued_mails_into_outbox")

pytestmark = [pytest.mark.django_db, pytest.mark.each_database]


class AppsOfThatTime:
    """Returns the model of ``core``, which is the same as the earlier model of this app."""

    @staticmethod
    def get_model(label, name):
        return apps.get_model("core" if name == "OutgoingMail" else label, name)


def queue(path, *args, **values):
    """Creates a task as the older version queued it."""
    kept = {"args": list(args), "kwargs": {}}
    given = {"task_path": path, "args_kwargs": kept, "backend_name": "default", "run_after": timezone.now()}
    return DBTaskResult.objects.create(**given | values)


def move():
    migration.move_into_outbox(AppsOfThatTime, None)


def test_queued_mail_is_sent_after_the_upgrade(mailoutbox):
    invited = UserFactory(joined_at=None)
    invited.set_unusable_password()
    invited.save()
    queue("accounts.tasks.send_invitation_mail", str(invited.pk))
    move()
    assert OutgoingMail.objects.get().person == invited
    assert not DBTaskResult.objects.exists()
    assert [mail.to for mail in delivered()] == [[invited.email]]


def test_queued_security_notice_belongs_to_its_person():
    person = UserFactory()
    entry = record(actor=person, action=Action.RECOVERY_CODE_USED, target=person)
    queue("accounts.tasks.send_security_mail", entry.pk)
    move()
    row = OutgoingMail.objects.get()
    assert (row.kind, row.arguments, row.person) == ("security_mail", {"entry_id": entry.pk}, person)


@pytest.mark.parametrize("path", sorted(migration.MAILS))
def test_every_queued_task_becomes_an_existing_kind_of_mail(path):
    kind, names, _ = migration.MAILS[path]
    parameters = inspect.signature(kinds._kinds[kind].compose).parameters.values()
    assert [parameter.name for parameter in parameters if parameter.default is parameter.empty] == names


@pytest.mark.parametrize(
    "values",
    [
        {"path": "pipelines.tasks.execute_pipeline"},
        {"path": "tokens.tasks.send_unused_mail", "status": "FAILED"},
        {"path": "tokens.tasks.send_unused_mail", "args_kwargs": {"args": ["only one"], "kwargs": {}}},
        {"path": "tokens.tasks.send_unused_mail", "args_kwargs": []},
    ],
    ids=["a run", "one that ended", "an argument missing", "no arguments"],
)
def test_other_tasks_stay_in_the_queue(values):
    values = dict(values)
    queue(values.pop("path"), "a", "b", **values)
    move()
    assert DBTaskResult.objects.count() == 1
    assert not OutgoingMail.objects.exists()


def test_mail_to_a_deleted_person_belongs_to_no_person():
    queue("tokens.tasks.send_unused_mail", "0190a6f0-0000-7000-8000-000000000000", [])
    move()
    assert OutgoingMail.objects.get().person is None
