"""Compares the cost of a checked and durably logged API request with that of other ways to authenticate.

Run it with `make bench`. The portal and a peer application run at the same time, each with its own data, with the same
web server and the same options, pinned to one core. `wrk` sends requests from another core. Every endpoint returns the
same answer about a person and a token, created in the same way. Requests to the endpoints alternate in rounds, in
a different order each round, so that other load on the machine affects all of them. The results are medians of the
rounds. Compare the ratios, because machines differ.
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks import portal, report
from benchmarks.load import BadAnswer, Run, Target, ask, bytes_of_head, fetch, run_wrk
from benchmarks.report import Goal
from benchmarks.servers import PEERS, PORTAL, Server, databases, end_cleanly_on_sigterm, pin_the_load, serving

# How much the sizes of answers may differ: the ids are numbers in one application and UUIDs in the other.
SIZE_TOLERANCE = 0.15
HEAD = [
    "endpoint",
    "requests/s",
    "range",
    "portal / this",
    "p50 ms",
    "p99 ms",
    "queries: check + entry",
    "answered = logged",
]


@dataclass(frozen=True)
class Endpoint:
    label: str
    module: str
    path: str
    log: str = ""


PORTALS = Endpoint("portal: checked and logged", PORTAL, portal.PATH, log=portal.LOG)
# The paths are defined in peers/urls.py.
OPEN = Endpoint("DRF, no authentication, no log", PEERS, "/plain")
DRF_TOKEN = Endpoint("DRF TokenAuthentication, no log", PEERS, "/drf-token")
KNOX = Endpoint("django-rest-knox, no log", PEERS, "/knox")
SIMPLEJWT = Endpoint("simplejwt HS256, no log", PEERS, "/simplejwt")
NAIVE = Endpoint("naive: simplejwt, ORM row, ORM insert", PEERS, "/naive", log="peers_tokenuse")
ENDPOINTS = [PORTALS, OPEN, DRF_TOKEN, KNOX, SIMPLEJWT, NAIVE]


SPEED = {
    OPEN: Goal("against no authentication and no log", (0.48, 0.48), (0.60, 0.60)),
    DRF_TOKEN: Goal("against TokenAuthentication", (1.15, 1.45), (1.5, 2.0)),
    KNOX: Goal("against knox", (1.6, 2.0), (2.0, 2.5)),
    SIMPLEJWT: Goal("against simplejwt with its user query", (1.2, 1.4), (1.5, 1.8)),
    NAIVE: Goal("against the naive way", (3.0, 3.0), (4.0, 4.0)),
}
LATENCY = Goal("p99 against p99 of the open endpoint", (2.0, 2.0), (1.3, 1.3), more_is_better=False)
PROCESSES = Goal("two web processes on two cores against one on one", (1.6, 1.6), (1.8, 1.8))
HEAD_BYTES = Goal("bytes of head of an API answer", (700, 700), (500, 500), more_is_better=False)


def main() -> None:
    options = read_options()
    if not shutil.which("wrk"):
        sys.exit("The benchmark needs wrk: apt-get install wrk")
    end_cleanly_on_sigterm()
    pin_the_load()
    chosen = [name for name in databases() if options.only in (None, name.lower())]
    if not chosen:
        sys.exit("PostgreSQL does not answer on its default local port.")
    lines = [*report.machine(chosen), f"{options.rounds} rounds of {options.seconds} s for each endpoint, medians"]
    report.print_list(lines, markdown=options.markdown)
    reached: dict[Goal, dict[str, float]] = {}
    try:
        for database in chosen:
            tables, values = measure(database, options)
            for title, rows in tables.items():
                report.print_table(title, rows, markdown=options.markdown)
            for goal, value in values.items():
                reached.setdefault(goal, {})[database] = value
    except BadAnswer as error:
        sys.exit(f"The benchmark failed on {database}: {error}")
    report.judge(reached, chosen, markdown=options.markdown)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="token_path", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="number of measured rounds, after one for warming up")
    parser.add_argument("--seconds", type=int, default=3, help="duration of a round for each endpoint")
    parser.add_argument(
        "--requests", type=int, default=2000, help="number of requests for comparing answers with log entries"
    )
    parser.add_argument(
        "--quick", action="store_true", help="2 rounds of 1 s: the same table roughly, in less than two minutes"
    )
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="measure only this database")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.requests = 2, 1, 400
    return options


def measure(database: str, options: argparse.Namespace) -> tuple[dict[str, list[list[str]]], dict[Goal, float]]:
    """Returns the rows of each table by its title, header first, and the value of each goal. Raises ``BadAnswer`` at
    the first unexpected answer."""
    with ExitStack() as stack:
        servers = {module: stack.enter_context(serving(module, database)) for module in (PORTAL, PEERS)}
        two_processes = stack.enter_context(serving(PORTAL, database, processes=2))
        targets = {endpoint: target_of(endpoint, servers[endpoint.module]) for endpoint in ENDPOINTS}
        check_that_all_do_the_same(targets, servers)
        queries = count_queries(servers)
        runs = run_rounds(targets, rounds=options.rounds, seconds=options.seconds)
        logged = {
            endpoint: check_log(endpoint, targets[endpoint], servers[endpoint.module], options.requests)
            for endpoint in ENDPOINTS
        }
        head = bytes_of_head(targets[PORTALS])
        by_processes = run_processes({1: targets[PORTALS], 2: target_of(PORTALS, two_processes)}, options)
    rows = [HEAD]
    for endpoint in ENDPOINTS:
        rate, spread, p50, p99 = describe(runs[endpoint])
        ratio = f"{ratio_of(runs, endpoint):.2f}"
        rows.append([endpoint.label, rate, spread, ratio, p50, p99, queries[endpoint], logged[endpoint]])
    values = {goal: ratio_of(runs, endpoint) for endpoint, goal in SPEED.items()}
    values[LATENCY] = median_p99(runs[PORTALS]) / median_p99(runs[OPEN])
    values[PROCESSES] = median_rate(by_processes[2]) / median_rate(by_processes[1])
    values[HEAD_BYTES] = head
    of_processes = [[str(number), *describe(runs)] for number, runs in by_processes.items()]
    processes_head = ["web processes of the portal, each on a core of its own", *HEAD[1:3], "p50 ms", "p99 ms"]
    return {database: rows, f"{database}: web processes": [processes_head, *of_processes]}, values


def ratio_of(runs: dict[Endpoint, list[Run]], endpoint: Endpoint) -> float:
    return median_rate(runs[PORTALS]) / median_rate(runs[endpoint])


def run_processes(targets: dict[int, Target], options: argparse.Namespace) -> dict[int, list[Run]]:
    """Two processes on two cores and one on one core, in alternating rounds.

    On a machine with two cores, the program that sends the requests shares a core with them.
    """
    runs: dict[int, list[Run]] = {number: [] for number in targets}
    for number in range(options.rounds + 1):
        for processes, target in targets.items():
            run = run_wrk(target, options.seconds)
            if number:
                runs[processes].append(run)
    return runs


def target_of(endpoint: Endpoint, server: Server) -> Target:
    prepared = server.prepared
    authorization = prepared["authorization"] if endpoint is PORTALS else prepared["authorizations"][endpoint.path]
    return Target(server.port, endpoint.path, authorization)


def check_that_all_do_the_same(targets: dict[Endpoint, Target], servers: dict[str, Server]) -> None:
    """Checks that all answers have the same structure and about the same size, and that the logs have the same columns.

    Otherwise the ratios would mean nothing.
    """
    if servers[PORTAL].prepared["log_columns"] != servers[PEERS].prepared["log_columns"]:
        raise BadAnswer("The columns of the peers' log (peers/models.py) differ from those of the portal's log.")
    fetch(targets[PORTALS])  # the second answer contains the time of the last use
    expected = fetch(targets[PORTALS])
    for target in targets.values():
        body = fetch(target)
        if shape(json.loads(body)) != shape(json.loads(expected)):
            raise BadAnswer(f"{target} answers with another structure than the portal: {body!r}")
        if abs(len(body) / len(expected) - 1) > SIZE_TOLERANCE:
            raise BadAnswer(f"{target} answers with {len(body)} bytes, and the portal with {len(expected)}.")


def shape(value: Any) -> Any:
    return {name: shape(inner) for name, inner in value.items()} if isinstance(value, dict) else None


def count_queries(servers: dict[str, Server]) -> dict[Endpoint, str]:
    counted = {PORTALS.path: servers[PORTAL].count_queries(), **servers[PEERS].count_queries()}
    return {
        endpoint: f"{counted[endpoint.path]['checks']:g} + {counted[endpoint.path]['entry']:g}"
        for endpoint in ENDPOINTS
    }


def run_rounds(targets: dict[Endpoint, Target], *, rounds: int, seconds: int) -> dict[Endpoint, list[Run]]:
    runs: dict[Endpoint, list[Run]] = {endpoint: [] for endpoint in targets}
    for number in range(rounds + 1):
        start = number % len(ENDPOINTS)
        for endpoint in ENDPOINTS[start:] + ENDPOINTS[:start]:
            run = run_wrk(targets[endpoint], seconds)
            if number:
                runs[endpoint].append(run)
    return runs


def count_settled_rows(server: Server, log: str) -> int:
    """Waits for the entries of requests that wrk left without reading the answer."""
    counted, rows = -1, server.count_rows(log)
    while rows != counted:
        time.sleep(0.5)
        counted, rows = rows, server.count_rows(log)
    return rows


def check_log(endpoint: Endpoint, target: Target, server: Server, requests: int) -> str:
    """Sends this many requests, and compares the number of answers with the number of entries after the last answer."""
    if not endpoint.log:
        return "logs nothing"
    before = count_settled_rows(server, endpoint.log)
    answered = ask(target, requests)
    added = server.count_rows(endpoint.log) - before
    if added != answered:
        raise BadAnswer(f"{endpoint.label}: {answered} requests were answered, but {added} entries were logged.")
    return f"{answered} = {added}"


def median_rate(runs: list[Run]) -> float:
    return statistics.median(run.requests_per_second for run in runs)


def median_p99(runs: list[Run]) -> float:
    return statistics.median(run.p99_ms for run in runs)


def describe(runs: list[Run]) -> tuple[str, str, str, str]:
    """Returns requests/s, the range from the slowest to the fastest round, and the latencies."""
    rates = [run.requests_per_second for run in runs]
    p50 = statistics.median(run.p50_ms for run in runs)
    p99 = median_p99(runs)
    return f"{median_rate(runs):.0f}", f"{min(rates):.0f}-{max(rates):.0f}", f"{p50:.1f}", f"{p99:.1f}"


if __name__ == "__main__":
    main()
