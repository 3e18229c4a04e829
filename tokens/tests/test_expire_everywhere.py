"""Every process refuses a token as soon as the request that expires it is answered."""

import http.client
import threading
import time

import pytest

from auditlog.tests.crash import environment_of, kill, prepare_in, start_web, wait_until_it_answers
from opsera_portal.tests import databases, portal

pytestmark = [pytest.mark.each_database, pytest.mark.integration]


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
        seen, stop = [], threading.Event()

        def ask(port, token=token, seen=seen, stop=stop):
            while not stop.is_set():
                began_at = time.monotonic()
                seen.append((began_at, call(port, token)))

        callers = [threading.Thread(target=ask, args=[port]) for port in ports * 2]
        for caller in callers:
            caller.start()
        time.sleep(0.3)
        assert call(ports[number % 2], token, "POST", "/api/v1/tokens/current/expire") == 200
        expired_at = time.monotonic()
        time.sleep(0.3)
        stop.set()
        for caller in callers:
            caller.join()

        before = {status for began_at, status in seen if began_at < expired_at}
        after = {status for began_at, status in seen if began_at >= expired_at}
        assert 200 in before
        assert after == {401}
