"""Creates many log entries at once, and changes entries directly in the database."""

import io
import threading
import uuid
from contextlib import contextmanager
from datetime import timedelta

from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from django.utils import timezone

from auditlog.models import Activity, Seal, TokenUse
from auditlog.seals import sealing
from auditlog.seals.verification import Verification

USES = Seal.Log.AUTHENTICATION
ACTIONS = Seal.Log.ACTIVITY


def use(organization=None, *, at=None, **values):
    """An unsaved `TokenUse`."""
    fields = {
        "request_id": uuid.uuid4(),
        "at": at or timezone.now(),
        "token_id": uuid.UUID(int=1),
        "token_name": "nightly",
        "scope": "api",
        "owner_id": uuid.UUID(int=2),
        "owner_email": "owner@acme.example",
        "organization": organization,
        "account": organization.slug if organization else "",
        "method": "GET",
        "target": "/api/v1/me",
        "status": 200,
        "outcome": "allowed",
        "reason": "ok",
        "ip": "192.0.2.1",
        "user_agent": "curl/8",
        "duration_ms": 3,
    }
    return TokenUse(**fields | values)


def action(organization=None, *, at=None, **values):
    fields = {
        "at": at or timezone.now(),
        "actor_id": uuid.UUID(int=2),
        "actor_email": "owner@acme.example",
        "organization": organization,
        "account": organization.slug if organization else "",
        "type": "token",
        "action": "token.issued",
        "target_id": "1",
        "target_name": "nightly",
        "token_id": uuid.UUID(int=1),
        "token_name": "nightly",
        "ip": "192.0.2.1",
        "request_id": uuid.uuid4(),
        "details": {"scopes": ["api"], "b": 1, "aa": None},
    }
    return Activity(**fields | values)


def uses(count, organization=None, **values):
    """Saves ``count`` uses, and returns them in order of their ids."""
    TokenUse.objects.bulk_create(use(organization, **values) for _ in range(count))
    return list(TokenUse.objects.order_by("-id")[:count])[::-1]


def actions(count, organization=None, **values):
    Activity.objects.bulk_create(action(organization, **values) for _ in range(count))
    return list(Activity.objects.order_by("-id")[:count])[::-1]


def days_ago(days):
    return timezone.now() - timedelta(days=days)


def seal(log=USES):
    """Seals all waiting entries in a new block, and returns the block."""
    block = sealing.seal_next(log, at_once=True)
    assert block is not None
    return block


def findings(log=USES, **options):
    return list(Verification(log).findings(**options))


def sql(statement, *values):
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def remove(rows):
    """Deletes rows directly in the database, because the models refuse to."""
    rows._raw_delete(connection.alias)


def change(model, entry_id, **values):
    """Changes a row directly in the database, because the models refuse to."""
    assignments = ", ".join(f'"{column}" = %s' for column in values)
    fields = {field.column: field for field in model._meta.concrete_fields}
    prepared = [fields[column].get_db_prep_save(value, connection) for column, value in values.items()]
    sql(f'UPDATE "{model._meta.db_table}" SET {assignments} WHERE id = %s', *prepared, entry_id)


def run(command, *options):
    """Runs the command; returns its output, its error message and its exit code."""
    said = io.StringIO()
    try:
        call_command(command, *options, stdout=said, stderr=io.StringIO())
    except CommandError as error:
        return said.getvalue(), str(error), error.returncode
    return said.getvalue(), "", 0


@contextmanager
def committed_late(write):
    """Runs ``write()`` on another connection at once, and commits it when the block ends."""
    has_written, may_commit = threading.Event(), threading.Event()

    def write_and_wait():
        try:
            with transaction.atomic():
                write()
                has_written.set()
                may_commit.wait(10)
        finally:
            connections.close_all()

    thread = threading.Thread(target=write_and_wait)
    thread.start()
    try:
        assert has_written.wait(10)
        yield
    finally:
        may_commit.set()
        thread.join(10)
