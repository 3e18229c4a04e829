"""What every floor shares and must be the same in every process."""

from typing import ClassVar

from django.db import models


class RateCount(models.Model):
    """How often something happened within one window of time: the memory of `opsera_portal/limits.py`."""

    key = models.CharField(max_length=120, primary_key=True)
    count = models.PositiveIntegerField()
    ends_at = models.DateTimeField(db_index=True)

    objects: ClassVar[models.Manager["RateCount"]]

    def __str__(self) -> str:
        return self.key
