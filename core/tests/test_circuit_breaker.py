"""If the database is unreachable, one caller at a time tries to connect. Others fail at once."""

import threading

import pytest

from core.db.circuit_breaker import CircuitBreaker, CircuitOpen


class Away(Exception):
    pass


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return CircuitBreaker(clock)


def attempt(breaker, error=None):
    """Tries to connect, and returns the outcome."""
    try:
        with breaker.guard(Away):
            if error:
                raise error
    except (Away, CircuitOpen, ZeroDivisionError) as raised:
        return type(raised)
    return "connected"


def test_callers_are_refused_after_the_first_failure(breaker):
    assert attempt(breaker, Away()) is Away

    assert [attempt(breaker) for _ in range(3)] == [CircuitOpen] * 3


def test_one_caller_tries_again_each_second(breaker, clock):
    attempt(breaker, Away())

    clock.now += 1
    assert attempt(breaker, Away()) is Away
    assert attempt(breaker) is CircuitOpen
    clock.now += 0.9
    assert attempt(breaker) is CircuitOpen
    clock.now += 0.1
    assert attempt(breaker, Away()) is Away


def test_successful_connection_closes_the_circuit_for_all_callers(breaker, clock):
    attempt(breaker, Away())
    clock.now += 1

    assert [attempt(breaker) for _ in range(3)] == ["connected"] * 3


def test_others_are_refused_while_one_tries(breaker, clock):
    attempt(breaker, Away())
    clock.now += 5

    with breaker.guard(Away):
        clock.now += 5
        assert attempt(breaker) is CircuitOpen
    assert attempt(breaker) == "connected"


def test_another_error_lets_the_next_caller_try(breaker, clock):
    attempt(breaker, Away())
    clock.now += 1

    assert attempt(breaker, ZeroDivisionError()) is ZeroDivisionError
    assert attempt(breaker) == "connected"


def test_another_error_does_not_open_the_circuit(breaker):
    assert attempt(breaker, ZeroDivisionError()) is ZeroDivisionError

    assert attempt(breaker) == "connected"


def test_only_one_of_many_threads_tries_to_connect(breaker, clock):
    attempt(breaker, Away())
    clock.now += 1
    results, start = [], threading.Barrier(8)

    def call():
        start.wait()
        results.append(attempt(breaker, Away()))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(result.__name__ for result in results) == ["Away"] + ["CircuitOpen"] * 7
