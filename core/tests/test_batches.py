"""Long writes run as short batches, with a pause after each for other writers."""

import threading
import time

import pytest

from core.db.batches import SHORTEST_PAUSE_SECONDS, batches_of, run_batches


def test_every_batch_runs_and_returns_its_result():
    assert list(run_batches([lambda: 1, lambda: 2])) == [1, 2]


def test_pause_is_as_long_as_the_batch():
    started_at = time.perf_counter()
    list(run_batches([lambda: time.sleep(0.1)]))

    assert time.perf_counter() - started_at >= 0.2


def test_pause_after_a_short_batch_lets_waiting_writers_in():
    started_at = time.perf_counter()
    list(run_batches([lambda: None]))

    assert time.perf_counter() - started_at >= SHORTEST_PAUSE_SECONDS


def test_nothing_runs_if_stopping_is_already_set():
    stopping = threading.Event()
    stopping.set()

    assert list(run_batches([pytest.fail], stopping=stopping)) == []


def test_no_batch_begins_after_stopping_is_set():
    stopping = threading.Event()

    assert list(run_batches([stopping.set, pytest.fail], stopping=stopping)) == [None]


def test_next_batch_is_prepared_after_the_previous_one_has_run():
    done = []

    def batches():
        while len(done) < 3:
            yield lambda: done.append(len(done))

    assert len(list(run_batches(batches()))) == 3


def test_caller_can_stop_between_two_batches():
    running = run_batches([lambda: 1, pytest.fail])

    assert next(running) == 1
    running.close()


def test_items_are_divided_into_batches_in_order():
    assert list(batches_of([1, 2, 3, 4, 5], 2)) == [[1, 2], [3, 4], [5]]
    assert list(batches_of([], 2)) == []
