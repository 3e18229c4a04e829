"""Runs the benchmarks one after the other, and writes their tables and charts into docs/performance.md.

    python -m benchmarks.document [PART ...]

Run it with `make bench`, on a machine that does nothing else. Each part is a benchmark (its module). Its output
replaces the text between its two marks in the document; everything else there is written by hand. At the end all goals
are listed with what was reached. Ends with an error if a part fails or misses a minimum. Without arguments all parts
run, which takes hours.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import charts, report
from benchmarks.charts import Bar

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
DOCUMENT = DOCS / "performance.md"
CHART = DOCS / "performance-requests.svg"

# The options of each benchmark, in the order of the document.
PARTS = {
    "token_path": [],
    "parts": [],
    "verify": [],
    "memory": [],
    "pages": ["--big", "--entries", "5000000"],
    "logs": ["--fresh"],
    "partitions": [],
    "text_search": [],
}
GOALS = "Goals"
# The column of requests per second in the tables of `token_path`.
RATE = 1


@dataclass(frozen=True)
class Done:
    """A part that has ended, and the rows of its table of goals, header first; empty if it compares without goals."""

    part: str
    goals: list[list[str]]
    is_reached: bool


def main() -> None:
    parser = argparse.ArgumentParser(prog="document", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all, if none is named")
    parts = parser.parse_args().parts or list(PARTS)
    if unknown := set(parts) - PARTS.keys():
        parser.error(f"There is no such part: {', '.join(sorted(unknown))}")
    done = [write(part) for part in parts]
    for each in done:
        if each.goals:
            report.print_table(f"{each.part}: goals", each.goals, markdown=False)
    if failed := [each.part for each in done if not each.is_reached]:
        sys.exit(f"Below a minimum, or failed: {', '.join(failed)}")


def write(part: str) -> Done:
    """Measures a part and writes it into the document, unless it ended before its last table."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{part}", "--markdown", *PARTS[part]],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    sys.stdout.write(done.stdout)
    goals = next((rows for title, rows in tables(done.stdout) if title == GOALS), [])
    if goals or not done.returncode:
        DOCUMENT.write_text(with_block(DOCUMENT.read_text(), part, done.stdout))
        if part == "token_path":
            draw(done.stdout)
    return Done(part, goals, is_reached=not done.returncode)


def with_block(document: str, part: str, text: str) -> str:
    """The document with this text between the marks of the part. Raises ``ValueError`` if they are not there once."""
    marked = re.compile(rf"(<!-- begin {part} -->\n).*?(<!-- end {part} -->\n)", re.DOTALL)
    changed, times = marked.subn(lambda marks: f"{marks[1]}\n{text.strip()}\n\n{marks[2]}", document)
    if times != 1:
        raise ValueError(f"{DOCUMENT.name} has the marks of {part} {times} times.")
    return changed


def draw(text: str) -> None:
    found = {title: rows for title, rows in tables(text) if title in {"SQLite", "PostgreSQL"}}
    groups = {database: [bar(row) for row in rows[1:]] for database, rows in found.items()}
    CHART.write_text(charts.horizontal_bars("Requests per second", groups))


def bar(row: Sequence[str]) -> Bar:
    return Bar(row[0], float(row[RATE].replace(",", "")), is_ours=row[0].startswith("portal"))


def tables(text: str) -> Iterator[tuple[str, list[list[str]]]]:
    """The title and the rows of each table, header first, as `report.print_table` prints them."""
    for section in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        title, *lines = section.splitlines()
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
        yield title, [row for row in rows if not row[0].startswith("---")]


if __name__ == "__main__":
    main()
