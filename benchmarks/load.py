"""Sends requests to a server: `wrk` sends as many as possible, and threads send an exact number."""

import json
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

CONNECTIONS = 16
HOST = "127.0.0.1"


class BadAnswer(Exception):
    """The server answered something unexpected, so the results would mean nothing."""


@dataclass(frozen=True)
class Target:
    port: int
    path: str
    # The value of the header; empty if the endpoint needs none.
    authorization: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": self.authorization} if self.authorization else {}

    def __str__(self) -> str:
        return f"http://{HOST}:{self.port}{self.path}"


@dataclass(frozen=True)
class Run:
    requests_per_second: float
    p50_ms: float
    p99_ms: float


def fetch(target: Target, connection: HTTPConnection | None = None) -> bytes:
    """Returns the body of one answer. Raises ``BadAnswer`` unless the status is 200."""
    if connection is None:
        with closing(HTTPConnection(HOST, target.port, timeout=30)) as own:
            return fetch(target, own)
    connection.request("GET", target.path, headers=target.headers)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise BadAnswer(f"{target} answered {answer.status}: {body[:500].decode(errors='replace')}")
    return body


def ask(target: Target, requests: int) -> int:
    """Sends this many requests over keep-alive connections. Returns how many got 200; raises for any other status."""
    shares = [requests // CONNECTIONS + (number < requests % CONNECTIONS) for number in range(CONNECTIONS)]

    def ask_over_one_connection(share: int) -> int:
        with closing(HTTPConnection(HOST, target.port, timeout=30)) as connection:
            for _ in range(share):
                fetch(target, connection)
        return share

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return sum(pool.map(ask_over_one_connection, shares))


def bytes_of_head(target: Target) -> int:
    """The bytes before the body of an answer, as they are sent: status line, headers and the empty line."""
    with closing(socket.create_connection((HOST, target.port), timeout=30)) as connection:
        headers = "".join(f"{name}: {value}\r\n" for name, value in target.headers.items())
        connection.sendall(f"GET {target.path} HTTP/1.1\r\nHost: {HOST}:{target.port}\r\n{headers}\r\n".encode())
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(4096)
    return received.index(b"\r\n\r\n") + 4


def run_wrk(target: Target, seconds: int) -> Run:
    """Runs wrk with one thread and keep-alive. Raises ``BadAnswer`` if any request was refused or not answered."""
    command = ["wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s", "--latency"]
    # Long enough for the naive endpoint on SQLite, where some writers wait for seconds; p99 shows this.
    command += ["--timeout", "30s"]
    command += ["--script", str(Path(__file__).with_name("wrk_report.lua"))]
    for name, value in target.headers.items():
        command += ["--header", f"{name}: {value}"]
    told = subprocess.run([*command, str(target)], check=True, capture_output=True, text=True).stdout
    report = json.loads(told.rpartition("report ")[2])
    if report["refused"] or report["not_answered"] or not report["requests"]:
        raise BadAnswer(f"{target}: {report}")
    return Run(
        requests_per_second=report["requests"] / report["microseconds"] * 1_000_000,
        p50_ms=report["p50"] / 1000,
        p99_ms=report["p99"] / 1000,
    )
