"""What each part of the benchmark gets."""

from dataclasses import dataclass
from functools import cached_property

from benchmarks.big_log.people import People
from benchmarks.big_log.results import Results


@dataclass
class BigLog:
    """``entries``: how many were filled in. Some parts add and remove a few."""

    entries: int
    results: Results

    @cached_property
    def people(self) -> People:
        return People.load()
