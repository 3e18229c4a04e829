"""Compares the check of a request to a service with an API call of the portal, and a service behind nginx with and
without the check.

Run it with `make bench-verify`. The portal, and a small service (an endpoint of the peers without authentication),
each have a core of their own; nginx and `wrk` share the core of the service. nginx uses the lines that the portal shows
on the page of a service. Then nginx has two portals with one database, and a token expires in the midst of
requests. The last part makes a status list of a million tokens (`benchmarks/status_list.py`).
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from django.template import Context, Engine

from benchmarks import portal, report, status_list
from benchmarks.load import HOST, BadAnswer, Run, Target, run_wrk
from benchmarks.report import Goal
from benchmarks.servers import (
    PEERS,
    PORTAL,
    ROOT,
    Server,
    also_serving,
    databases,
    end_cleanly_on_sigterm,
    free_port,
    pin_the_load,
    serving,
)

RECIPE = ROOT / "gateway" / "templates" / "gateway" / "recipes" / "nginx.txt"
SMALL_SERVICE = "/plain"
HEAD = ["endpoint", "requests/s", "range", "p50 ms", "p99 ms"]
AGAINST_API = Goal("check of a request against an API call with a token", (1.0, 1.0), (1.1, 1.1))
AGAINST_OPEN = Goal("check of a request against no authentication and no log", (0.48, 0.48), (0.60, 0.60))
BEHIND_NGINX = Goal("small service behind nginx with the check against the same without", (0.35, 0.35), (0.45, 0.45))
AT_ONCE = Goal("requests that got through after Expire had answered", (0, 0), (0, 0), more_is_better=False)


def main() -> None:
    options = read_options()
    for program in ("wrk", "nginx"):
        if not shutil.which(program, path="/usr/bin:/usr/sbin:/bin:/sbin"):
            sys.exit(f"The benchmark needs {program}: apt-get install {program}")
    end_cleanly_on_sigterm()
    pin_the_load()
    chosen = [name for name in databases() if options.only in (None, name.lower())]
    lines = [*report.machine(chosen), f"{options.rounds} rounds of {options.seconds} s for each endpoint, medians"]
    report.print_list(lines, markdown=options.markdown)
    reached: dict[Goal, dict[str, float]] = {}
    for database in chosen:
        try:
            tables, values = measure(database, options)
        except BadAnswer as error:
            sys.exit(f"The benchmark failed on {database}: {error}")
        listed, of_lists = status_list.measure(database, tokens=options.tokens)
        for title, rows in {**tables, **listed}.items():
            report.print_table(title, rows, markdown=options.markdown)
        for goal, value in {**values, **of_lists}.items():
            reached.setdefault(goal, {})[database] = value
    report.judge(reached, chosen, markdown=options.markdown)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="verify", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="number of measured rounds, after one for warming up")
    parser.add_argument("--seconds", type=int, default=3, help="duration of a round for each endpoint")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="tokens in the status list")
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="measure only this database")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    return parser.parse_args()


def measure(database: str, options: argparse.Namespace) -> tuple[dict[str, list[list[str]]], dict[Goal, float]]:
    """The rows of each table by its title, and the value of each goal. Raises ``BadAnswer``."""
    with ExitStack() as stack:
        server = stack.enter_context(serving(PORTAL, database))
        peers = stack.enter_context(serving(PEERS, database, first_core=-1))
        check = Target(
            server.port, check_path(server, "/api/dashboards/7"), server.prepared["service"]["authorization"]
        )
        targets = {
            "API call of the portal": Target(server.port, portal.PATH, server.prepared["authorization"]),
            "check of a request to a service": check,
            "DRF, no authentication, no log": Target(peers.port, SMALL_SERVICE, ""),
        }
        runs = rounds_of(targets, options)
        open_port = stack.enter_context(nginx(server, [server.port], peers.port, checks=False))
        checked_port = stack.enter_context(nginx(server, [server.port], peers.port, checks=True))
        authorization = check.authorization
        behind = rounds_of(
            {
                "nginx without the check": Target(open_port, SMALL_SERVICE, authorization),
                "nginx with the check": Target(checked_port, SMALL_SERVICE, authorization),
            },
            options,
        )
        second = stack.enter_context(also_serving(server))
        both_port = stack.enter_context(nginx(server, [server.port, second], peers.port, checks=True))
        late = expire_in_the_midst(server, Target(both_port, SMALL_SERVICE, authorization))
    api, verify, plain = map(median_rate, runs.values())
    unchecked, checked = map(median_rate, behind.values())
    values = {
        AGAINST_API: verify / api,
        AGAINST_OPEN: verify / plain,
        BEHIND_NGINX: checked / unchecked,
        AT_ONCE: float(late),
    }
    return {f"{database}: the check": table(runs), f"{database}: behind nginx": table(behind)}, values


def check_path(server: Server, path: str) -> str:
    """As Envoy asks, so that wrk needs no more headers than for the API."""
    return f"/auth/verify/{server.prepared['service']['id']}{path}"


def rounds_of(targets: dict[str, Target], options: argparse.Namespace) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {label: [] for label in targets}
    for number in range(options.rounds + 1):
        for label, target in targets.items():
            run = run_wrk(target, options.seconds)
            if number:
                runs[label].append(run)
    return runs


def median_rate(runs: list[Run]) -> float:
    return statistics.median(run.requests_per_second for run in runs)


def table(found: dict[str, list[Run]]) -> list[list[str]]:
    rows = [HEAD]
    for label, runs in found.items():
        rates = [run.requests_per_second for run in runs]
        p50, p99 = (statistics.median(getattr(run, name) for run in runs) for name in ("p50_ms", "p99_ms"))
        rows.append(
            [label, f"{median_rate(runs):.0f}", f"{min(rates):.0f}-{max(rates):.0f}", f"{p50:.1f}", f"{p99:.1f}"]
        )
    return rows


@contextmanager
def nginx(server: Server, portals: list[int], service_port: int, *, checks: bool) -> Iterator[int]:
    """Runs nginx with the lines for a service. Yields its port. ``checks``: false leaves out the question alone."""
    port = free_port()
    addresses = "\n".join(f"server {HOST}:{portal_port};" for portal_port in portals)
    recipe = Engine().from_string(RECIPE.read_text().replace("server {{ portal_address }};", addresses))
    values = {
        "portal_scheme": "http",
        "portal_host": f"{HOST}:{server.port}",
        "portal_hostname": HOST,
        "service_id": server.prepared["service"]["id"],
        "upstream": f"{HOST}:{service_port}",
    }
    text = str(recipe.render(Context(values)))
    if not checks:
        text = text.replace("auth_request /", "# auth_request /")
    inside, _, around = text.partition("# Outside of the server block, once.")
    with tempfile.TemporaryDirectory(prefix="opsera-portal-bench-nginx-") as root:
        paths = " ".join(f"{kind}_temp_path {root}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
        Path(root, "nginx.conf").write_text(
            f"worker_processes 1; daemon off; pid {root}/pid; user root; events {{ worker_connections 256; }}\n"
            f"http {{ access_log off; client_body_temp_path {root}/body; {paths}\n{around}\n"
            f"server {{ listen {HOST}:{port}; keepalive_requests 1000000;\n{inside}\n}}\n}}\n"
        )
        command = ["/usr/sbin/nginx", "-p", root, "-c", f"{root}/nginx.conf", "-e", f"{root}/errors"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            wait_for(port)
            yield port
        finally:
            process.terminate()
            process.wait()


def wait_for(port: int) -> None:
    for _ in range(200):
        try:
            with closing(HTTPConnection(HOST, port, timeout=5)) as connection:
                connection.connect()
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("nginx did not start.")


def expire_in_the_midst(server: Server, target: Target) -> int:
    """Sends requests in threads over both portals, and expires the token meanwhile. Returns how many requests that
    began after that had answered still got through."""
    expired_at: list[float] = []

    def ask_again_and_again() -> int:
        late, end = 0, time.monotonic() + 4
        with closing(HTTPConnection(HOST, target.port, timeout=30)) as connection:
            while time.monotonic() < end:
                began = time.monotonic()
                connection.request("GET", target.path, headers=target.headers)
                answer = connection.getresponse()
                answer.read()
                late += answer.status == 200 and bool(expired_at) and began > expired_at[0]
        return late

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(ask_again_and_again) for _ in range(8)]
        time.sleep(1.5)
        expire(server)
        expired_at.append(time.monotonic())
        return sum(each.result() for each in waiting)


def expire(server: Server) -> None:
    """With the API, at one of the two portals."""
    path = f"/api/v1/tokens/{server.prepared['service']['token_id']}/expire"
    with closing(HTTPConnection(HOST, server.port, timeout=30)) as connection:
        headers: dict[str, Any] = {
            "Authorization": server.prepared["authorization"],
            "Content-Type": "application/json",
        }
        connection.request("POST", path, json.dumps({}), headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise BadAnswer(f"{path} answered {answer.status}: {answer.read()[:500]!r}")


if __name__ == "__main__":
    main()
