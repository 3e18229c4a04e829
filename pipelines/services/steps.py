"""Adds, changes, moves and removes steps. Runs have copies of the steps, so that changes don't affect them."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import User
from auditlog.actions import Action
from auditlog.record import record
from core.errors import NotAllowed
from core.seen import check_seen
from pipelines import http_step, secret_fields, step_secrets
from pipelines import seen as fingerprints
from pipelines.access import PipelineAction
from pipelines.models import STEPS_LIMIT, Pipeline, Step
from pipelines.services.guard import errors_of, locked_for


@dataclass(frozen=True)
class StepInput:
    """The new content of a step. A secret with the value ``None`` keeps its current value."""

    name: str
    kind: str = Step.Kind.HTTP_CALL
    method: str = Step.Method.POST
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    secret_headers: Mapping[str, str | None] = field(default_factory=dict)
    secret_query: Mapping[str, str | None] = field(default_factory=dict)
    secret_body: Mapping[str, str | None] = field(default_factory=dict)
    body: str = ""
    expected_status: int = 200
    instructions: str = ""
    # The id of the step to change; None for a new step.
    id: uuid.UUID | None = None


def add_step(*, actor: User, pipeline: Pipeline, step: StepInput, request: HttpRequest | None = None) -> Step:
    """Adds a step at the end. Raises ``NotAllowed`` or ``ValidationError``."""
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.EDIT_STEPS)
        count = locked.steps.count()
        if count >= STEPS_LIMIT:
            raise ValidationError(_too_many())
        added = Step(pipeline=locked, position=count + 1)
        _fill(added, step)
        added.save()
        _record(actor, locked, request, f"Added “{added.name}”.")
    return added


def edit_step(
    *,
    actor: User,
    pipeline: Pipeline,
    step_id: uuid.UUID,
    step: StepInput,
    seen: str | None = None,
    request: HttpRequest | None = None,
) -> Step:
    """Changes a step. ``seen``: `pipelines.seen.of_step`.

    Raises ``NotAllowed``, also if the step no longer exists, ``ChangedMeanwhile`` or ``ValidationError``.
    """
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.EDIT_STEPS)
        found = _find(locked, step_id)
        check_seen(seen, fingerprints.of_step(found))
        _fill(found, step)
        found.save()
        _record(actor, locked, request, f"Changed “{found.name}”.")
    return found


def move_step(
    *,
    actor: User,
    pipeline: Pipeline,
    step_id: uuid.UUID,
    direction: Literal["up", "down"],
    request: HttpRequest | None = None,
) -> Step:
    """Moves a step by one place. At the end of the list nothing changes. Raises ``NotAllowed``."""
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.EDIT_STEPS)
        found = _find(locked, step_id)
        steps = list(locked.steps.order_by("position"))
        before = steps.index(found)
        after = before + (-1 if direction == "up" else 1)
        if 0 <= after < len(steps):
            steps.insert(after, steps.pop(before))
            _number(locked, steps)
            _record(actor, locked, request, f"Moved “{found.name}” to place {after + 1}.")
    return found


def remove_step(*, actor: User, pipeline: Pipeline, step_id: uuid.UUID, request: HttpRequest | None = None) -> None:
    """Removes a step; later steps move up. Raises ``NotAllowed``, also if the step no longer exists."""
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.EDIT_STEPS)
        found = _find(locked, step_id)
        name = found.name
        found.delete()
        _number(locked, list(locked.steps.order_by("position")))
        _record(actor, locked, request, f"Removed “{name}”.")


def replace_steps(
    *,
    actor: User,
    pipeline: Pipeline,
    steps: Sequence[StepInput],
    request: HttpRequest | None = None,
    is_new: bool = False,
) -> Pipeline:
    """Replaces all steps of the pipeline. Raises ``NotAllowed`` or ``ValidationError``; then none changes.

    A step with an ``id`` replaces the step with that id and keeps its secrets; the others are new.
    """
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.EDIT_STEPS)
        if len(steps) > STEPS_LIMIT:
            raise ValidationError({"steps": _too_many()})
        had = {step.pk: step for step in locked.steps.all()}
        kept = [step.id for step in steps if step.id is not None]
        if len(set(kept)) != len(kept) or not had.keys() >= set(kept):
            raise ValidationError({"steps": _("Each id must be that of a step of this pipeline, and appear once.")})
        locked.steps.exclude(pk__in=kept).delete()
        _make_room(locked)
        for position, new in enumerate(steps, start=1):
            step = had[new.id] if new.id else Step(pipeline=locked)
            step.position = position
            _fill(step, new, prefix=f"Step {position}: ")
            step.save()
        if not is_new:
            _record(actor, locked, request, f"Replaced {len(had)} steps by {len(steps)}.")
    return locked


def _too_many() -> str:
    return ngettext(
        "A pipeline has at most %(limit)s step.", "A pipeline has at most %(limit)s steps.", STEPS_LIMIT
    ) % {"limit": STEPS_LIMIT}


def _find(pipeline: Pipeline, step_id: uuid.UUID) -> Step:
    found: Step | None = pipeline.steps.filter(pk=step_id).first()
    if found is None:
        raise NotAllowed
    return found


def _fill(step: Step, new: StepInput, prefix: str = "") -> None:
    """Fills in and checks a step. Raises ``ValidationError`` by field, or under ``steps`` with ``prefix``."""
    old_server = step_secrets.server_of(step.url)
    old_secrets = {place: getattr(step, place) for place in step_secrets.PLACES}
    is_gate = new.kind == Step.Kind.APPROVAL
    step.name, step.kind = new.name.strip(), new.kind
    step.method = Step.Method.POST if is_gate else new.method
    step.url = "" if is_gate else new.url.strip()
    step.headers = {} if is_gate else {name.strip(): value.strip() for name, value in new.headers.items()}
    step.body = "" if is_gate else new.body
    step.expected_status = 200 if is_gate else new.expected_status
    step.instructions = new.instructions.strip() if is_gate else ""
    errors = errors_of(step, exclude=["pipeline", *step_secrets.PLACES])
    is_same_server = step_secrets.server_of(step.url) == old_server
    for place, old in old_secrets.items():
        # If the plain values cannot be sent, their errors are enough.
        if errors.keys() & {"url", "headers", "body"}:
            break
        try:
            setattr(step, place, {} if is_gate else _secrets(step, place, new, old, is_same_server))
        except ValueError as error:
            errors.setdefault(place, []).append(str(error))
    if errors and prefix:
        texts = [f"{prefix}{name.replace('_', ' ')}: {text}" for name, found in errors.items() for text in found]
        raise ValidationError({"steps": texts})
    if errors:
        raise ValidationError(errors)


def _secrets(step: Step, place: str, new: StepInput, old: Mapping[str, str], is_same_server: bool) -> dict[str, str]:
    """Returns the encrypted values by name. Raises ``ValueError`` with a sentence for the form, without any value."""
    is_header = place == "secret_headers"
    wanted: Mapping[str, str | None] = getattr(new, place)
    given = {name.strip(): value.strip() if is_header else value for name, value in wanted.items() if value is not None}
    kept = [name.strip() for name, value in wanted.items() if value is None]
    if is_header:
        _check_secret_headers(step, given, kept)
    else:
        _check_secret_fields(step, place, {**given, **dict.fromkeys(kept)})
    if len(given) + len(kept) != len(wanted):
        raise ValueError(_("Each name can be here only once."))
    if empty := [name for name, value in given.items() if not value.strip()]:
        raise ValueError(_("%(secret)s has no value.") % {"secret": empty[0]})
    known = {_comparable(name, is_header): value for name, value in old.items() if value != step_secrets.MISSING}
    if missing := [name for name in kept if _comparable(name, is_header) not in known]:
        raise ValueError(_("%(secret)s has no value yet: enter one.") % {"secret": missing[0]})
    if kept and not is_same_server:
        # Otherwise an editor of the step could send its secrets to a server of their own.
        raise ValueError(_("The URL leads to another server. Enter the values of its secrets again for it."))
    encrypted = step_secrets.encrypt(step, place, given)
    return {**encrypted, **{name: known[_comparable(name, is_header)] for name in kept}}


def _comparable(name: str, is_header: bool) -> str:
    """The name for comparison: names of headers ignore case."""
    return name.lower() if is_header else name


def _check_secret_headers(step: Step, given: Mapping[str, str], kept: Sequence[str]) -> None:
    http_step.check_headers({**step.headers, **given, **dict.fromkeys(kept, "")})
    names = [*step.headers, *given, *kept]
    if len({name.lower() for name in names}) != len(names):
        raise ValueError(_("A header appears twice. Names of headers ignore case."))


def _check_secret_fields(step: Step, place: str, values: Mapping[str, str | None]) -> None:
    """Checks that the new and the kept values have a place in the step's URL or body."""
    secret_fields.check_names(values)
    as_sent = {name: value or "x" for name, value in values.items()}
    if place == "secret_query":
        secret_fields.url_with(step.url, as_sent)
    else:
        secret_fields.body_with(step.headers, step.body, as_sent)


def _number(pipeline: Pipeline, steps: Sequence[Step]) -> None:
    """Numbers the steps 1, 2, 3, ..."""
    _make_room(pipeline)
    for position, step in enumerate(steps, start=1):
        step.position = position
    Step.objects.bulk_update(steps, ["position"])


def _make_room(pipeline: Pipeline) -> None:
    """Moves all positions out of the way first, because two steps must never have the same position."""
    pipeline.steps.update(position=F("position") + 10 * STEPS_LIMIT)


def _record(actor: User, pipeline: Pipeline, request: HttpRequest | None, change: str) -> None:
    details: dict[str, Any] = {"fields": ["steps"], "change": change}
    pipeline.save(update_fields=["updated_at"])
    record(actor=actor, action=Action.PIPELINE_EDITED, target=pipeline, request=request, **details)
