"""The transaction of an API request that may change something.

The entry in the authentication log is written after the view has answered, by a middleware. It must be committed with
the change or not at all, so the transaction is longer than the view: the middleware opens a `Change`, `ApiViewSet`
begins its transaction, and the middleware ends it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from django.db import transaction
from django.http import HttpRequest


class Change:
    """Two nested transactions, once ``begin`` was called: one for change and entry, in it one for the change alone."""

    def __init__(self) -> None:
        self._whole = ExitStack()
        self._view = ExitStack()
        self._has_begun = False

    def begin(self) -> None:
        """From here on, what is changed is committed together with the log entry, or not at all.

        Call it when the token is checked and the body is read: on SQLite the transaction holds the only write lock,
        and neither strangers nor slow callers may make others wait for it.
        """
        self._whole.enter_context(transaction.atomic())
        self._view.enter_context(transaction.atomic())
        self._has_begun = True

    def end(self, *, keep: bool) -> None:
        """Ends the inner transaction. What is written after this is committed even if the change is not kept."""
        if self._has_begun and not keep:
            transaction.set_rollback(True)
        self._view.close()


@contextmanager
def change_of(request: HttpRequest) -> Iterator[Change]:
    """Opens the change of this request, and commits it at the end of the block; an exception rolls it back."""
    change = Change()
    request.change = change  # type: ignore[attr-defined]
    with change._whole, change._view:
        yield change


def begin_change(request: HttpRequest) -> None:
    """Begins the transaction of this request. Fails if no change was opened: a change must not go unlogged."""
    change: Change = request.change  # type: ignore[attr-defined]
    change.begin()
