"""The checks with which every change to a pipeline begins."""

from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.db.models import TextField
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import User
from accounts.roles import Ability
from core.db.locks import lock_if_exists
from core.errors import DomainError, NotAllowed
from core.text import NOT_PRINTABLE, composed, is_printable
from pipelines.access import PipelineAction, allowed_actions
from pipelines.models import Pipeline, Step


class Refused(DomainError):
    """The pipeline's present state forbids it. The message says why and what to do."""


def locked_for(actor: User, pipeline: Pipeline, *actions: PipelineAction, blocks_references: bool = False) -> Pipeline:
    """Locks the pipeline until the transaction ends and returns its current state, if the actor is allowed all actions.

    ``blocks_references``: see `core/db/locks.py`. Raises ``NotAllowed``. Call in a transaction.
    """
    locked = lock_if_exists(Pipeline.objects.all(), pipeline.pk, blocks_references=blocks_references)
    person = fresh(actor)
    if locked is None or not allowed_actions(person, locked).issuperset(actions):
        raise NotAllowed
    return locked


def fresh(actor: User) -> User:
    """Reads the actor again, because roles can change during a request. Raises ``NotAllowed``.

    The limit of the token that they act with stays.
    """
    person: User | None = User.objects.as_now(actor)
    if person is None:
        raise NotAllowed
    return person


def creator(actor: User) -> User:
    """The actor as they are now, if they can create pipelines. Raises ``NotAllowed``.

    A token that is limited to chosen pipelines can't: it would not reach the new one.
    """
    person = fresh(actor)
    if person.limited_by_token is not None or not person.may(Ability.CREATE_PIPELINES):
        raise NotAllowed
    return person


def errors_of(row: Pipeline | Step, *, exclude: Iterable[str] = ()) -> dict[str, list[str]]:
    """Errors by field: those of the model, and checks of text that Django leaves to forms."""
    row.name = composed(row.name)
    try:
        row.full_clean(exclude=exclude, validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        return dict(error.message_dict)
    errors: dict[str, list[str]] = {}
    for field in row._meta.fields:
        if not isinstance(field, TextField):
            continue
        text = getattr(row, field.name)
        if field.max_length is not None and len(text) > field.max_length:
            limit = field.max_length
            errors[field.name] = [
                ngettext("Give at most %(limit)s character.", "Give at most %(limit)s characters.", limit)
                % {"limit": limit}
            ]
        elif "\0" in text:
            # PostgreSQL stores no NUL.
            errors[field.name] = [_("Null characters are not allowed.")]
    if not is_printable(row.name):
        errors["name"] = [str(NOT_PRINTABLE)]
    return errors
