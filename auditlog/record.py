"""Writes the activity log, and is the only module that adds entries to it. Services call it in their transaction."""

from collections.abc import Iterable
from typing import Any, Protocol

from django.http import HttpRequest

from auditlog.actions import Action
from auditlog.models import Activity
from auditlog.open_use import token_in_use
from core.db.uuid7 import uuid7
from core.types import User


class Target(Protocol):
    pk: Any


def record(
    *,
    actor: User,
    action: Action,
    target: Target,
    request: HttpRequest | None = None,
    **details: Any,
) -> Activity:
    """Adds one entry: who did what to what. Names are copied, so that the entry can be read after the rows are gone.

    For a failed sign-in, the actor is the person whose account was tried. ``request`` gives address, request id and
    token; commands and the worker have no request. ``details`` must be JSON and must not contain secrets.
    """
    entry = _entry(actor, action, target, request, details)
    entry.save()
    return entry


def record_each(
    done: "Iterable[tuple[User, Target]]", *, action: Action, request: HttpRequest | None = None, **details: Any
) -> None:
    """Adds one entry for each pair of actor and target, in a few statements."""
    Activity.objects.bulk_create([_entry(actor, action, target, request, details) for actor, target in done])


def _entry(
    actor: User, action: Action, target: Target, request: HttpRequest | None, details: dict[str, Any]
) -> Activity:
    if actor is None or actor.pk is None or target is None or target.pk is None:
        raise ValueError("An action is recorded with its actor and its target.")
    organization = getattr(target, "organization", None) or actor.organization
    token = token_in_use(request)
    return Activity(
        actor=actor,
        actor_email=actor.email,
        organization=organization,
        account=organization.slug if organization else "",
        type=action.type,
        action=action,
        target_id=str(target.pk),
        target_name=str(target)[:254],
        token_id=token.pk if token else None,
        token_name=token.name if token else "",
        ip=getattr(request, "client_address", None),
        request_id=getattr(request, "request_id", None) or uuid7(),
        details=details,
    )
