"""What every floor shares and must be the same in every process."""

import uuid
from typing import ClassVar

from django.db import models
from django.utils import timezone


class RateCount(models.Model):
    """How often something happened within one window of time: the memory of `opsera_portal/limits.py`."""

    key = models.CharField(max_length=120, primary_key=True)
    count = models.PositiveIntegerField()
    ends_at = models.DateTimeField(db_index=True)

    objects: ClassVar[models.Manager["RateCount"]]

    def __str__(self) -> str:
        return self.key


class KeptAnswer(models.Model):
    """The answer to a request that came with an `Idempotency-Key`: the memory of `opsera_portal/api/idempotency.py`.

    ``status`` is null while the first request is being answered, which nobody sees but its own transaction.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # No foreign key: nothing but the person's own next request asks for it, and it ends by itself.
    owner_id = models.UUIDField()
    # Digests: a key may be anything, and so may a body.
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
