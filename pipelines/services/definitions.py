"""Creates, changes, duplicates, transfers, locks and deletes pipelines."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from accounts.models import User
from auditlog.actions import Action
from auditlog.record import record
from core.errors import NameTaken
from core.seen import check_seen
from core.service_accounts import handle_of
from core.text import composed
from pipelines import seen as fingerprints
from pipelines import step_secrets
from pipelines.access import PipelineAction, allowed_actions, may_be_owner
from pipelines.models import NOTIFIED_LIMIT, Pipeline, Step
from pipelines.run_states import UNDER_WAY, RunEvent, RunState
from pipelines.services.guard import Refused, creator, errors_of, fresh, locked_for
from pipelines.services.steps import StepInput, replace_steps
from pipelines.tasks import enqueue

NAME_TAKEN = gettext_noop("This name is already in use. Choose another one.")


def create_pipeline(
    *,
    actor: User,
    name: str,
    description: str = "",
    tags: Iterable[str] = (),
    steps: list[StepInput] | None = None,
    request: HttpRequest | None = None,
) -> Pipeline:
    """Creates a pipeline that ``actor`` owns. Raises ``NotAllowed``, ``NameTaken`` or ``ValidationError``."""
    with transaction.atomic():
        person = creator(actor)
        pipeline = Pipeline(
            organization=person.own_organization,
            owner=person,
            name=name.strip(),
            description=description,
            tags=_clean_tags(tags),
        )
        _save(pipeline)
        record(actor=actor, action=Action.PIPELINE_CREATED, target=pipeline, request=request)
        if steps:
            replace_steps(actor=actor, pipeline=pipeline, steps=steps, request=request, is_new=True)
    return pipeline


def change_pipeline(
    *,
    actor: User,
    pipeline: Pipeline,
    texts: Mapping[str, Any],
    steps: Sequence[StepInput] | None = None,
    people: Iterable[User] | None = None,
    seen: str | None = None,
    request: HttpRequest | None = None,
) -> Pipeline:
    """All of it or nothing: ``texts`` as in `edit_pipeline`, ``steps`` as in `replace_steps`, and notified ``people``.

    ``seen``: `pipelines.seen.of_definition`. Raises ``ChangedMeanwhile``, and what the three functions raise.
    """
    needed = {PipelineAction.ADMINISTER} if texts else set()
    if steps is not None or people is not None:
        needed.add(PipelineAction.EDIT_STEPS)
    with transaction.atomic():
        changed = locked_for(actor, pipeline, *needed)
        if seen is not None:
            check_seen(seen, fingerprints.of_definition(changed))
        if texts:
            changed = edit_pipeline(actor=actor, pipeline=changed, request=request, **texts)
        if steps is not None:
            changed = replace_steps(actor=actor, pipeline=changed, steps=steps, request=request)
        if people is not None:
            changed = notify_people(actor=actor, pipeline=changed, people=people, request=request)
    return changed


def edit_pipeline(
    *,
    actor: User,
    pipeline: Pipeline,
    seen: str | None = None,
    request: HttpRequest | None = None,
    **changes: Any,
) -> Pipeline:
    """Changes ``name``, ``description`` or ``tags``. ``seen``: `pipelines.seen.of_texts`.

    Raises ``NotAllowed``, ``ChangedMeanwhile``, ``NameTaken`` or ``ValidationError``.
    """
    if not changes.keys() <= {"name", "description", "tags"}:
        raise TypeError("An edit changes name, description and tags.")
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.ADMINISTER)
        check_seen(seen, fingerprints.of_texts(locked))
        if "name" in changes:
            changes["name"] = composed(changes["name"]).strip()
        if "tags" in changes:
            changes["tags"] = _clean_tags(changes["tags"])
        changed = [field for field, value in changes.items() if getattr(locked, field) != value]
        details: dict[str, Any] = {"fields": changed}
        if "name" in changed:
            details |= {"from": locked.name, "to": changes["name"]}
        for field in changed:
            setattr(locked, field, changes[field])
        if changed:
            _save(locked)
            record(actor=actor, action=Action.PIPELINE_EDITED, target=locked, request=request, **details)
    return locked


def notify_people(
    *,
    actor: User,
    pipeline: Pipeline,
    people: Iterable[User],
    seen: str | None = None,
    request: HttpRequest | None = None,
) -> Pipeline:
    """Replaces the people who get an e-mail when a run fails or a gate waits.

    ``seen``: `pipelines.seen.of_notified_people`. Raises ``NotAllowed``, ``ChangedMeanwhile``, or ``ValidationError``
    for people who can't see the pipeline.
    """
    chosen = {person.pk: person for person in people}
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.EDIT_STEPS)
        if len(chosen) > NOTIFIED_LIMIT:
            too_many = ngettext("Choose at most %(limit)s person.", "Choose at most %(limit)s people.", NOTIFIED_LIMIT)
            raise ValidationError({"notified_people": too_many % {"limit": NOTIFIED_LIMIT}})
        before = {person.pk: person for person in locked.notified_people.all()}
        check_seen(seen, fingerprints.of_notified_people(locked, before))
        for pk in chosen.keys() - before.keys():
            person = fresh(chosen[pk])
            if person.is_service_account or PipelineAction.SEE not in allowed_actions(person, locked):
                error = _("%(person)s does not see this pipeline.") % {"person": chosen[pk].email}
                raise ValidationError({"notified_people": error})
        if chosen.keys() != before.keys():
            locked.notified_people.set(chosen.values())
            record(
                actor=actor,
                action=Action.PIPELINE_EDITED,
                target=locked,
                request=request,
                fields=["notified_people"],
                notified_people=sorted(person.email for person in chosen.values()),
            )
    return locked


def duplicate_pipeline(
    *, actor: User, pipeline: Pipeline, name: str = "", request: HttpRequest | None = None
) -> Pipeline:
    """Creates a copy that ``actor`` owns: description, tags, steps and access rules.

    Access rules are copied because a copy without rules would be open to everyone. Notified people are not copied.
    Values of secrets are copied only for administrators of the original: as owner of the copy, anyone else could use
    them without the original's owner, even after losing their rights. For others the copied steps have only the names
    (``Step.missing_secrets``), and the copy runs once the values are entered.

    Raises ``NotAllowed``, ``NameTaken`` or ``ValidationError``. Without a name, `name_of_copy` chooses one.
    """
    with transaction.atomic():
        original = locked_for(actor, pipeline, PipelineAction.DUPLICATE)
        person = creator(actor)
        copy = Pipeline(
            organization_id=original.organization_id,
            owner=person,
            name=name.strip() or name_of_copy(original),
            description=original.description,
            tags=original.tags,
        )
        _save(copy)
        with_secrets = may_copy_secrets(person, original)
        Step.objects.bulk_create([_copy_of(step, copy, with_secrets=with_secrets) for step in original.steps.all()])
        for rule in original.access_rules.all():
            copy.access_rules.create(user_id=rule.user_id, group_id=rule.group_id, role=rule.role)
        record(
            actor=actor,
            action=Action.PIPELINE_DUPLICATED,
            target=original,
            request=request,
            copy=str(copy.pk),
            to=copy.name,
            secrets_copied=with_secrets,
        )
        record(actor=actor, action=Action.PIPELINE_CREATED, target=copy, request=request, copy_of=str(original.pk))
    return copy


def may_copy_secrets(person: User, original: Pipeline) -> bool:
    return PipelineAction.ADMINISTER in allowed_actions(person, original)


def _copy_of(step: Step, pipeline: Pipeline, *, with_secrets: bool) -> Step:
    """Encrypts the secrets again, because each is bound to its step."""
    copy = Step(pipeline=pipeline, **step.definition())
    for place in step_secrets.PLACES:
        values = dict.fromkeys(getattr(step, place), step_secrets.MISSING)
        if with_secrets:
            # A missing or unreadable value of the original is missing in the copy.
            values |= step_secrets.encrypt(copy, place, step_secrets.readable(step, place))
        setattr(copy, place, values)
    return copy


def name_of_copy(original: Pipeline) -> str:
    """“Deploy (copy)”, or “Deploy (copy 2)” and so on if that name is in use."""
    limit = Pipeline._meta.get_field("name").max_length or 0
    taken = {
        name.lower()
        for name in Pipeline.objects.filter(organization_id=original.organization_id).values_list("name", flat=True)
    }
    for number in range(1, 10**6):
        mark = _("(copy)") if number == 1 else _("(copy %(number)s)") % {"number": number}
        name = f"{original.name[: limit - len(mark) - 1].rstrip()} {mark}"
        if name.lower() not in taken:
            return name
    raise NameTaken(_(NAME_TAKEN))


def transfer_pipeline(*, actor: User, pipeline: Pipeline, owner: User, request: HttpRequest | None = None) -> Pipeline:
    """Makes someone else the owner. Raises ``NotAllowed``, or ``ValidationError`` for someone who could not own it."""
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.ADMINISTER)
        new = fresh(owner)
        if new.organization_id != locked.organization_id or not may_be_owner(new):
            raise ValidationError(
                {"owner": _("A pipeline goes to an active person of your organization who may create one.")}
            )
        if new.pk != locked.owner_id:
            before = locked.owner.email
            locked.owner = new
            locked.save(update_fields=["owner", "updated_at"])
            record(
                actor=actor,
                action=Action.PIPELINE_TRANSFERRED,
                target=locked,
                request=request,
                **{"from": before, "to": new.email},
            )
    return locked


def lock_pipeline(*, actor: User, pipeline: Pipeline, request: HttpRequest | None = None) -> Pipeline:
    """Locks the pipeline: nobody can start it, runs in progress continue. Raises ``NotAllowed`` or ``Refused``."""
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.LOCK)
        if locked.is_locked:
            raise Refused(
                _("“%(pipeline)s” is locked already, by %(person)s.")
                % {"pipeline": locked.name, "person": handle_of(locked.locked_by_email)}
            )
        locked.locked_at, locked.locked_by_email = timezone.now(), actor.email
        locked.save(update_fields=["locked_at", "locked_by_email", "updated_at"])
        record(actor=actor, action=Action.PIPELINE_LOCKED, target=locked, request=request)
    return locked


def unlock_pipeline(*, actor: User, pipeline: Pipeline, request: HttpRequest | None = None) -> Pipeline:
    """Unlocks the pipeline; queued runs begin. Raises ``NotAllowed`` or ``Refused``."""
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.LOCK)
        if not locked.is_locked:
            raise Refused(_("“%(pipeline)s” is not locked.") % {"pipeline": locked.name})
        locked.locked_at, locked.locked_by_email = None, ""
        locked.save(update_fields=["locked_at", "locked_by_email", "updated_at"])
        record(actor=actor, action=Action.PIPELINE_UNLOCKED, target=locked, request=request)
        enqueue(locked)
    return locked


def delete_pipeline(*, actor: User, pipeline: Pipeline, request: HttpRequest | None = None) -> None:
    """Deletes the pipeline for good. Its runs and their log stay, under its name.

    Raises ``NotAllowed``, or ``Refused`` while a run is in progress.
    """
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.ADMINISTER, blocks_references=True)
        if locked.runs.filter(state__in=UNDER_WAY).exists():
            raise Refused(
                _("“%(pipeline)s” has a run in progress. Stop it, wait until it has stopped, then delete the pipeline.")
                % {"pipeline": locked.name}
            )
        record(actor=actor, action=Action.PIPELINE_DELETED, target=locked, request=request, runs=locked.run_count)
        for run in locked.runs.filter(state=RunState.HALTED):
            # These runs cannot continue, so their copies of secrets are deleted.
            run.move(RunEvent.SUPERSEDED)
        locked.delete()


def _save(pipeline: Pipeline) -> None:
    """Saves, or raises ``NameTaken`` or ``ValidationError``. The database's constraint decides between two at once."""
    if errors := errors_of(pipeline):
        raise ValidationError(errors)
    try:
        with transaction.atomic():
            pipeline.save()
    except IntegrityError:
        raise NameTaken(_(NAME_TAKEN)) from None


def _clean_tags(tags: Iterable[str]) -> list[str]:
    """Trims and normalizes the tags and removes duplicates, in the given order."""
    return list(dict.fromkeys(stripped for tag in tags if (stripped := composed(tag).strip())))
