"""Every process refuses a token as soon as the request that expires it is answered."""

import http.client
import threading
import time
from contextlib import contextmanager

import pytest

from auditlog.tests.crash import environment_of, kill, prepare_in, start_web, wait_until_it_answers
from opsera_portal.tests import databases, portal

pytestmark = [pytest.mark.each_database, pytest.mark.integration]

# How many requests each caller sends before a token is expired, and after it.
ANSWERS = 8


@pytest.fixture
def processes(tmp_path):
    """Two web servers with one database, and tokens."""
    database_url = portal.make_database(f"expire{tmp_path.parent.name}")
    ports = [portal.free_port(), portal.free_port()]
    # Both have the same address, as behind a load balancer.
    shared = environment_of(tmp_path, ports[0], database_url) | {"PORTAL_URL": f"http://127.0.0.1:{ports[0]}"}
    started = []
    try:
        prepared, _ = prepare_in(shared)
        for port in ports:
            environment = shared | {"PORTAL_PORT": str(port)}
            # Wait until no other portal collects static files: this one lists them when it starts.
            with databases.one_at_a_time("static-files"):
                started.append(start_web(web_command_for(environment), environment))
                wait_until_it_answers(port)
        yield ports, prepared["other_tokens"]
    finally:
        for process in started:
            kill(process)
        portal.drop_database(database_url)


def web_command_for(environment):
    from opsera_portal.management.commands.web import web_command

    command = web_command()
    command[command.index("--port") + 1] = environment["PORTAL_PORT"]
    command[command.index("--blocking-threads") + 1] = "4"
    return command


def call(port, token, method="GET", path="/api/v1/me"):
    caller = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        caller.request(method, path, headers={"Authorization": f"Bearer {token}"})
        response = caller.getresponse()
        response.read()
        return response.status
    finally:
        caller.close()


def test_no_process_accepts_a_token_after_its_expire_request_is_answered(processes):
    ports, tokens = processes
    for number, token in enumerate(tokens):
        with callers_of(ports * 2, token) as seen:
            wait_for_answers(seen)
            assert call(ports[number % 2], token, "POST", "/api/v1/tokens/current/expire") == 200
            expired_at = time.monotonic()
            wait_for_answers(seen)

        answers = [answer for of_caller in seen for answer in of_caller]
        before = {status for began_at, status in answers if began_at < expired_at}
        after = {status for began_at, status in answers if began_at >= expired_at}
        assert 200 in before
        assert after == {401}


@contextmanager
def callers_of(ports, token):
    """Calls each of these ports all the time. Yields a list for each: when its requests began, and their answers."""
    seen, stop = [[] for _ in ports], threading.Event()

    def ask(port, of_caller):
        while not stop.is_set():
            began_at = time.monotonic()
            of_caller.append((began_at, call(port, token)))

    callers = [threading.Thread(target=ask, args=arguments) for arguments in zip(ports, seen, strict=True)]
    for caller in callers:
        caller.start()
    try:
        yield seen
    finally:
        stop.set()
        for caller in callers:
            caller.join()


def wait_for_answers(seen):
    """Waits until each caller has got so many more answers."""
    enough = [len(of_caller) + ANSWERS for of_caller in seen]
    deadline = time.monotonic() + 30
    while any(len(of_caller) < number for of_caller, number in zip(seen, enough, strict=True)):
        assert time.monotonic() < deadline, [len(of_caller) for of_caller in seen]
        time.sleep(0.005)
