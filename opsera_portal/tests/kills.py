"""Kills a worker at a chosen moment: nothing after it runs, and what it has not committed is rolled back."""

import contextlib

from django.db import connection

WRITES = ("INSERT", "UPDATE", "DELETE")


class Killed(BaseException):
    """Raised in place of kill -9. Nothing catches it, so nothing after it runs."""


@contextlib.contextmanager
def before_each_statement(act):
    """Calls ``act`` with each statement of this thread's connection, before the statement is executed."""

    def execute(run, sql, params, many, context):
        act(sql)
        return run(sql, params, many, context)

    with connection.execute_wrapper(execute):
        yield


class KillBeforeWrite:
    """Kills this thread before its write of this number."""

    def __init__(self, number):
        self._left = number

    def __call__(self, sql):
        self._left -= sql.startswith(WRITES)
        if self._left == 0:
            raise Killed


def is_killed(act, *, before_write):
    """Does ``act``. Returns whether it made so many writes that it was killed."""
    try:
        with before_each_statement(KillBeforeWrite(before_write)):
            act()
    except Killed:
        return True
    return False
