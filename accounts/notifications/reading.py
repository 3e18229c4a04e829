"""Marks a person's own notifications as read."""

import uuid
from collections.abc import Collection

from django.db.models import IntegerField, OuterRef, Q, Subquery
from django.utils import timezone

from accounts.models import Notification, User
from accounts.querysets import UserQuerySet
from core.errors import NotAllowed

# The bell shows at most this number, so that counting stays cheap.
COUNTED_UP_TO = 99


class _RowCount(Subquery):
    """How many rows a subquery has, which can be limited."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS counted)"
    output_field = IntegerField()


def with_unread_count(people: UserQuerySet) -> UserQuerySet:
    """Reads ``unread_notifications`` in the same query, so that the bell costs no page a query of its own. It is one
    more than ``COUNTED_UP_TO`` for all larger numbers."""
    unread = Notification.objects.of(OuterRef("pk")).unread().order_by()
    return people.annotate(unread_notifications=_RowCount(unread.values("pk")[: COUNTED_UP_TO + 1]))


def mark_read(*, actor: User, ids: Collection[uuid.UUID]) -> int:
    """Returns how many were unread. Raises ``NotAllowed`` if the actor doesn't see all of them."""
    own = Notification.objects.of(actor).filter(public_id__in=ids)
    if own.count() != len(set(ids)):
        raise NotAllowed
    return own.unread().update(read_at=timezone.now())


def mark_read_until(*, actor: User, until: uuid.UUID) -> int:
    """Marks this notification and all older ones, so that newer ones that the actor has not seen stay unread.

    Returns how many were unread. Raises ``NotAllowed`` if the actor doesn't see it.
    """
    own = Notification.objects.of(actor)
    newest = own.filter(public_id=until).first()
    if newest is None:
        raise NotAllowed
    older = Q(at__lt=newest.at) | Q(at=newest.at, id__lte=newest.pk)
    return own.unread().filter(older).update(read_at=timezone.now())
