"""Keyset pagination: no row is missed or repeated, even if rows are added meanwhile."""

import base64
import json
import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from auditlog.models import TokenUse
from core.db.keyset import InvalidCursor, Keyset
from pipelines.models import Pipeline
from pipelines.tests.factories import PipelineFactory

pytestmark = pytest.mark.each_database

NEWEST_FIRST = Keyset(("at", "id"))
OLDEST_FIRST = Keyset(("at", "id"), descending=False)
BY_NAME = Keyset(("name", "id"), descending=False)

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
MOMENT = START.isoformat()
ID = str(uuid.UUID(int=1))

# All examples of a test share one transaction, so each example rolls back the rows that it adds.
with_database = hypothesis_settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def add_uses(seconds, status=200):
    """Adds one log entry at each of these offsets from ``START``."""
    return TokenUse.objects.bulk_create(
        TokenUse(
            request_id=uuid.uuid4(),
            at=START + timedelta(seconds=offset),
            token_id=uuid.UUID(int=0),
            method="GET",
            status=status,
            duration_ms=1,
        )
        for offset in seconds
    )


def forward(keyset, rows, size):
    cursor = None
    while True:
        page = keyset.page(rows, cursor=cursor, size=size)
        yield page
        if (cursor := page.next_cursor) is None:
            return


def backward(keyset, rows, size, page):
    while page.previous_cursor is not None:
        page = keyset.page(rows, cursor=page.previous_cursor, size=size)
        yield page


def flat(pages):
    return [row.pk for page in pages for row in page.rows]


def cursor_of(value):
    return encoded(json.dumps(value).encode())


def encoded(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.fixture
def uses(db):
    """Twenty-five entries. Many of them have the same time."""
    add_uses([offset // 7 for offset in range(25)])
    return TokenUse.objects.all()


@pytest.mark.parametrize("size", [1, 2, 6, 7, 24, 25, 26, 1000])
@pytest.mark.parametrize(
    ("keyset", "order"), [(NEWEST_FIRST, ("-at", "-id")), (OLDEST_FIRST, ("at", "id"))], ids=["newest", "oldest"]
)
def test_reading_forward_finds_each_row_once_in_order(uses, keyset, order, size):
    pages = list(forward(keyset, uses, size))

    assert flat(pages) == [use.pk for use in uses.order_by(*order)]
    assert all(len(page.rows) == size for page in pages[:-1])


@pytest.mark.parametrize("size", [1, 2, 6, 7, 24])
def test_reading_backward_finds_the_same_rows_in_the_same_order(uses, size):
    pages = list(forward(NEWEST_FIRST, uses, size))

    back = list(backward(NEWEST_FIRST, uses, size, pages[-1]))

    assert flat(reversed(back)) == flat(pages[:-1])


def test_rows_with_equal_text_are_ordered_by_id(owner, stranger):
    for person in (owner, stranger):
        for name in ("alpha", "Beta", "zeta"):
            PipelineFactory(owner=person, name=name)
    rows = Pipeline.objects.all()

    assert flat(forward(BY_NAME, rows, 1)) == [row.pk for row in rows.order_by("name", "id")]


def test_first_page_has_no_previous_page(uses):
    assert NEWEST_FIRST.page(uses, cursor=None, size=10).previous_cursor is None


@pytest.mark.parametrize("size", [25, 26])
def test_page_with_all_rows_has_no_next_page(uses, size):
    assert NEWEST_FIRST.page(uses, cursor=None, size=size).next_cursor is None


@pytest.mark.django_db
def test_empty_list_is_one_empty_page():
    page = NEWEST_FIRST.page(TokenUse.objects.all(), cursor=None, size=10)

    assert (page.rows, page.next_cursor, page.previous_cursor) == ([], None, None)


def test_rows_added_while_reading_do_not_shift_pages(uses):
    before = flat(forward(NEWEST_FIRST, uses, 1000))
    seen = []
    for page in forward(NEWEST_FIRST, uses, 4):
        seen.append(page)
        # One entry is newer than all others. One has the same time as a row that was read already.
        add_uses([100, int((page.rows[0].at - START).total_seconds())])

    assert [pk for pk in flat(seen) if pk in set(before)] == before
    assert len(set(flat(seen))) == len(flat(seen))


def test_row_added_after_the_position_is_found(uses):
    pages = forward(NEWEST_FIRST, uses, 4)
    seen = [next(pages)]
    [late] = add_uses([-1])
    seen.extend(pages)

    assert flat(seen)[-1] == late.pk


def test_previous_page_has_rows_added_before_the_position(uses):
    first = NEWEST_FIRST.page(uses, cursor=None, size=4)
    second = NEWEST_FIRST.page(uses, cursor=first.next_cursor, size=4)
    [new] = add_uses([100])

    before = NEWEST_FIRST.page(uses, cursor=second.previous_cursor, size=4)
    newest = NEWEST_FIRST.page(uses, cursor=before.previous_cursor, size=4)

    assert flat([before]) == flat([first])
    assert flat([newest]) == [new.pk]


def test_row_at_the_position_may_be_deleted(owner):
    rows = [PipelineFactory(owner=owner, name=name) for name in "abcd"]
    page = BY_NAME.page(Pipeline.objects.all(), cursor=None, size=2)
    rows[1].delete()

    assert flat(forward(BY_NAME, Pipeline.objects.all(), 2)) == [rows[index].pk for index in (0, 2, 3)]
    assert flat([BY_NAME.page(Pipeline.objects.all(), cursor=page.next_cursor, size=2)]) == [rows[2].pk, rows[3].pk]


def test_cursor_finds_only_rows_of_the_list_it_is_used_on(uses):
    cursor = NEWEST_FIRST.page(uses, cursor=None, size=4).next_cursor

    assert NEWEST_FIRST.page(uses.filter(status=500), cursor=cursor, size=4).rows == []


def test_page_costs_one_query_at_any_depth(uses, django_assert_num_queries):
    last = list(forward(NEWEST_FIRST, uses, 4))[-2].next_cursor

    with django_assert_num_queries(1):
        NEWEST_FIRST.page(uses, cursor=last, size=4)


MALFORMED = {
    "not base64": "!!!",
    "letters outside of ASCII": "ü",
    "a length that base64 cannot have": "A",
    "the other base64 alphabet": base64.b64encode(b'["n","\xc3\xbf\xc3\xbf\xc3\xbe",5]').decode(),
    "not UTF-8": encoded(b"\xff\xfe\xfd"),
    "not JSON": encoded(b"n,5"),
    "an empty text": encoded(b'""'),
    "a number": cursor_of(5),
    "null": cursor_of(None),
    "an object": cursor_of({"n": MOMENT, "id": 5}),
    "an empty list": cursor_of([]),
    "too few values": cursor_of(["n", MOMENT]),
    "too many values": cursor_of(["n", MOMENT, 5, 5]),
    "no direction": cursor_of([MOMENT, 5]),
    "an unknown direction": cursor_of(["x", MOMENT, 5]),
    "a direction that is a list": cursor_of([["n"], MOMENT, 5]),
    "a moment that is a number": cursor_of(["n", 5, 5]),
    "a moment that is null, of no row": cursor_of(["n", None, 5]),
    "a moment that is none": cursor_of(["n", "yesterday", 5]),
    "a moment with NUL": cursor_of(["n", "\x00" + MOMENT, 5]),
    "a moment without a zone": cursor_of(["n", "2026-11-23T12:00:00", 5]),
    "a moment before the year 1": cursor_of(["n", "0001-01-01T00:00:00+14:00", 5]),
    "a moment after the year 9999": cursor_of(["n", "9999-12-31T23:59:59-14:00", 5]),
    "a number that is a text": cursor_of(["n", MOMENT, "5"]),
    "a number that is a fraction": cursor_of(["n", MOMENT, 5.5]),
    "a number that is null": cursor_of(["n", MOMENT, None]),
    "a number that is a list": cursor_of(["n", MOMENT, [5]]),
    "a number that is none": encoded(f'["n","{MOMENT}",NaN]'.encode()),
    "a number beyond the database's": cursor_of(["n", MOMENT, 2**63]),
    "a number below the database's": cursor_of(["n", MOMENT, -(2**63) - 1]),
    "a number of five thousand digits": encoded(f'["n","{MOMENT}",{"9" * 5000}]'.encode()),
    "a hundred thousand brackets": encoded(b"[" * 100_000),
    "a hundred thousand nested values": encoded(b'["n",' + b"[" * 100_000 + b"]" * 100_000 + b"]"),
}

MALFORMED_NAMES = {
    "a text that is a number": cursor_of(["n", 5, ID]),
    "a text that is null": cursor_of(["n", None, ID]),
    "a text with NUL": cursor_of(["n", "a\x00b", ID]),
    "half of a surrogate pair": cursor_of(["n", "\ud800", ID]),
    "a UUID that is a number": cursor_of(["n", "alpha", 5]),
    "a UUID that is null": cursor_of(["n", "alpha", None]),
    "a UUID that is a list": cursor_of(["n", "alpha", [ID]]),
    "a UUID that is none": cursor_of(["n", "alpha", "alpha"]),
    "a UUID with NUL": cursor_of(["n", "alpha", ID + "\x00"]),
    "a cursor of another list": cursor_of(["n", MOMENT, 5]),
}


@pytest.mark.django_db
@pytest.mark.parametrize("cursor", MALFORMED.values(), ids=MALFORMED)
def test_forged_cursor_is_refused(cursor):
    with pytest.raises(InvalidCursor):
        NEWEST_FIRST.page(TokenUse.objects.all(), cursor=cursor, size=10)


@pytest.mark.django_db
@pytest.mark.parametrize("cursor", MALFORMED_NAMES.values(), ids=MALFORMED_NAMES)
def test_forged_cursor_of_a_list_by_name_is_refused(cursor):
    with pytest.raises(InvalidCursor):
        BY_NAME.page(Pipeline.objects.all(), cursor=cursor, size=10)


@pytest.mark.django_db
@with_database
@given(st.text(min_size=1) | st.binary(min_size=1).map(encoded))
@pytest.mark.once
@pytest.mark.slow
def test_arbitrary_text_as_a_cursor_is_refused(cursor):
    with pytest.raises(InvalidCursor):
        NEWEST_FIRST.page(TokenUse.objects.all(), cursor=cursor, size=1)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["n", "p", ID])
    | st.datetimes(timezones=st.none() | st.timezones()).map(datetime.isoformat),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
)


@pytest.mark.django_db
@with_database
@given(st.lists(ANYTHING, max_size=4).map(lambda values: ["n", *values]))
@pytest.mark.slow
def test_arbitrary_json_in_a_cursor_finds_nothing_or_is_refused(values):
    cursor = cursor_of(values)
    for keyset, rows in ((NEWEST_FIRST, TokenUse.objects.all()), (BY_NAME, Pipeline.objects.all())):
        with suppress(InvalidCursor):
            assert keyset.page(rows, cursor=cursor, size=1).rows == []


@pytest.mark.django_db
@with_database
@given(
    seconds=st.lists(st.integers(0, 4), max_size=30),
    sizes=st.lists(st.integers(1, 8), min_size=1),
    descending=st.booleans(),
)
@pytest.mark.slow
def test_pages_of_any_size_add_up_to_the_whole_list(seconds, sizes, descending):
    keyset = Keyset(("at", "id"), descending=descending)
    with transaction.atomic():
        add_uses(seconds)
        rows = TokenUse.objects.order_by("-at", "-id") if descending else TokenUse.objects.order_by("at", "id")
        whole = [row.pk for row in rows]
        walked, pages, cursor = [], 0, None
        while True:
            page = keyset.page(TokenUse.objects.all(), cursor=cursor, size=sizes[pages % len(sizes)])
            walked += flat([page])
            pages += 1
            if (cursor := page.next_cursor) is None:
                break
        back = flat([page])
        while page.previous_cursor is not None:
            page = keyset.page(TokenUse.objects.all(), cursor=page.previous_cursor, size=sizes[pages % len(sizes)])
            back = flat([page]) + back
            pages += 1
        transaction.set_rollback(True)

    assert walked == whole
    assert back == whole


# Search: conditions without an index, which are checked in a limited part of the list


def search(rows, size, cursor=None):
    return NEWEST_FIRST.page(rows.filter(status=500), cursor=cursor, size=size, searched=rows)


@pytest.mark.django_db
@with_database
@given(
    seconds=st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=30),
    size=st.integers(1, 6),
    limit=st.integers(1, 12),
)
def test_search_finds_each_row_once_with_any_limit(seconds, size, limit):
    with transaction.atomic(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.db.keyset.MAX_SEARCHED", limit)
        for is_found in (True, False):
            add_uses([second for second, found in seconds if found is is_found], status=500 if is_found else 200)
        rows = TokenUse.objects.all()
        whole = [row.pk for row in rows.filter(status=500).order_by("-at", "-id")]
        walked, cursor = [], None
        while True:
            page = search(rows, size, cursor)
            walked += flat([page])
            assert page.searched_to is None or len(page.rows) <= size
            if (cursor := page.next_cursor) is None:
                break
        back = flat([page])
        while page.previous_cursor is not None:
            page = search(rows, size, page.previous_cursor)
            back = flat([page]) + back
        in_parts = [
            row.pk for part in NEWEST_FIRST.parts(rows.filter(status=500), searched=rows, size=limit) for row in part
        ]
        transaction.set_rollback(True)

    assert walked == back == whole
    assert in_parts == whole


@pytest.mark.parametrize("at_position", [True, False])
def test_empty_page_links_back_to_the_rows_before_it(uses, at_position):
    page = NEWEST_FIRST.page(uses, cursor=None, size=4)
    kept = page.rows[: 4 if at_position else 3]
    rows = TokenUse.objects.filter(pk__in=[use.pk for use in kept])

    empty = NEWEST_FIRST.page(rows, cursor=page.next_cursor, size=4)
    before = NEWEST_FIRST.page(rows, cursor=empty.previous_cursor, size=4)
    newer = NEWEST_FIRST.page(rows, cursor=before.next_cursor, size=4)

    assert (flat([empty]), empty.next_cursor) == ([], None)
    assert flat([before]) == [use.pk for use in kept]
    assert flat([newer]) == []
    assert flat([NEWEST_FIRST.page(rows, cursor=newer.previous_cursor, size=4)]) == flat([before])


def test_page_of_a_search_costs_two_queries(uses, django_assert_num_queries):
    with django_assert_num_queries(2):
        search(uses, 4)


def test_rows_are_counted_up_to_a_limit(uses):
    assert NEWEST_FIRST.count(uses, up_to=10) == 10
    assert NEWEST_FIRST.count(uses, up_to=100) == 25
