"""Exports of the log with the most entries, through the real view.

"Of them computing" is processor time of this process: on SQLite all of the work, on PostgreSQL without the server's.
"""

import time

from benchmarks.big_log import goals
from benchmarks.big_log.lists import answer_of, signed_in
from benchmarks.big_log.log import BigLog
from benchmarks.big_log.progress import Progress
from benchmarks.big_log.results import Measured

PATH = "/profile/authentication-log/export/"


def measure(log: BigLog) -> Measured:
    rows, values = [["of one owner's log", "rows", "MB", "seconds", "of them computing", "rows/s"]], {}
    for file_format in ("csv", "jsonl"):
        computed_before = time.process_time()
        lines, size, seconds = exported(log, file_format)
        computed = time.process_time() - computed_before
        figures = f"{lines:,}", f"{size / 1e6:,.0f}", f"{seconds:.1f}", f"{computed:.1f}", f"{lines / seconds:,.0f}"
        rows.append([file_format, *figures])
        values[file_format] = lines / seconds
    return Measured([("exports", rows)], {goals.CSV.label: values["csv"]})


def exported(log: BigLog, file_format: str) -> tuple[int, int, float]:
    """Returns the number of rows, their bytes, and seconds."""
    client = signed_in(log.people.busy)
    progress = Progress(f"Export as {file_format}", log.entries // 5)
    started_at = time.perf_counter()
    size = lines = 0
    for part in answer_of(client, PATH, {"format": file_format}).streaming_content:
        found = part.count(b"\n")
        size, lines = size + len(part), lines + found
        progress.add(found)
    return lines - (file_format == "csv"), size, time.perf_counter() - started_at
