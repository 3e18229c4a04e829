"""The processes of the benchmark that have Django's settings, one for each database: `benchmarks/logs.py` starts them.

`measure` runs the parts that are not finished yet. `write` is the writer of `writing.py`.
"""

import gc
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "opsera_portal.settings"
django.setup()

from django.conf import settings  # noqa: E402
from django.test.utils import setup_test_environment  # noqa: E402

from benchmarks.big_log import charts, files, filling, filters, keeping, lists, people, upkeep, writing  # noqa: E402
from benchmarks.big_log.log import BigLog  # noqa: E402
from benchmarks.big_log.progress import say, step  # noqa: E402
from benchmarks.big_log.results import Measured, Results  # noqa: E402

# In order: each part finds the log as the parts before it leave it.
PARTS: dict[str, Callable[[BigLog], Measured]] = {
    "Fill": filling.measure,
    "Charts, nothing counted": charts.measure_uncounted,
    "Counting": keeping.measure_counting,
    "Charts, nothing sealed": charts.measure_unsealed,
    "Lists": lists.measure,
    "Filters": filters.measure,
    "Exports": files.measure,
    "Counting entries of many tokens": keeping.measure_distinct,
    "Sealing": keeping.measure_sealing,
    "Verification": keeping.measure_verification,
    "Counting beside a writer": writing.measure_counting,
    "Sealing beside a writer": writing.measure_sealing,
    "Pruning beside a writer": writing.measure_pruning,
    "VACUUM and ANALYZE": upkeep.measure,
    "Lists after VACUUM": lists.measure_afterwards,
}


def measure(results: Results, entries: int) -> None:
    setup_test_environment()
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    people.prepare()
    log = BigLog(entries, results)
    for part, run in PARTS.items():
        if part in results.parts():
            say(f"{part}: finished earlier")
            continue
        started_at = time.perf_counter()
        with step(part):
            measured = run(log)
        results.finish(part, measured, time.perf_counter() - started_at)
    results.complete()


def main() -> None:
    # As the worker and the web process do after their start.
    gc.set_threshold(50_000, 10, 10)
    gc.freeze()
    command, *arguments = sys.argv[1:]
    if command == "write":
        writing.write(arguments[0])
    else:
        measure(Results(Path(arguments[0])), int(arguments[1]))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(1)
