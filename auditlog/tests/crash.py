"""Kills a portal under load repeatedly, and compares its answers with the log.

``python -m auditlog.tests.crash`` (`make crash`) kills it many times, on the database of
``DATABASE_URL`` or on SQLite. `test_crash.py` kills it twice. Several processes call the portal
with a token. Half of their threads read, and half start runs, while the worker seals the log. At a
random moment, all processes of the web server and the worker get SIGKILL and are started again. At
the end, every answered request must have an entry, and every change must have the entry of its
request. The rest of the log is then sealed, both logs are verified, and the usage counts are
compared with the log.
"""

import argparse
import atexit
import gc
import http.client
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import django

if "DJANGO_SETTINGS_MODULE" not in os.environ:
    # Only `make crash` needs this: pytest and `environment_of` set the variable themselves.
    os.environ["DJANGO_SETTINGS_MODULE"] = "opsera_portal.settings_test"
    django.setup()

from opsera_portal.tests.databases import copy_to_sqlite, one_at_a_time

ROOT = Path(__file__).resolve().parent.parent.parent
CALLERS = 3
# For tests that expire tokens.
OTHER_TOKENS = 6


@dataclass
class Found:
    """The result of a crash run. The lists are empty if no entry was lost."""

    kills: int = 0
    answered: int = 0
    logged: int = 0
    changes: int = 0
    answered_without_entry: list[str] = field(default_factory=list)
    changes_without_entry: list[str] = field(default_factory=list)
    answers_without_change: list[str] = field(default_factory=list)
    # The number of blocks that the worker wrote, and the findings of `verify_logs` at the end.
    blocks: int = 0
    findings: list[str] = field(default_factory=list)
    miscounted: list[str] = field(default_factory=list)

    @property
    def is_kept(self):
        return not (
            self.answered_without_entry
            or self.changes_without_entry
            or self.answers_without_change
            or self.findings
            or self.miscounted
        )

    def __str__(self):
        return (
            f"{self.kills} kills, {self.answered} requests answered, {self.logged} entries, {self.changes} changes; "
            f"answered without entry: {len(self.answered_without_entry)}, "
            f"changes without entry: {len(self.changes_without_entry)}, "
            f"answers without their change: {len(self.answers_without_change)}; "
            f"{self.blocks} blocks by the worker, findings: {len(self.findings)}, miscounted: {len(self.miscounted)}"
        )


def crash(directory: Path, *, kills: int, port: int, database_url: str = "", seed: int = 0) -> Found:
    """Runs the test in ``directory``, on SQLite there or on the migrated database ``database_url``."""
    environment = environment_of(directory, port, database_url)
    prepared, command = prepare_in(environment)
    rng = random.Random(seed)
    logs = [directory / f"answered-{number}.txt" for number in range(CALLERS)]
    stop = directory / "stop"
    callers = [_caller(environment, prepared, log, stop) for log in logs]
    web = worker = None
    try:
        for _ in range(kills):
            web, worker = _start_both(command, environment, port)
            time.sleep(rng.uniform(0.3, 1.5))
            kill(web, worker)
        web, worker = _start_both(command, environment, port)
        _wait_until_it_seals(worker, Path(environment["SEALED"]))
        stop.touch()
        for caller in callers:
            caller.wait(timeout=60)
        worker.terminate()
        worker.wait(timeout=60)
    finally:
        stop.touch()
        kill(*(process for process in (*callers, web, worker) if process is not None and process.poll() is None))
    answered = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    return Found(kills=kills, **json.loads(_python(environment, "compare", given=json.dumps(answered))))


def environment_of(directory: Path, port: int, database_url: str) -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PORTAL_", "DATABASE_URL", "DJANGO_", "REDIS_URL", "SECRET_KEY"))
    }
    return inherited | {
        "PORTAL_DATA_DIR": str(directory / "data"),
        "PORTAL_PORT": str(port),
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "opsera_portal.settings",
        # The worker creates this file after some blocks.
        "SEALED": str(directory / "sealed"),
        # The callers send as many requests as they can, so the limits are set high.
        "API_LIMIT_TOKEN": "1000000/m",
        "API_LIMIT_USER": "1000000/m",
        **({"DATABASE_URL": database_url} if database_url else {}),
    }


def _python(environment: dict[str, str], command: str, given: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "auditlog.tests.crash", command],
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout


def prepare_in(environment: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Prepares a migrated database; returns its test data and the command that starts the web server."""
    if "DATABASE_URL" not in environment:
        data = Path(environment["PORTAL_DATA_DIR"])
        data.mkdir(mode=0o700)
        copy_to_sqlite(data / "portal.sqlite3")
    prepared, command = json.loads(_python(environment, "prepare"))
    return prepared, command


def kill(*processes: subprocess.Popen) -> None:
    """Sends SIGKILL to all these processes at once, and waits until they have ended."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for process in processes:
        process.wait()


def start_web(command: list[str], environment: dict[str, str]) -> subprocess.Popen:
    # In its own session, so that server and workers can be killed together.
    return subprocess.Popen(command, env=environment, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)


def _start_both(
    command: list[str], environment: dict[str, str], port: int
) -> tuple[subprocess.Popen, subprocess.Popen]:
    """Starts both while no other portal collects static files: the server lists them at its start."""
    with one_at_a_time("static-files"):
        web, worker = start_web(command, environment), _start_worker(environment)
        wait_until_it_answers(port)
    return web, worker


def _start_worker(environment: dict[str, str]) -> subprocess.Popen:
    return start_web([sys.executable, "-m", "auditlog.tests.crash", "work"], environment)


def _wait_until_it_seals(worker: subprocess.Popen, sealed: Path) -> None:
    deadline = time.monotonic() + 60
    while not sealed.exists():
        if worker.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"The worker sealed nothing; its exit status is {worker.poll()}.")
        time.sleep(0.05)


def _caller(environment, prepared, log, stop):
    arguments = [environment["PORTAL_PORT"], str(log), str(stop)]
    process = subprocess.Popen(
        [sys.executable, "-m", "auditlog.tests.crash_caller", *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    process.stdin.write(json.dumps(prepared))
    process.stdin.close()
    return process


def wait_until_it_answers(port):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.05)
    raise AssertionError("The web server did not come up.")


# Commands that run in separate processes


def prepare():
    """Creates the data that `prepare_in` returns, in a process with the portal's own settings."""
    from datetime import timedelta

    from django.utils import timezone

    from accounts.models import Organization, User
    from core.api import scopes
    from opsera_portal.management.commands.web import web_command
    from pipelines.models import Pipeline, Step
    from tokens.services import issue_and_reveal_token

    organization = Organization.objects.create(name="Crash", slug="crash")
    user = User.objects.create_user("c@crash.example", None, name="C", site_role="user", organization=organization)
    end = timezone.now().replace(microsecond=0) + timedelta(days=7)
    what = {"actor": user, "chosen": [scopes.API], "expires_at": end}
    signed, *others = (issue_and_reveal_token(name=f"crash {number}", **what)[1] for number in range(1 + OTHER_TOKENS))
    pipeline = Pipeline.objects.create(organization=organization, owner=user, name="Crash")
    Step.objects.create(pipeline=pipeline, position=1, name="Call", url="http://192.0.2.1/")
    return {"token": signed, "other_tokens": others, "pipeline": str(pipeline.pk)}, web_command()


def work():
    """Runs a worker that seals often, so that it is killed while it seals."""
    from django.core.management import call_command

    from auditlog import jobs
    from auditlog.models import Seal
    from auditlog.seals import sealing
    from core import periodic_jobs

    def say_when_sealed(stopping):
        if Seal.objects.count() > 2:
            Path(os.environ["SEALED"]).touch()

    sealing.MAX_ENTRIES = 10
    jobs.register(every=timedelta(seconds=0.05))
    periodic_jobs.register("first blocks", say_when_sealed, every=timedelta(seconds=0.05))
    call_command("worker")


def compare():
    from auditlog import counting
    from auditlog.models import Activity, Seal, TokenUse
    from pipelines.models import Run

    answered = json.load(sys.stdin)
    entries = {str(request_id) for request_id in TokenUse.objects.values_list("request_id", flat=True)}
    allowed = TokenUse.objects.filter(target="/api/v1/pipeline/run", outcome="allowed")
    started = {
        str(key) for key in Activity.objects.filter(action="pipeline.started").values_list("request_id", flat=True)
    }
    runs = set(Run.objects.values_list("number", flat=True))
    without_entry = sorted(started - {str(request_id) for request_id in allowed.values_list("request_id", flat=True)})
    if len(runs) != len(started):
        without_entry.append(f"{len(runs)} runs, {len(started)} of them in the activity log")
    blocks = Seal.objects.count()
    findings = _verify()
    for _ in counting.count_due():
        pass
    return {
        "blocks": blocks,
        "findings": findings,
        "miscounted": _miscounted(),
        "answered": len(answered),
        "logged": len(entries),
        "changes": len(started),
        "answered_without_entry": sorted({request_id for request_id, status, _ in answered if status != 503} - entries),
        "changes_without_entry": without_entry,
        "answers_without_change": [request_id for request_id, _, run in answered if run and run not in runs],
    }


def _verify():
    """The problems that `verify_logs` finds after everything has been sealed."""
    from django.core.management import CommandError, call_command

    from auditlog.models import Seal
    from auditlog.seals import sealing

    for log in Seal.Log:
        for _ in sealing.seal_due(log, threading.Event(), at_once=True):
            pass
    said = io.StringIO()
    try:
        call_command("verify_logs", quiet=True, stdout=said)
    except CommandError:
        return said.getvalue().splitlines()
    return []


def _miscounted():
    """The usage counters that differ from a plain count of the log."""
    from collections import Counter

    from auditlog.models import TokenUsage, TokenUse

    log, counted = Counter(), Counter()
    for token_id, at, ip, outcome in TokenUse.objects.values_list("token_id", "at", "ip", "outcome"):
        log[str(token_id), str(at.date()), ip or "", outcome] += 1
    for usage in TokenUsage.objects.all():
        counted[str(usage.token_id), str(usage.day), usage.ip, "allowed"] += usage.allowed
        counted[str(usage.token_id), str(usage.day), usage.ip, "refused"] += usage.refused
    return [
        f"{key}: {log[key]} in the log, {counted[key]} counted" for key in log | counted if log[key] != counted[key]
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Kills a portal under load, and compares answers with entries.")
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    chosen = parser.parse_args()
    from opsera_portal.tests.portal import drop_database, free_port, make_database

    database_url = make_database("crash")
    try:
        with tempfile.TemporaryDirectory(prefix="opsera-portal-crash-") as directory:
            found = crash(
                Path(directory), kills=chosen.kills, port=free_port(), database_url=database_url, seed=chosen.seed
            )
    finally:
        drop_database(database_url)
    sys.stdout.write(f"{'PostgreSQL' if database_url else 'SQLite'}, seed {chosen.seed}: {found}\n")
    return 0 if found.is_kept else 1


if __name__ == "__main__":
    # As in manage.py.
    gc.set_threshold(50_000, 10, 10)
    atexit.register(gc.freeze)
    if len(sys.argv) > 1 and sys.argv[1] in {"prepare", "compare"}:
        django.setup()
        json.dump(prepare() if sys.argv[1] == "prepare" else compare(), sys.stdout)
    elif len(sys.argv) > 1 and sys.argv[1] == "work":
        django.setup()
        work()
    else:
        import django

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsera_portal.settings_test")
        django.setup()
        sys.exit(main())
