"""Calls of a page don't get memory from the operating system again and again, however deep they are."""

import resource

import pytest

from core.http.call_stack import CallStackMiddleware

CALLS = 500


def page_faults():
    """How often this process got memory that it had not used before."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def call_often():
    def nothing():
        pass

    before = page_faults()
    for _ in range(CALLS):
        nothing()
    return page_faults() - before


def at_depth(depth):
    """The page faults of calls below so many others."""
    return at_depth(depth - 1) if depth else call_often()


@pytest.mark.parametrize("start", range(0, 300, 100))
def test_calls_at_no_depth_get_memory_each_time(start):
    def most(get_response):
        return max(get_response(depth) for depth in range(start, start + 100))

    # The first use of each page of the memory is one fault.
    assert most(CallStackMiddleware(at_depth)) < CALLS / 10
