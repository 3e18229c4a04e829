"""Lists that say which tokens can't be used now, for services that check tokens themselves (Token Status List)."""

import uuid
from typing import ClassVar

from django.db import models
from django.utils import timezone

from tokens.status_lists.claims import uri_of

# Bits of a list. It is full when every second one belongs to a token, so that a random free bit is found quickly. A
# list is short while most bits are 0: 256 KiB of zeros are 400 characters in the signed list.
SIZE = 2**21


class StatusList(models.Model):
    """One list of a service. ``taken``: how many of its ``size`` bits belong to a token.

    The bits are not stored. They are computed from the rows of the tokens at each moment (`status_lists/signed.py`).
    """

    id = models.UUIDField("ID", primary_key=True, default=uuid.uuid4, editable=False)
    service = models.ForeignKey("gateway.Service", on_delete=models.CASCADE, related_name="+")
    size = models.PositiveIntegerField(default=SIZE)
    taken = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[models.Manager["StatusList"]]

    class Meta:
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def uri(self) -> str:
        return uri_of(self.pk)
