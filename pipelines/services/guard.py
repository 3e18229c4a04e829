"""What every action on a pipeline begins with."""

from django.core.exceptions import ValidationError

from accounts.models import User
from pipelines.access import PipelineAction, allowed_actions
from pipelines.models import Pipeline


class NotAllowed(Exception):
    """The actor may not do this to this pipeline, or it is gone."""


class Refused(Exception):
    """The present state forbids it; the message says why and what to do."""


class InvalidInput(ValidationError):
    """What was given cannot be taken: ``ValidationError`` by field, raised by a service."""


def locked_for(actor: User, pipeline: Pipeline, *actions: PipelineAction) -> Pipeline:
    """The pipeline as it is now, locked until the transaction ends, if the actor may do all of this now.

    Raises ``NotAllowed``. Call in a transaction. The lock leaves the row's key alone: log lines and runs that refer to
    it need not wait.
    """
    locked = Pipeline.objects.select_for_update(no_key=True).filter(pk=pipeline.pk).first()
    person = fresh(actor)
    if locked is None or not allowed_actions(person, locked).issuperset(actions):
        raise NotAllowed
    return locked


def fresh(actor: User) -> User:
    """The actor as they are now: roles change while a request is on its way. Raises ``NotAllowed``."""
    person: User | None = User.objects.filter(pk=actor.pk).first()
    if person is None:
        raise NotAllowed
    return person
