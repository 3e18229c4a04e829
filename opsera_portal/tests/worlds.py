"""Helpers for tests of tables, whose cells are all tried in the same world of people and things.

Creating this world takes longer than most requests of the table, so a fixture of module scope
creates it once with `created_once`. `check_row` undoes the changes of each cell, so every cell
finds the world as it was created. As in other tests, requests run in a transaction.
"""

from contextlib import contextmanager, nullcontext

import pytest
from django.db import transaction
from django.template.backends.django import Template

from core import rate_limits
from opsera_portal import api_reference


def created_once(django_db_blocker, create):
    """Yields the result of ``create`` for a module-scoped fixture; undoes it after the last test.

    The fixture must also request `django_db_setup`. Every test of its module that uses the database
    sees the created rows, and none of them may use `django_db(transaction=True)`.
    """
    whole = transaction.atomic()
    # Django marks the transactions of its own test cases in the same way.
    whole._from_testcase = True
    with django_db_blocker.unblock():
        whole.__enter__()
        try:
            world = create()
        except BaseException:
            _undo(whole)
            raise
    yield world
    with django_db_blocker.unblock():
        _undo(whole)


def _undo(whole):
    transaction.set_rollback(True)
    whole.__exit__(None, None, None)


@contextmanager
def undone():
    """Rolls back all changes, and clears the rate limits in memory."""
    rate_limits._here.clear()
    with transaction.atomic():
        try:
            yield
        finally:
            transaction.set_rollback(True)
            rate_limits._here.clear()


@contextmanager
def unrendered():
    """Answers every page without its content. Views decide as usual; rendering takes a third of their time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Template, "render", lambda template, context=None, request=None: "")
        try:
            yield
        finally:
            # The only page that is kept: the next one who asks for it needs its content.
            kept = api_reference.rendered
            if kept.cache_info().currsize and not kept():
                kept.cache_clear()


def first_and_last(expected):
    """The first and the last column with each outcome.

    >>> sorted(first_and_last({"owner": "ok", "user": "ok", "guest": "ok", "stranger": "gone"}))
    ['guest', 'owner', 'stranger']
    """
    backwards = dict(reversed(expected.items()))
    return {column for row in (expected, backwards) for column in {row[key]: key for key in row}.values()}


def check_row(name, expected, attempt, *, renders_all=True):
    """Compares a whole row of a table; the message of a failure shows the row.

    ``expected`` maps columns to outcomes. ``attempt(column)`` tries the row for this column and
    returns the outcome. Without ``renders_all``, pages have content only for the first and the last
    column with each outcome: enough for a table of who can open what to find a broken template.
    """
    __tracebackhide__ = True
    got, first_error = {}, None
    rendered = expected if renders_all else first_and_last(expected)
    for column in expected:
        try:
            with undone(), nullcontext() if column in rendered else unrendered():
                got[column] = attempt(column)
        except Exception as error:  # noqa: BLE001  (it is shown, and fails the row)
            got[column] = f"{type(error).__name__}: {error}"
            first_error = first_error or error
    if got != expected:
        raise AssertionError(shown(name, expected, got)) from first_error


SHORT = 30


def shown(name, expected, got):
    """Returns the row, one line for each cell. A long row shows only its wrong cells.

    >>> print(shown("GET /", {"owner": "ok", "guest": "gone"}, {"owner": "ok", "guest": 200}))
    GET /
           expected  got
    owner  ok        ok
    guest  gone      200  <-- wrong
    """
    wrong = [column for column in expected if got[column] != expected[column]]
    columns = list(expected) if len(expected) <= SHORT else wrong
    cells = [("", "expected", "got")]
    cells += [tuple(map(one_line, (column, expected[column], got[column]))) for column in columns]
    widths = [max(len(cell[place]) for cell in cells) for place in (0, 1)]
    lines = [f"{column:{widths[0]}}  {wanted:{widths[1]}}  {found}" for column, wanted, found in cells]
    marks = ["", *("  <-- wrong" if column in wrong else "" for column in columns)]
    left_out = len(expected) - len(columns)
    more = [f"({left_out} more are as expected)"] if left_out else []
    return "\n".join([name, *(line + mark for line, mark in zip(lines, marks, strict=True)), *more])


def one_line(value):
    text = str(value).partition("\n")[0][:100]
    return text if text.isprintable() else ascii(text)[1:-1]
