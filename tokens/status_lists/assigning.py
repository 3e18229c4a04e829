"""Gives each token of a service that reads status lists a bit in one of its lists."""

import secrets
import uuid

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.translation import gettext

from tokens.models import Token
from tokens.status_lists.models import StatusList

# Half of the bits are free, so 64 taken ones in a row never happen by chance.
MOST_TRIES = 64


def assign(token: Token) -> None:
    """Gives the token a random free bit, if its service reads status lists. Call it in the transaction that creates the
    token. Raises ``ValidationError`` by field for limits that such a service can't check.

    The index says nothing about the token: neighbors in the list have nothing in common. The database's constraint
    decides if two tokens get the same bit at once.
    """
    if token.service is None or not token.service.uses_status_list:
        return
    _check_limits(token)
    token.status_list = _place_in_list(token.service.pk)
    for tries_left in reversed(range(MOST_TRIES)):
        token.status_index = secrets.randbelow(token.status_list.size)
        try:
            with transaction.atomic():
                token.save(update_fields=["status_list", "status_index"])
        except IntegrityError:
            if not tries_left:
                raise
        else:
            return


def _check_limits(token: Token) -> None:
    """Only the portal knows where a token may be used and how often it was. Such a service would ignore both."""
    errors = {}
    if token.organization.token_networks:
        errors["service"] = gettext(
            "Your organization's policy limits tokens to networks. This service checks tokens itself, so it can't "
            "check networks."
        )
    if token.networks:
        errors["networks"] = gettext("This service checks tokens itself, so it can't check networks. Leave this empty.")
    if token.max_uses is not None:
        errors["max_uses"] = gettext("This service checks tokens itself, so uses can't be counted. Leave this empty.")
    if errors:
        raise ValidationError(errors)


def _place_in_list(service_id: uuid.UUID) -> StatusList:
    """The oldest list of the service that is not half full, after one place in it is taken; else a new one."""
    open_lists = StatusList.objects.filter(service_id=service_id, size__gt=F("taken") * 2)
    for found in open_lists:
        if open_lists.filter(pk=found.pk).update(taken=F("taken") + 1):
            return found
    return StatusList.objects.create(service_id=service_id, taken=1)
