"""Tables that all apps share."""

import uuid
from datetime import datetime, timedelta
from typing import ClassVar, Self

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from core.db.uuid7 import uuid7

# A mail that is sent within this time is not reported as late.
USUAL_DELIVERY = timedelta(minutes=1)


class KeptForm(models.Model):
    """An unsaved form with the values a person typed, encrypted, kept for an hour (accounts/security/kept_forms.py)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    person_id = models.UUIDField(db_index=True)
    kept_at = models.DateTimeField(default=timezone.now, db_index=True)
    sealed = models.TextField()

    objects: ClassVar[models.Manager["KeptForm"]]

    def __str__(self) -> str:
        return str(self.pk)


class Submission(models.Model):
    """A form that was sent, and where its answer redirected to (core/pages/submissions.py)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    person_id = models.UUIDField()
    form_id = models.UUIDField()
    led_to = models.CharField(max_length=2048, blank=True)
    sent_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects: ClassVar[models.Manager["Submission"]]

    class Meta:
        constraints = [models.UniqueConstraint("person_id", "form_id", name="submission_once_for_each_form")]

    def __str__(self) -> str:
        return str(self.pk)


class RateCount(models.Model):
    """How often something happened within one window of time (core/rate_limits.py)."""

    key = models.CharField(max_length=120, primary_key=True)
    count = models.PositiveIntegerField()
    ends_at = models.DateTimeField(db_index=True)

    objects: ClassVar[models.Manager["RateCount"]]

    def __str__(self) -> str:
        return self.key


class KeptAnswer(models.Model):
    """The answer to a request with an `Idempotency-Key` (core/api/idempotency.py).

    ``status`` is null until the first request is answered. Only its own transaction sees that.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # No foreign key: only the person's next request reads the row, and it is removed after 24 hours anyway.
    owner_id = models.UUIDField()
    # Digests, because keys and bodies can have any content.
    key_digest = models.CharField(max_length=64)
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    body = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects: ClassVar[models.Manager["KeptAnswer"]]

    class Meta:
        constraints = [models.UniqueConstraint("owner_id", "key_digest", name="kept_answer_one_for_each_key")]

    def __str__(self) -> str:
        return str(self.pk)


class OutgoingMailQuerySet(models.QuerySet["OutgoingMail"]):
    def due(self, at: datetime) -> Self:
        """Mails that the worker can try now, the longest due first."""
        due = self.filter(state=OutgoingMail.State.WAITING, next_attempt_at__lte=at)
        return due.order_by("next_attempt_at", "pk")

    def undelivered(self) -> Self:
        """Mails that were given up, failed at least once, or wait longer than usual; the newest first."""
        given_up = models.Q(state=OutgoingMail.State.FAILED)
        late = models.Q(created_at__lte=timezone.now() - USUAL_DELIVERY) | ~models.Q(last_error="")
        return self.filter(given_up | late & models.Q(state=OutgoingMail.State.WAITING)).order_by("-created_at", "-pk")


class OutgoingMail(models.Model):
    """A mail to one person, written in the transaction of its event, and sent by the worker.

    It has no text, only the ids of its subject (``arguments``): the text and its link are created when the mail is
    sent. So nobody can get into an account with a copy of the table.
    """

    class State(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        SENT = "sent", _("Sent")
        FAILED = "failed", _("Not delivered")

    # Also the Message-ID, so that mail programs recognize a mail that is sent again after a crash.
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=60)
    arguments = models.JSONField(default=dict)
    # The recipient; null if it is only determined when the mail is sent.
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="outgoing_mails"
    )
    email = models.CharField("e-mail", max_length=254, blank=True, help_text="The address of the last attempt.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField("given up at")
    # While a worker sends the mail, this is when another worker can take it over.
    next_attempt_at = models.DateTimeField(default=timezone.now)
    attempts = models.PositiveIntegerField(default=0)
    # The last ones in a row whose result is not stored: the worker sends the mail just now, or was killed meanwhile.
    unfinished_attempts = models.PositiveIntegerField(default=0)
    refusals = models.PositiveIntegerField(default=0, help_text="How often the server refused it permanently.")
    last_error = models.CharField(max_length=300, blank=True)
    ended_at = models.DateTimeField(null=True, db_index=True)

    objects: ClassVar[OutgoingMailQuerySet] = OutgoingMailQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = "outgoing mail"
        indexes = [
            models.Index("next_attempt_at", name="outgoing_mail_due", condition=models.Q(state="waiting")),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"

    @property
    def address(self) -> str:
        """The recipient's address, if it is known before the first attempt."""
        return self.email or (self.person.email if self.person else "")
