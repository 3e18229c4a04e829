"""Failures of a running portal: full disk, unavailable or failing database, callers who disconnect.

The web server runs in its own processes, on its own database.
"""

import glob
import http.client
import json
import os
import pwd
import resource
import shutil
import socket
import struct
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import httpx
import psycopg
import pytest
from django.db import connection

from auditlog import exports
from auditlog.models import Activity
from auditlog.tests.crash import environment_of, kill, prepare_in, start_web, wait_until_it_answers
from opsera_portal.tests import databases, portal

pytestmark = [pytest.mark.each_database, pytest.mark.integration]

WELL_AGAIN_SECONDS = 10
ME, RUN = "/api/v1/me", "/api/v1/pipeline/run"


@dataclass
class Web:
    port: int
    prepared: dict
    group: int
    portal: portal.Portal

    def call(self, method=None, path=ME, timeout=30):
        """Sends a request; returns the status and the JSON body of the answer."""
        body = json.dumps({"pipelineId": self.prepared["pipeline"]}) if path == RUN else None
        caller = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            caller.request(method or ("POST" if body else "GET"), path, body, self.headers)
            response = caller.getresponse()
            return response.status, json.loads(response.read())
        finally:
            caller.close()

    @property
    def headers(self):
        return {"Authorization": f"Bearer {self.prepared['token']}", "Content-Type": "application/json"}

    def health(self):
        """The status of the health check."""
        return httpx.get(f"http://127.0.0.1:{self.port}/readyz").status_code

    def count(self, table, condition="1 = 1"):
        with self.portal.connect() as database:
            cursor = database.cursor()
            cursor.execute(f"SELECT count(*) FROM {table} WHERE {condition}")
            return cursor.fetchone()[0]

    def processes(self):
        """The ids of all processes of the web server."""
        listed = subprocess.run(["ps", "-eo", "pid=,pgid="], capture_output=True, text=True, check=True).stdout
        return [int(pid) for pid, group in map(str.split, listed.splitlines()) if int(group) == self.group]

    def wait_until_well(self):
        deadline = time.monotonic() + WELL_AGAIN_SECONDS
        while time.monotonic() < deadline:
            try:
                if self.call(timeout=5)[0] == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.1)
        raise AssertionError(f"The portal did not recover within {WELL_AGAIN_SECONDS} seconds.")


@dataclass
class Cluster:
    """A PostgreSQL server that only these tests use, so they can stop it."""

    directory: str
    port: int
    binaries: str

    @property
    def database_url(self):
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def small_disk(self):
        """Not there until a test mounts it."""
        return f"{self.directory}/disk"

    def control(self, *arguments):
        command = [f"{self.binaries}/pg_ctl", "-D", f"{self.directory}/db", "-w", "-t", "30", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **as_no_root())

    def start(self):
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.directory}"
        self.control("-l", f"{self.directory}/log", "-o", options, "start")

    def stop(self):
        self.control("-m", "fast", "stop")

    def copy(self, database_url):
        """Copies this database, because the migrations would take seconds."""
        dump = subprocess.Popen([f"{self.binaries}/pg_dump", database_url], stdout=subprocess.PIPE)
        restore = [f"{self.binaries}/psql", "--quiet", "--set=ON_ERROR_STOP=1", self.database_url]
        subprocess.run(restore, stdin=dump.stdout, stdout=subprocess.DEVNULL, check=True)
        assert dump.wait() == 0


def as_no_root():
    """Runs PostgreSQL as the user that its package creates, because it refuses to run as root."""
    return {"user": "postgres", "group": "postgres", "cwd": "/"} if os.geteuid() == 0 else {}


@pytest.fixture(scope="module")
def database_url(tmp_path_factory):
    name = f"failures{tmp_path_factory.getbasetemp().name}"
    url = portal.make_database(name)
    yield url
    portal.drop_database(url)


@pytest.fixture(scope="module")
def cluster(database_url):
    """``None`` on SQLite, and without PostgreSQL's own programs."""
    binaries = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not database_url or not binaries:
        yield None
        return
    directory = f"/tmp/opsera-portal-cluster-{os.getpid()}"
    os.makedirs(directory, mode=0o700)
    if os.geteuid() == 0:
        os.chown(directory, pwd.getpwnam("postgres").pw_uid, -1)
    initdb = [f"{binaries[-1]}/initdb", "-D", f"{directory}/db", "-U", "postgres", "-A", "trust", "--no-sync"]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, **as_no_root())
    made = Cluster(directory, portal.free_port(), binaries[-1])
    made.start()
    made.copy(database_url)
    yield made
    subprocess.run([f"{made.binaries}/pg_ctl", "-D", f"{directory}/db", "-m", "immediate", "stop"], **as_no_root())
    subprocess.run(["umount", made.small_disk], stderr=subprocess.DEVNULL)
    shutil.rmtree(directory)


@contextmanager
def started(directory, database_url):
    port = portal.free_port()
    environment = environment_of(directory, port, database_url)
    prepared, command = prepare_in(environment)
    process = start_web(command, environment)
    try:
        wait_until_it_answers(port)
        reader = portal.Portal("", directory / "data", database_url, directory / "output", process)
        yield Web(port, prepared, process.pid, reader)
    finally:
        kill(process)


@pytest.fixture(scope="module")
def web(cluster, database_url, tmp_path_factory):
    with started(tmp_path_factory.mktemp("failures"), cluster.database_url if cluster else database_url) as running:
        yield running


@pytest.fixture
def own_cluster(cluster):
    """The server of the portal, for tests that stop it or fill its disk."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no server that could be stopped")
    if cluster is None:
        pytest.skip("PostgreSQL's own programs are not on this machine")
    return cluster


# A full disk


@contextmanager
def a_full_disk(web):
    """Limits the size of files, so that writes of the web server fail as on a full disk."""
    for pid in web.processes():
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        for pid in web.processes():
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL writes in processes of its own")
def test_request_with_a_full_disk_is_503_and_changes_nothing(web):
    assert web.call()[0] == 200
    assert web.call(path=RUN)[0] == 200
    assert web.health() == 200
    entries, runs = web.count("auditlog_tokenuse"), web.count("pipelines_run")

    with a_full_disk(web):
        for path in (ME, RUN, ME):
            status, problem = web.call(path=path)
            assert (status, problem["code"]) == (503, "unavailable")
        assert web.health() == 503

    web.wait_until_well()
    assert web.count("pipelines_run") == runs
    assert web.count("auditlog_tokenuse") == entries + 1
    assert web.call(path=RUN)[0] == 200


# A read-only database


@pytest.mark.skipif(connection.vendor != "postgresql", reason="on SQLite it is tested inside of one process")
def test_requests_are_503_while_the_database_is_read_only(web):
    name = web.portal.database_url.rpartition("/")[2]
    entries, runs = web.count("auditlog_tokenuse"), web.count("pipelines_run")

    def switch(value):
        # As in a failover: connections are closed, and new ones lead to a read-only server.
        with psycopg.connect(databases.beside(web.portal.database_url, "template1"), autocommit=True) as server:
            server.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {value}')
            server.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s", [name])

    switch("on")
    try:
        for path in (ME, RUN, ME):
            status, problem = web.call(path=path)
            assert (status, problem["code"]) == (503, "unavailable")
    finally:
        switch("off")

    web.wait_until_well()
    assert web.count("pipelines_run") == runs
    assert web.count("auditlog_tokenuse") >= entries + 1


# A restart of the database


def test_portal_recovers_after_postgresql_restarts_and_loses_nothing(own_cluster, web):
    entries, runs = web.count("auditlog_tokenuse"), web.count("pipelines_run")
    answered = sum(web.call()[0] == 200 for _ in range(20))
    assert web.call(path=RUN)[0] == 200

    own_cluster.stop()
    for path in (ME, RUN):
        status, problem = web.call(path=path, timeout=WELL_AGAIN_SECONDS * 2)
        assert (status, problem["code"]) == (503, "unavailable")
    own_cluster.start()

    web.wait_until_well()
    # There may be one more: a call that is logged although its caller timed out.
    assert web.count("auditlog_tokenuse") >= entries + answered + 2
    assert web.count("pipelines_run") == runs + 1


@contextmanager
def a_full_disk_below_the_log(cluster, web):
    """The authentication log is on a disk of its own that has no free byte."""
    os.mkdir(cluster.small_disk)
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", cluster.small_disk]
    if os.geteuid() != 0 or subprocess.run(mount, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("Only root can mount a small disk, and not in every container")
    os.mkdir(tablespace := f"{cluster.small_disk}/tablespace")
    os.chown(tablespace, pwd.getpwnam("postgres").pw_uid, -1)
    with web.portal.connect() as database:
        database.autocommit = True
        database.execute(f"CREATE TABLESPACE small LOCATION '{tablespace}'")
        database.execute("ALTER TABLE auditlog_tokenuse SET TABLESPACE small")
    filling = f"{cluster.small_disk}/filling"
    with open(filling, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        os.remove(filling)


def test_full_disk_of_postgresql_answers_nothing_that_is_not_logged(own_cluster, web):
    before, runs = web.count("auditlog_tokenuse", "status = 200"), web.count("pipelines_run")
    answers = []

    with a_full_disk_below_the_log(own_cluster, web):
        # The last pages of the table have room for some entries.
        while len(answers) < 500 and answers.count((503, RUN)) < 5:
            path = RUN if len(answers) % 2 else ME
            answers.append((web.call(path=path)[0], path))
        assert web.health() == 503

    assert {status for status, _ in answers} == {200, 503}
    assert web.count("auditlog_tokenuse", "status = 200") == before + sum(status == 200 for status, _ in answers)
    assert web.count("pipelines_run") == runs + answers.count((200, RUN))
    web.wait_until_well()
    assert web.call(path=RUN)[0] == 200


# A database that fails in the middle of an export


@contextmanager
def a_log_whose_second_part_cannot_be_read(web):
    """In place of the activity log: many copies of one entry. Reading the oldest of them fails."""
    fails = "json('x' || i)" if web.portal.is_sqlite else "CAST('x' || i AS json)"
    values = {field.column: f'entry."{field.column}"' for field in Activity._meta.concrete_fields}
    values |= {"id": "i", "target_id": f"CASE i WHEN 1 THEN CAST({fails} AS varchar(64)) ELSE entry.target_id END"}
    columns = ", ".join(f'{value} AS "{column}"' for column, value in values.items())
    run(
        web,
        "ALTER TABLE auditlog_activity RENAME TO auditlog_activity_away",
        f"""CREATE VIEW auditlog_activity AS
            WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i <= {exports.PART_SIZE})
            SELECT {columns} FROM numbers, (SELECT * FROM auditlog_activity_away ORDER BY id LIMIT 1) AS entry""",
    )
    try:
        yield
    finally:
        run(web, "DROP VIEW auditlog_activity", "ALTER TABLE auditlog_activity_away RENAME TO auditlog_activity")


def run(web, *statements):
    with web.portal.connect() as database:
        for statement in statements:
            database.execute(statement)


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_export_that_fails_in_the_middle_is_no_complete_answer(web, file_format):
    assert web.call(path=RUN)[0] == 200
    address = f"http://127.0.0.1:{web.port}/api/v1/me/activity-log/export?format={file_format}"
    parts = []

    with (
        a_log_whose_second_part_cannot_be_read(web),
        # The connection is closed at once: the client waits for nothing longer than this.
        httpx.stream("GET", address, headers=web.headers, timeout=2) as answer,
        pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"),
    ):
        parts.extend(answer.iter_raw())

    sent = b"".join(parts)
    assert answer.status_code == 200
    assert sent.count(b"\n") >= exports.PART_SIZE
    assert sent.endswith(exports.INCOMPLETE)


# Callers who disconnect


def hang_up(web, path, *, sent=1.0):
    """Sends a request, or a part of it, and resets the connection without waiting for the answer."""
    body = json.dumps({"pipelineId": web.prepared["pipeline"]}) if path == RUN else ""
    head = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    head += [f"{name}: {value}" for name, value in web.headers.items()]
    request = ("\r\n".join(head) + "\r\n\r\n" + body).encode()
    with socket.create_connection(("127.0.0.1", web.port)) as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        caller.sendall(request[: int(len(request) * sent)])
        # Long enough for the server to start the request, but not always to finish it.
        time.sleep(0.02)


def test_disconnected_caller_leaves_no_change_without_an_entry(web):
    web.wait_until_well()
    entries = web.count("auditlog_tokenuse")
    for _ in range(10):
        hang_up(web, RUN)
        hang_up(web, ME)
        hang_up(web, RUN, sent=0.95)
    web.wait_until_well()
    settled = None
    while settled != (settled := (web.count("pipelines_run"), web.count("auditlog_tokenuse"))):
        time.sleep(0.3)

    assert web.count("pipelines_run") == web.count("auditlog_tokenuse", f"target = '{RUN}' AND outcome = 'allowed'")
    # 20 complete requests, 10 with an incomplete body, and one from `wait_until_well`. A reset can
    # discard what the server has not read yet, so some of them may be missing.
    assert entries + 20 <= web.count("auditlog_tokenuse") <= entries + 31
    assert web.call()[0] == 200
