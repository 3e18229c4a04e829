"""Errors that services raise and that `core.pages.forms` and `core.api.problems` show."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from django.core.exceptions import PermissionDenied, ValidationError
from django.utils.translation import gettext_lazy as _

from core.text import Text


class DomainError(Exception):
    """A change that a rule refuses. The message is shown to the person, so it says what to do.

    ``code`` is the problem document's published code, ``status`` its HTTP status, and ``field`` the form field that the
    message belongs to ("" for the whole form).
    """

    status: ClassVar[int] = 409
    code = "conflict"
    field = ""
    message: Text = _("This is not possible in the current state.")

    def __init__(self, message: Text = "", *, code: str = "", field: str = "") -> None:
        # Translated when it is raised, so that it is a plain text wherever it goes.
        self.message = str(message or self.message)
        self.code = code or self.code
        self.field = field or self.field
        super().__init__(self.message)


class NotAllowed(DomainError, PermissionDenied):
    """The person's role does not allow it. Pages answer 403, as for every ``PermissionDenied``."""

    status = 403
    code = "forbidden"
    message = _("You aren't allowed to do this, or it doesn't exist.")


class NameTaken(DomainError):
    """Another object has this name already. The database's constraint decides between two at once."""

    code = "name_taken"
    field = "name"
    message = _("This name is already in use.")


@contextmanager
def errors_of(field: str) -> Iterator[None]:
    """Adds the name of the field to the ``ValidationError`` of a function that checks one value."""
    try:
        yield
    except ValidationError as error:
        raise ValidationError({field: error.messages}) from None
