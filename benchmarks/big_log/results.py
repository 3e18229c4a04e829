"""The finished parts of a run, in a file. A part that is in it is not measured again."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent

Rows = list[list[str]]


@dataclass(frozen=True)
class Measured:
    """What a part found: tables (title, and rows with the header first), and values of goals by their label."""

    tables: Sequence[tuple[str, Rows]]
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    tables: list[tuple[str, Rows]]
    values: dict[str, float]
    seconds: float
    ended_at: str
    commit: str
    # The machine's load average when the part ended: other work makes every figure worse.
    load: float = 0.0


class Results:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._content: dict[str, Any] = {"parts": {}, "notes": {}}
        if path.exists():
            self._content = json.loads(path.read_text())

    @property
    def is_complete(self) -> bool:
        return "is_complete" in self._content

    @property
    def are_empty(self) -> bool:
        return not self._content["parts"] and not self._content["notes"]

    def parts(self) -> dict[str, Finished]:
        """The finished parts by name, in order."""
        return {name: Finished(**found) for name, found in self._content["parts"].items()}

    def finish(self, part: str, measured: Measured, seconds: float) -> None:
        finished = Finished(
            tables=list(measured.tables),
            values=measured.values,
            seconds=round(seconds, 1),
            ended_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
            commit=commit(),
            load=round(os.getloadavg()[1], 1),
        )
        self._content["parts"][part] = asdict(finished)
        self._save()

    def noted(self, name: str) -> dict[str, float]:
        """What an unfinished part has noted, so that it can go on after an interruption."""
        return dict(self._content["notes"].get(name, {}))

    def note(self, name: str, **added: float) -> None:
        """Adds to the numbers that a part has noted."""
        noted = self._content["notes"].setdefault(name, {})
        for key, value in added.items():
            noted[key] = noted.get(key, 0) + value
        self._save()

    def complete(self) -> None:
        self._content["is_complete"] = True
        self._save()

    def forget(self) -> None:
        self._content = {"parts": {}, "notes": {}}
        self._save()

    def _save(self) -> None:
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps(self._content, indent=1))
        os.replace(draft, self._path)


@cache
def commit() -> str:
    """The short id of the measured commit, with a plus sign if files differ from it, apart from documents."""
    try:
        changed = _git("status", "--porcelain", "-uno", "--", ":/", ":(exclude,top)docs")
        return _git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    told = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S607
    return told.stdout.strip()
