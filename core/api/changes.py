"""The transaction of an API request that may change something.

The entry in the authentication log is written after the view has answered, by a middleware. It must be committed with
the change or not at all, so the transaction is longer than the view: the middleware opens a `Change`, `ApiViewSet`
begins its transaction, and the middleware ends it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from django.db import transaction
from django.db.transaction import Atomic
from django.http import HttpRequest


class Change:
    """A context around a request. After ``begin``, it has two nested transactions: one for change and entry, in it one
    for the change alone. An exception rolls both back."""

    def __init__(self) -> None:
        self._whole: Atomic | None = None
        self._view: Atomic | None = None
        self._afterwards: Callable[[], object] | None = None
        self._held: ExitStack | None = None

    def begin(self) -> None:
        """From here on, what is changed is committed together with the log entry, or not at all.

        Call it when the token is checked and the body is read: on SQLite the transaction holds the only write lock,
        and neither strangers nor slow callers may make others wait for it.
        """
        self._begin_whole()
        view = transaction.atomic()
        view.__enter__()
        self._view = view

    def _begin_whole(self) -> None:
        # Kept only when it has begun: SQLite can refuse the lock.
        whole = transaction.atomic()
        whole.__enter__()
        self._whole = whole

    def do_even_if_refused(self, action: Callable[[], object]) -> None:
        """``action`` is committed together with the log entry, although the request is refused and its own change is
        rolled back. For consequences of a refused request, such as ending tokens that were stolen."""
        self._afterwards = action

    def hold(self, held: AbstractContextManager[Any]) -> None:
        """Enters the context, and leaves it when everything is committed. For locks that protect what is written."""
        self._held = self._held or ExitStack()
        self._held.enter_context(held)

    def end(self, *, keep: bool) -> None:
        """Ends the inner transaction. What is written after this is committed even if the change is not kept."""
        if self._view is not None:
            if not keep:
                transaction.set_rollback(True)
            self._end_view(None, None, None)
        if self._afterwards is not None:
            if self._whole is None:
                self._begin_whole()
            self._afterwards()

    def __enter__(self) -> "Change":
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        try:
            self._end_view(kind, error, traceback)
        finally:
            try:
                if self._whole is not None:
                    self._whole.__exit__(kind, error, traceback)
            finally:
                if self._held is not None:
                    self._held.close()

    def _end_view(self, kind: Any, error: Any, traceback: Any) -> None:
        view, self._view = self._view, None
        if view is not None:
            view.__exit__(kind, error, traceback)


def change_of(request: HttpRequest) -> Change:
    """Opens the change of this request, and commits it at the end of the block; an exception rolls it back."""
    change = request.change = Change()  # type: ignore[attr-defined]
    return change


def do_even_if_refused(request: HttpRequest, action: Callable[[], object]) -> None:
    """See `Change.do_even_if_refused`."""
    change: Change = request.change  # type: ignore[attr-defined]
    change.do_even_if_refused(action)


def hold_until_committed(request: HttpRequest, held: AbstractContextManager[Any]) -> None:
    """See `Change.hold`."""
    change: Change = request.change  # type: ignore[attr-defined]
    change.hold(held)


def begin_change(request: HttpRequest) -> None:
    """Begins the transaction of this request. Fails if no change was opened: a change must not go unlogged."""
    change: Change = request.change  # type: ignore[attr-defined]
    change.begin()
