"""Calls the portal that crash.py kills, in a process of its own. It needs no Django, so it starts at once.

``python -m auditlog.tests.crash_caller PORT LOG STOP``, with what `prepare_in` returned on standard input.
"""

import http.client
import json
import sys
import threading
import time
from pathlib import Path

THREADS = 4


def call(port, log, stop):
    """Sends requests until told to stop, and records every answer that arrived complete."""
    prepared = json.load(sys.stdin)
    lock = threading.Lock()
    with Path(log).open("a") as file:

        def note(answer):
            with lock:
                file.write(json.dumps(answer) + "\n")

        threads = [
            threading.Thread(target=_call_until, args=[int(port), prepared, number % 2 == 0, note, Path(stop)])
            for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _call_until(port, prepared, is_reading, note, stop):
    headers = {"Authorization": f"Bearer {prepared['token']}", "Content-Type": "application/json"}
    body = json.dumps({"pipelineId": prepared["pipeline"]})
    request = ("GET", "/api/v1/me", None) if is_reading else ("POST", "/api/v1/pipeline/run", body)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while not stop.exists():
        try:
            connection.request(*request, headers=headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            connection.close()
            time.sleep(0.02)
            continue
        run = answer.get("runCount") if response.status == 200 else None
        note([response.headers["X-Request-ID"], response.status, run])


if __name__ == "__main__":
    call(*sys.argv[1:])
