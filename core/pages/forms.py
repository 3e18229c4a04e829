"""How a page shows what a service refused: as errors of a form, or as a message."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib import messages
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.forms import BaseForm
from django.http import HttpRequest

from core.errors import DomainError, NotAllowed
from core.pages.seen import SeenForm
from core.seen import ChangedMeanwhile


def focus_first_error(form: BaseForm) -> None:
    """For a form without a summary of its errors: the page opens with the focus on the first field to correct."""
    wrong = next((field.name for field in form if field.errors), None)
    if wrong is not None:
        form.fields[wrong].widget.attrs["autofocus"] = True


def add_error(form: BaseForm, error: DomainError | ValidationError) -> None:
    """Adds the message beside its field, or to the whole form if the form has no such field."""
    if isinstance(error, ChangedMeanwhile) and isinstance(form, SeenForm):
        form.changed_meanwhile(error)
    if isinstance(error, DomainError):
        form.add_error(error.field if error.field in form.fields else None, str(error))
        return
    by_field = error.message_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.messages}
    for field, texts in by_field.items():
        for text in texts:
            form.add_error(field if field in form.fields else None, text)


@contextmanager
def refusals_in(form: BaseForm) -> Iterator[None]:
    """Turns what a service refuses into errors of the form: check ``form.is_valid()`` or ``form.errors`` afterwards.

    ``NotAllowed`` is raised again and becomes a 403, because no change to the form would help.
    """
    try:
        yield
    except NotAllowed:
        raise
    except (DomainError, ValidationError) as error:
        add_error(form, error)


@contextmanager
def refusals_as_messages(request: HttpRequest) -> Iterator[None]:
    """Shows what a service refuses as a message on the next page. ``NotAllowed`` is raised again and becomes a 403, and
    so is ``ChangedMeanwhile``, for which the form must be shown again with what was typed."""
    try:
        yield
    except (NotAllowed, ChangedMeanwhile):
        raise
    except DomainError as error:
        messages.error(request, str(error))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
