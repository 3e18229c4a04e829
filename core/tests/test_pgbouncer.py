"""The PostgreSQL backend behind PgBouncer in transaction mode: transactions are independent."""

import logging
import os
import shutil
import subprocess
import time
import uuid

import pytest
from django.conf import settings as portal_settings
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.db.utils import ConnectionHandler

from auditlog import journal
from auditlog.models import TokenUse
from auditlog.open_use import OpenUse
from core.db.postgresql.base import DatabaseWrapper
from opsera_portal import backups
from opsera_portal.tests.portal import answers, free_port
from tokens import record_query
from tokens.tests.factories import TokenFactory

pytestmark = [pytest.mark.django_db, pytest.mark.each_database]
# For tests whose data another connection must see.
committed = pytest.mark.django_db(transaction=True)

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@pytest.fixture
def port(tmp_path):
    """Starts a PgBouncer whose clients share two connections to the server. Returns its port."""
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has connection poolers")
    if PGBOUNCER is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    at, port = connection.settings_dict, free_port()
    directory = tmp_path / "pgbouncer"
    directory.mkdir()
    (directory / "users.txt").write_text(f'"{at["USER"]}" "{at["PASSWORD"]}"\n')
    (directory / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={at['HOST'] or '127.0.0.1'} port={at['PORT'] or 5432}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\npool_mode = transaction\n"
        f"auth_type = trust\nauth_file = {directory}/users.txt\ndefault_pool_size = 2\n"
    )
    command = [PGBOUNCER, "-q", str(directory / "pgbouncer.ini")]
    if os.geteuid() == 0:
        # PgBouncer refuses to run as root, and its user must be able to read the file.
        command[1:1] = ["-u", "nobody"]
        for path in (tmp_path.parent.parent, tmp_path.parent, tmp_path):
            path.chmod(0o755)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not answers(port):
        assert process.poll() is None, "PgBouncer did not start"
        assert time.monotonic() < deadline, "PgBouncer does not answer"
        time.sleep(0.02)
    yield port
    process.terminate()
    process.wait(timeout=10)


@pytest.fixture
def behind(port):
    """Opens connections of the portal through PgBouncer, with settings as in a new process."""
    at = {**connections.settings["default"], "NAME": connection.settings_dict["NAME"]}
    at |= {"HOST": "127.0.0.1", "PORT": port, "TEST": {}}
    at.pop("IS_POOLED_OUTSIDE", None)
    handler = ConnectionHandler({"default": at})
    made = []

    def connect():
        wrapper = handler.create_connection("default")
        made.append(wrapper)
        return wrapper

    yield connect
    for wrapper in made:
        wrapper.close()


@pytest.fixture
def through(behind, monkeypatch):
    """Replaces the portal's own connection with one through PgBouncer."""
    wrapper = behind()
    direct = connections["default"]
    connections["default"] = wrapper
    yield wrapper
    connections["default"] = direct


def test_pooler_is_detected_and_logged_once(behind, caplog):
    with caplog.at_level(logging.INFO):
        assert behind().is_pooled_outside
        assert behind().is_pooled_outside
        assert not connections["default"].is_pooled_outside

    assert [record.message.count("connection pooler") for record in caplog.records] == [1]
    assert behind().settings_dict["DISABLE_SERVER_SIDE_CURSORS"] is True


def test_statements_are_not_prepared_behind_a_pooler(behind):
    """PgBouncer before 1.21 does not support prepared statements: they can collide or be missing."""
    clients = [behind() for _ in range(4)]

    for number in range(12):
        for client in clients:
            with client.prepared_cursor() as cursor:
                cursor.execute("SELECT %s::int + 1", [number])
                assert cursor.fetchone() == (number + 1,)


def test_statements_are_prepared_without_a_pooler():
    if connection.vendor != "postgresql":
        pytest.skip("SQLite's driver remembers statements by itself.")
    wrapper = connections["default"]
    with wrapper.prepared_cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        assert cursor.fetchone()[0] >= 1


@committed
def test_every_transaction_uses_utc_with_any_time_zone_of_the_server(behind):
    database = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {database} SET TimeZone = 'Asia/Tokyo'")
    try:
        clients = [behind() for _ in range(4)]
        for client in clients * 3:
            with client.cursor() as cursor:
                cursor.execute("SHOW TimeZone")
                assert cursor.fetchone() == ("UTC",)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {database} RESET TimeZone")


@committed
def test_token_is_looked_up_and_its_use_logged_through_a_pooler(owner, through):
    token = TokenFactory(owner=owner)
    for _ in range(8):
        found = record_query.find_token(token_id=token.pk, owner_id=owner.pk)
        use = OpenUse(
            request_id=uuid.uuid4(),
            at=token.created_at,
            method="GET",
            target="/api/v1/me",
            ip=None,
            user_agent="",
            token=found,
        )
        journal.commit(use, status=200, code=None)

    assert TokenUse.objects.count() == 8
    assert len(list(TokenUse.objects.iterator(chunk_size=2))) == 8


@committed
@pytest.mark.parametrize(
    "address", ["/api/v1/me/authentication-log?after=start", "/api/v1/me/authentication-log/export"]
)
def test_logs_are_read_through_a_pooler(client, owner, through, address):
    client.force_login(owner)

    answer = client.get(address)

    assert (answer.status_code, bool(answer.getvalue())) == (200, True)


def test_backup_through_a_pooler_is_refused(through, tmp_path, monkeypatch):
    with pytest.raises(CommandError, match="DATABASE_DIRECT_URL"):
        call_command("backup_database", str(tmp_path / "copy.database"))
    assert list(tmp_path.glob("*.database")) == []

    direct = {name: connections.settings["default"][name] for name in ("HOST", "PORT", "USER", "PASSWORD")}
    monkeypatch.setattr(portal_settings, "DATABASE_DIRECT", {**direct, "NAME": through.settings_dict["NAME"]})
    if shutil.which("pg_dump"):
        backups.back_up(tmp_path / "copy.database")
        assert (tmp_path / "copy.database").stat().st_size > 0


def test_connection_is_returned_if_detecting_a_pooler_fails(monkeypatch):
    """Otherwise the pool would lose one connection each time."""
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has a pool of connections")
    at = {**connections.settings["default"], "NAME": connection.settings_dict["NAME"], "TEST": {}}
    at["OPTIONS"] = {**at["OPTIONS"], "pool": {"min_size": 1, "max_size": 1, "timeout": 2}}
    wrapper = ConnectionHandler({"default": at})["default"]
    wrapper.alias = f"one-{os.getpid()}"
    look = DatabaseWrapper._detect_pooler

    def fail(self, connection):
        raise OSError("The server has gone.")

    try:
        monkeypatch.setattr(DatabaseWrapper, "_detect_pooler", fail)
        for _ in range(2):
            with pytest.raises(OSError, match="gone"):
                wrapper.ensure_connection()
        monkeypatch.setattr(DatabaseWrapper, "_detect_pooler", look)
        wrapper.ensure_connection()
    finally:
        wrapper.close()
        wrapper.close_pool()
