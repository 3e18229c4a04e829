"""Mails to the notified people of a pipeline when a run fails or a gate waits."""

import itertools
import uuid
from datetime import timedelta
from smtplib import SMTPRecipientsRefused

import pytest
import time_machine
from django.core import mail
from django.core.exceptions import ValidationError
from django.core.mail.backends.locmem import EmailBackend as LocmemBackend
from django.db import transaction
from django.utils import timezone

from accounts.tests.factories import UserFactory
from core.mail import delivery
from core.models import OutgoingMail
from opsera_portal.tests.kills import is_killed
from opsera_portal.tests.mails import delivered
from pipelines import notifications, runner, services
from pipelines.models import Step
from pipelines.notifications import Event
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory, StepFactory
from pipelines.tests.stages import Stage


@pytest.fixture
def pipeline(owner, member):
    pipeline = PipelineFactory(owner=owner, name="Deploy")
    StepFactory(pipeline=pipeline, position=1, kind=Step.Kind.APPROVAL, url="", name="Go?", instructions="Look at it.")
    StepFactory(pipeline=pipeline, position=2, name="Roll out", url="http://127.0.0.1:9/never")
    pipeline.notified_people.set([owner, member])
    return pipeline


@pytest.fixture
def at_the_gate(owner, pipeline):
    run = services.start_run(actor=owner, pipeline=pipeline)
    runner.execute_queued(pipeline.pk)
    return run


def send(run, event):
    """Queues only the mails of this event."""
    OutgoingMail.objects.all().delete()
    with transaction.atomic():
        notifications.announce(run, event)


def delivered_in_the_end():
    """Returns the mails that were sent after all attempts."""
    for hours in range(6):
        with time_machine.travel(timezone.now() + timedelta(hours=hours)):
            sent = delivered()
    return sent


def test_waiting_gate_sends_each_person_a_separate_mail(at_the_gate, pipeline, owner, member):
    send(at_the_gate, Event.GATE_WAITS)

    assert sorted(message.to for message in delivered()) == [[member.email], [owner.email]]
    texts = {message.to[0]: message.body for message in delivered()}
    assert delivered()[0].subject == "Run 1 of Deploy waits for an approval"
    assert f"http://127.0.0.1:8000/pipelines/{pipeline.pk}/runs/1/" in texts[owner.email]
    assert "Look at it." in texts[owner.email]
    assert "Approve or reject it" in texts[owner.email]
    assert "Approve or reject it" not in texts[member.email]


def test_gate_that_no_longer_waits_sends_no_mail(at_the_gate, pipeline, owner):
    services.approve_gate(actor=owner, pipeline=pipeline)

    send(at_the_gate, Event.GATE_WAITS)

    assert delivered() == []


def test_mail_about_a_failed_run_says_why(at_the_gate, pipeline, owner):
    services.approve_gate(actor=owner, pipeline=pipeline)
    runner.execute_queued(pipeline.pk)

    send(at_the_gate, Event.FAILED)

    assert {message.subject for message in delivered()} == {"Run 1 of Deploy failed"}
    assert "which steps are not allowed to call" in delivered()[0].body


def test_rejected_run_sends_mail(at_the_gate, pipeline, owner, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        services.reject_gate(actor=owner, pipeline=pipeline, message="The tests are red")
    send(at_the_gate, Event.FAILED)

    assert "The tests are red" in delivered()[0].body


def test_people_who_can_no_longer_see_the_pipeline_get_no_mail(at_the_gate, pipeline, owner, member):
    AccessRuleFactory(pipeline=pipeline, user=owner, role="administrator")
    send(at_the_gate, Event.GATE_WAITS)
    assert [message.to for message in delivered()] == [[owner.email]]

    owner.is_active = False
    owner.save()
    mail.outbox.clear()
    send(at_the_gate, Event.GATE_WAITS)
    assert delivered() == []


def test_mail_that_cannot_be_sent_is_logged(at_the_gate, settings, owner):
    settings.EMAIL_BACKEND = f"{__name__}.OneIsRefused"

    delivered_in_the_end()

    assert at_the_gate.log_lines.get(action="mail").message == f"The mail to {owner.email} could not be sent."


def test_pipeline_name_with_line_breaks_is_refused(owner):
    with pytest.raises(ValidationError):
        services.create_pipeline(actor=owner, name="Deploy\r\nBcc: everyone@example.com")


class OneIsRefused(LocmemBackend):
    """A mail server that refuses mails to the owner."""

    def send_messages(self, messages):
        if any("owner@acme.example" in message.to for message in messages):
            raise SMTPRecipientsRefused({"owner@acme.example": (550, b"No such user")})
        return super().send_messages(messages)


def test_refused_mail_does_not_prevent_other_mails(at_the_gate, settings, owner, member):
    settings.EMAIL_BACKEND = f"{__name__}.OneIsRefused"
    third = UserFactory(organization=owner.organization, email="z@acme.example")
    at_the_gate.pipeline.notified_people.add(third)

    assert [message.to for message in delivered()] == [[member.email], [third.email]]


@pytest.fixture
def told(pipeline):
    """Calls an action; returns the run and event of each queued mail."""

    def told(action, callbacks):
        OutgoingMail.objects.all().delete()
        with callbacks(execute=True):
            action()
        rows = OutgoingMail.objects.order_by("pk")
        return [(row.arguments["run_id"], row.arguments["event"]) for row in rows]

    return told


def test_each_event_is_queued_once(owner, pipeline, told, django_capture_on_commit_callbacks):
    run = services.start_run(actor=owner, pipeline=pipeline)
    callbacks = django_capture_on_commit_callbacks

    assert told(lambda: runner.execute_queued(pipeline.pk), callbacks) == [(str(run.pk), "gate_waits")]
    assert told(lambda: services.approve_gate(actor=owner, pipeline=pipeline), callbacks) == []
    assert told(lambda: runner.execute_queued(pipeline.pk), callbacks) == [(str(run.pk), "failed")]


def test_rejection_sends_mail_and_stop_does_not(at_the_gate, owner, pipeline, told, django_capture_on_commit_callbacks):
    callbacks = django_capture_on_commit_callbacks

    assert told(lambda: services.stop_pipeline(actor=owner, pipeline=pipeline), callbacks) == []
    services.resume_pipeline(actor=owner, pipeline=pipeline)
    runner.execute_queued(pipeline.pk)
    rejection = told(lambda: services.reject_gate(actor=owner, pipeline=pipeline, message="No"), callbacks)
    assert rejection == [(str(at_the_gate.pk), "failed")]


def test_run_refused_because_its_requester_left_sends_mail(member, pipeline, told, django_capture_on_commit_callbacks):
    run = services.start_run(actor=member, pipeline=pipeline)
    type(member).objects.filter(pk=member.pk).update(is_active=False)

    sent = told(lambda: runner.execute_queued(pipeline.pk), django_capture_on_commit_callbacks)

    assert sent == [(str(run.pk), "failed")]


def test_failed_run_that_was_resumed_sends_no_mail(owner, member, build_server):
    build_server.answers["/one"] = (500, "broken")
    stage = Stage(owner, build_server)
    stage.pipeline.notified_people.add(member)
    run = stage.ask()
    stage.work()
    stage.do("resume")

    send(run, Event.FAILED)

    assert delivered() == []


def test_deleted_pipeline_and_unknown_run_send_no_mail(owner, pipeline, at_the_gate):
    services.reject_gate(actor=owner, pipeline=pipeline, message="No")
    services.delete_pipeline(actor=owner, pipeline=pipeline)

    send(at_the_gate, Event.FAILED)
    notifications.run_announcement.put(None, str(uuid.uuid4()), "failed")

    assert delivered() == []


AFTER_LEASE = delivery.LEASE + timedelta(minutes=1)


def delivered_after_the_lease():
    with time_machine.travel(timezone.now() + AFTER_LEASE):
        return delivered()


@pytest.mark.django_db(transaction=True)
def test_each_person_gets_the_mail_wherever_the_worker_is_killed(at_the_gate, owner, member):
    for number in itertools.count(1):
        mail.outbox.clear()
        send(at_the_gate, Event.GATE_WAITS)

        killed = is_killed(delivered, before_write=number)
        sent_without_a_result = len(mail.outbox) - OutgoingMail.objects.filter(state=OutgoingMail.State.SENT).count()
        recipients = [message.to[0] for message in delivered_after_the_lease()]

        assert set(recipients) == {owner.email, member.email}, f"killed before write {number}"
        assert len(recipients) == 2 + sent_without_a_result
        assert not OutgoingMail.objects.exclude(state=OutgoingMail.State.SENT).exists()
        if not killed:
            break

    assert number > 5


@pytest.mark.each_database
def test_worker_that_was_suspended_does_not_queue_the_mails_again(at_the_gate):
    send(at_the_gate, Event.GATE_WAITS)
    late = delivery._claim_next()
    assert len(delivered_after_the_lease()) == 2

    assert delivery._message_of(late) is None

    assert OutgoingMail.objects.count() == 2
