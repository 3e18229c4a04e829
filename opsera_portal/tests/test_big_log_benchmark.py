"""The benchmark of a big log (`benchmarks/big_log/`) fits the log, its filters and its charts."""

import pytest

from auditlog.filters import OrganizationTokenUseFilter, TokenUseFilter
from auditlog.journal import _COLUMNS
from auditlog.models import TokenUse
from benchmarks.big_log import charts, entries, filling, filters, lists, people, progress, statements
from benchmarks.big_log.results import Measured, Results

ENTRIES = 2_000


def names_in(queries):
    return {name for query in queries.values() for name in query}


@pytest.fixture
def cast(db, monkeypatch):
    """The people of the benchmark, but fewer, and their log."""
    monkeypatch.setattr(people, "OWNERS", 30)
    monkeypatch.setattr(people, "OWNERS_OF_SMALL", 5)
    monkeypatch.setattr(people, "call_command", lambda *args, **options: None)
    monkeypatch.setattr(progress, "ROUNDS", 1)
    people.prepare()
    filling.add_backlog(ENTRIES)
    return people.People.load()


@pytest.mark.each_database
def test_every_filter_and_chart_is_measured(cast):
    page = lists.Page("mine", cast.busy, lists.MINE, {})

    assert TokenUse.objects.filter(token=cast.busy_token, ip="203.0.113.7", target__startswith="/api/").exists()
    assert names_in(filters.own_filters(cast)) == {*TokenUseFilter.base_filters}
    assert names_in(filters.organization_filters(cast)) == {*OrganizationTokenUseFilter.base_filters}
    assert filters.milliseconds(page).fastest > 0
    assert all(statements.recorded(read) for _, read in charts.charts(cast))


@pytest.mark.once
def test_filled_columns_are_those_of_the_log():
    assert {*entries.COLUMNS} == {"id", *_COLUMNS.split(", ")}


@pytest.mark.once
def test_finished_part_is_found_by_the_next_process(tmp_path):
    path = tmp_path / "results.json"
    Results(path).note("fill", seconds=1.5)
    Results(path).note("fill", seconds=2.0)
    Results(path).finish("Fill", Measured([("filling", [["", "entries"]])], {"goal": 1.0}), 3.5)

    found = Results(path)

    assert found.noted("fill") == {"seconds": 3.5}
    assert found.parts()["Fill"].values == {"goal": 1.0}
    assert not found.is_complete
