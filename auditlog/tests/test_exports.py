"""Exports of the logs have the same fields as the API's records, whatever their content."""

import csv
import io
import json
import re
import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog import exports
from auditlog.api.serializers import TokenUseSerializer
from auditlog.models import Activity, TokenUse
from auditlog.tests.entries import action, use
from core.db.keyset import Keyset
from gateway.tests.factories import ServiceFactory
from opsera_portal.tests.naughty import NAUGHTY_STRINGS
from opsera_portal.tests.worlds import check_row

SIGNS = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")

PAGES = {
    "/profile/authentication-log/": "/profile/authentication-log/export/",
    "/organization/authentication-log/": "/organization/authentication-log/export/",
    "/profile/activity-log/": "/profile/activity-log/export/",
    "/organization/activity-log/": "/organization/activity-log/export/",
}
ROUTES = {
    "/api/v1/me/authentication-log": "/api/v1/me/authentication-log/export",
    "/api/v1/logs/user/tokens": "/api/v1/logs/user/tokens/export",
    "/api/v1/me/activity-log": "/api/v1/me/activity-log/export",
    "/api/v1/logs/user/actions": "/api/v1/logs/user/actions/export",
}

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "  +1", '"=1', "'=1", "' \"@x", "=", "-", "@", "="]
FORMULAS += ["\n=1", "\nx", "＝1+1", "＋1", "－1", "＠SUM(A1)", " ＝1", '"＠x']
HARMLESS = [
    "",
    " ",
    "a=1",
    "1-1",
    "/api",
    "~",
    "ünï",
    "日本語",
    "😀",
    "<b>",
    "a,b",
    'a"b',
    '"',
    '""',
    "a\nb",
    "a\r\nb",
    "\\",
]
SERVICE = ("id", "name", "short_name")
HARMLESS += [
    "\x01\x1f\x7f",
    "\\N",
    "\\.",
    "%s %(x)s %%",
    "null",
    "NULL",
    "0001",
    "{}",
    "'",
    "a'b",
    "'' OR 1=1",
    ":",
    ";",
    "A",
    "[",
    "＜",
    "！",
    "ａ＝1",
    "ｚ",
]
# A misspelled filter, a parameter of lists only, and parameters that appear twice.
UNKNOWN = ["outcom=refused", "cursor=x", "date=2026-01-01&date=2026-01-02", "format=csv&format=csv"]


def texts():
    return [text for text in [*FORMULAS, *HARMLESS, *NAUGHTY_STRINGS] if "\x00" not in text]


def add_uses(owner, strings):
    """Adds a use for each string, with it in every text field. Some times have microseconds."""
    now = timezone.now().replace(microsecond=0)
    services = [None, ServiceFactory(organization=owner.organization, name='=1+"ü"'), ServiceFactory.build()]
    TokenUse.objects.bulk_create(
        use(
            owner.organization,
            at=now - timedelta(seconds=number) + timedelta(microseconds=number % 3 * 120_000),
            owner_id=owner.pk,
            owner_email=text[:254],
            token_name=text[:50],
            target=text[:512],
            user_agent=text[:256],
            ip=[None, "192.0.2.1", "2001:db8::1"][number % 3],
            status=[200, 403][number % 2],
            outcome=["allowed", "refused"][number % 2],
            service=services[number % 3],
            reported_at=[None, now, now + timedelta(microseconds=10)][number % 3],
        )
        for number, text in enumerate(strings)
    )


def add_actions(actor, strings):
    now = timezone.now().replace(microsecond=0)
    Activity.objects.bulk_create(
        action(
            actor.organization,
            at=now - timedelta(seconds=number),
            actor_id=actor.pk,
            actor_email=text[:254],
            target_name=text[:254],
            token_name=text[:50],
            token_id=[None, uuid.uuid4()][number % 2],
            request_id=[None, uuid.uuid4()][number % 2],
            details={"text": text, "list": [1, None, {"a": True}], "empty": {}},
        )
        for number, text in enumerate(strings)
    )


def read_csv(answer):
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode(), newline="")))


def read_json_lines(answer):
    lines = b"".join(answer.streaming_content).decode().split("\n")
    assert lines.pop() == ""
    return [json.loads(line) for line in lines]


def as_cells(record):
    """Converts a record of the API to CSV cells, with an apostrophe before formulas."""
    cells = {}
    for name, value in record.items():
        if name == "service":
            cells |= {f"service_{part}": as_cell(part, (value or {}).get(part)) for part in SERVICE}
        else:
            cells[name] = as_cell(name, value)
    return cells


def as_cell(name, value):
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return value
    return f"'{value}" if value.lstrip(" \"'").startswith(SIGNS) else value


def with_details(row):
    return {**row, "details": json.loads(row["details"])} if "details" in row else row


@pytest.fixture
def auditor(organization):
    return UserFactory(organization=organization, site_role=SiteRole.AUDITOR)


@pytest.fixture
def records(api, auditor):
    """Reads every record of a log from the API."""
    api.force_login(auditor)

    def read(address, query=None):
        rows, address = [], f"{address}?{query or ''}"
        while address:
            answer = api.get(address).json()
            rows += answer["data"]
            address = answer["next"]
        return rows

    return read


@pytest.mark.parametrize(
    ("route", "add"), [("/api/v1/me/authentication-log", add_uses), ("/api/v1/me/activity-log", add_actions)]
)
@pytest.mark.each_database
def test_export_writes_each_field_as_the_api_does(api, auditor, records, route, add):
    add(auditor, texts())
    expected = records(route)
    assert len(expected) >= len([*FORMULAS, *HARMLESS])

    lines = read_json_lines(api.get(f"{route}/export", {"format": "jsonl"}))
    rows = read_csv(api.get(f"{route}/export", {"format": "csv"}))

    assert lines == expected
    assert [list(line) for line in lines[:1]] == [list(expected[0])]
    assert list(rows[0]) == list(as_cells(expected[0]))
    assert [with_details(row) for row in rows] == [as_cells(record) for record in expected]


def test_cells_that_begin_a_formula_are_quoted_and_others_are_unchanged(api, auditor):
    api.force_login(auditor)
    quoted = {text: f"'{text}" for text in FORMULAS}
    unchanged = {text: text for text in HARMLESS if text}
    expected = quoted | unchanged
    add_uses(auditor, expected)

    rows = read_csv(api.get("/api/v1/me/authentication-log/export"))

    for name in ("token_name", "target", "user_email", "user_agent"):
        assert sorted(row[name] for row in rows) == sorted(expected.values())


def test_cell_that_python_writes_is_quoted_like_one_of_the_database():
    assert [exports.harmless_text(text) for text in FORMULAS] == [f"'{text}" for text in FORMULAS]
    assert [exports.harmless_text(text) for text in HARMLESS] == HARMLESS


QUERIES = ["", "outcome=refused", "q=%2Fapi", "ip=192.0.2.1", "date=2026-05-02", f"token_id={uuid.UUID(int=1)}"]


@pytest.mark.parametrize(
    "address", [*PAGES.values(), *(pytest.param(route, marks=pytest.mark.each_database) for route in ROUTES.values())]
)
def test_export_contains_the_entries_that_the_list_shows(client, records, auditor, address):
    add_uses(auditor, ["/api", "/else", "/api/v1"])
    add_actions(auditor, ["one", "two"])
    TokenUse.objects.bulk_create([use(auditor.organization, owner_id=auditor.pk, at=datetime(2026, 5, 1, tzinfo=UTC))])
    client.force_login(auditor)
    lists = {export: route for route, export in ROUTES.items()}
    lists |= dict(zip(PAGES.values(), ROUTES, strict=True))
    of_this_log = [query.replace("outcome=refused", "type=token") for query in QUERIES] if "act" in address else QUERIES

    def attempt(query):
        if address.startswith("/organization/") and "date" not in query:
            # Without a date, the published routes return only seven days, but pages show everything.
            query = f"{query}&date=2020-01-01"
        assert read_json_lines(client.get(f"{address}?format=jsonl&{query}")) == records(lists[address], query)
        return "equal"

    check_row(address, dict.fromkeys(of_this_log, "equal"), attempt)


@pytest.mark.each_database
def test_export_of_a_long_log_has_every_entry_once(api, auditor, records, monkeypatch):
    monkeypatch.setattr(exports, "PART_SIZE", 7)
    TokenUse.objects.bulk_create(
        use(
            auditor.organization,
            owner_id=auditor.pk,
            at=timezone.now() - timedelta(seconds=number // 5),
            status=200 + number % 4,
        )
        for number in range(100)
    )
    api.force_login(auditor)

    for query in ("", "&q=nightly"):
        answer = api.get(f"/api/v1/me/authentication-log/export?format=jsonl{query}")
        exported = [row["id"] for row in read_json_lines(answer)]
        assert exported == [row["id"] for row in records("/api/v1/me/authentication-log")]
        assert len(exported) == 100


@pytest.mark.each_database
def test_entries_that_arrive_during_an_export_are_not_in_it(api, auditor, monkeypatch):
    monkeypatch.setattr(exports, "PART_SIZE", 5)
    add_uses(auditor, ["/before"] * 20)
    api.force_login(auditor)
    content = iter(api.get("/api/v1/me/authentication-log/export?format=jsonl").streaming_content)
    lines = next(content)
    TokenUse.objects.bulk_create([use(auditor.organization, owner_id=auditor.pk)])
    lines += b"".join(content)

    assert [json.loads(line)["target"] for line in lines.splitlines()] == ["/before"] * 20


@pytest.mark.each_database
def test_entries_that_arrive_while_a_part_is_found_push_no_other_out(api, auditor, monkeypatch):
    monkeypatch.setattr(exports, "PART_SIZE", 5)
    add_uses(auditor, [f"/before/{number}" for number in range(20)])
    find_end = Keyset._end

    def find_end_and_add(self, *args, **kwargs):
        end = find_end(self, *args, **kwargs)
        TokenUse.objects.bulk_create(
            use(auditor.organization, owner_id=auditor.pk, target="/meanwhile") for _ in range(3)
        )
        return end

    monkeypatch.setattr(Keyset, "_end", find_end_and_add)
    api.force_login(auditor)

    exported = read_json_lines(api.get("/api/v1/me/authentication-log/export?format=jsonl"))

    targets = [line["target"] for line in exported]
    assert sorted(target for target in targets if target != "/meanwhile") == sorted(
        f"/before/{number}" for number in range(20)
    )


def test_export_sends_its_first_bytes_before_it_reads_an_entry(api, auditor, django_assert_num_queries):
    api.force_login(auditor)
    content = iter(api.get("/api/v1/me/authentication-log/export").streaming_content)

    with django_assert_num_queries(0):
        assert next(content).startswith(b"_id,id,token_id,")


@pytest.mark.once
def test_export_has_the_headers_of_its_format(api, auditor):
    api.force_login(auditor)
    today = f"{timezone.now():%Y-%m-%d}"

    answer = api.get("/api/v1/logs/user/tokens/export")
    mine = api.get("/api/v1/me/activity-log/export?format=jsonl")

    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="authentication-log-acme-{today}.csv"'
    assert mine.headers["Content-Type"] == "application/jsonl"
    assert mine.headers["Content-Disposition"] == f'attachment; filename="my-activity-log-acme-{today}.jsonl"'
    for each in (answer, mine):
        assert each.headers["Cache-Control"] == "no-store"
        assert each.headers["X-Content-Type-Options"] == "nosniff"
    # No byte order mark: programs would read it as part of the first column's name.
    assert b"".join(answer.streaming_content) == ",".join(as_cells(TokenUseSerializer(use()).data)).encode() + b"\r\n"


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/csv", "application/jsonl"])
@pytest.mark.once
def test_export_can_be_requested_by_its_media_type(api, auditor, accept):
    api.force_login(auditor)
    address = "/api/v1/logs/user/tokens/export"

    assert api.get(address, headers={"Accept": accept}).status_code == 200
    wrong = api.get(f"{address}?format=xml", headers={"Accept": accept})
    assert (wrong.status_code, wrong.headers["Content-Type"]) == (400, "application/problem+json")
    assert list(wrong.json()["errors"]) == ["format"]


def test_a_head_request_reads_no_entry(api, auditor, django_assert_max_num_queries):
    api.force_login(auditor)
    with django_assert_max_num_queries(4):
        answer = api.head("/api/v1/me/authentication-log/export")

    assert (answer.status_code, b"".join(answer.streaming_content)) == (200, b"")


@pytest.mark.parametrize("address", PAGES.values())
@pytest.mark.parametrize(
    "query", ["format=xml", "date=x", "ip=300.1.1.1", "q=%00", "token_id=7", "format=%00", *UNKNOWN]
)
@pytest.mark.once
def test_page_refuses_an_export_with_a_wrong_query(client, auditor, address, query):
    client.force_login(auditor)

    assert client.get(f"{address}?{query}").status_code == 400


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
@pytest.mark.each_database
def test_interrupted_export_does_not_look_complete(api, auditor, monkeypatch, file_format):
    monkeypatch.setattr(exports, "PART_SIZE", 5)
    add_uses(auditor, ["/x"] * 20)
    api.force_login(auditor)
    content = iter(api.get(f"/api/v1/me/authentication-log/export?format={file_format}").streaming_content)
    sent = next(content) + next(content)

    def fail(execute, sql, params, many, context):
        raise DatabaseError("The disk is gone.")

    with connection.execute_wrapper(fail):
        sent += next(content)
        with pytest.raises(DatabaseError):
            next(content)

    if file_format == "csv":
        with pytest.raises(csv.Error):
            list(csv.reader(io.StringIO(sent.decode(), newline=""), strict=True))
    else:
        with pytest.raises(ValueError, match="Unterminated"):
            json.loads(sent.decode().splitlines()[-1])


@pytest.mark.parametrize("address", ["/api/v1/me/authentication-log/export", "/profile/authentication-log/export/"])
@pytest.mark.once
def test_number_of_exports_at_the_same_time_is_limited(api, auditor, monkeypatch, address):
    monkeypatch.setattr(exports, "_places", threading.BoundedSemaphore(3))
    api.force_login(auditor)
    on_their_way = [api.get(address) for _ in range(3)]
    refused = api.get(address)

    assert {answer.status_code for answer in on_their_way} == {200}
    assert (refused.status_code, int(refused.headers["Retry-After"]) > 0) == (429, True)
    # A server does this if the client has disconnected.
    for close in on_their_way.pop()._resource_closers:
        close()
    b"".join(on_their_way.pop().streaming_content)
    assert [api.get(address).status_code, api.get(address).status_code] == [200, 200]


# Excel

MARK = b"\xef\xbb\xbf"


def content_of(answer):
    return b"".join(answer.streaming_content)


@pytest.mark.parametrize("route", ROUTES.values())
@pytest.mark.once
def test_csv_of_the_api_begins_with_a_byte_order_mark_on_request(api, auditor, route):
    add_uses(auditor, ["/größe"])
    add_actions(auditor, ["größe"])
    api.force_login(auditor)

    plain, marked = content_of(api.get(route)), content_of(api.get(route, {"bom": "true"}))

    assert marked.startswith(MARK)
    assert marked.decode("utf-8-sig").startswith("_id,id,")
    assert "größe" in marked.decode("utf-8-sig")
    # The first request added no entry: only requests with a token are logged.
    assert marked == MARK + plain
    assert content_of(api.get(route, {"bom": "false"})) == plain


@pytest.mark.parametrize("page", PAGES.values())
@pytest.mark.once
def test_csv_of_a_page_begins_with_a_byte_order_mark(client, auditor, page):
    client.force_login(auditor)

    assert content_of(client.get(page)).startswith(MARK)
    assert content_of(client.get(page, {"format": "csv", "bom": "true"})).startswith(MARK)
    assert content_of(client.get(page, {"bom": "false"})).startswith(b"_id,id,")
    assert not content_of(client.get(page, {"format": "jsonl"})).startswith(MARK)


@pytest.mark.parametrize("query", ["bom=true&format=jsonl", "bom=maybe", "bom=", "bom=true&bom=true"])
@pytest.mark.parametrize("address", [*PAGES.values(), *ROUTES.values()])
@pytest.mark.once
def test_wrong_parameter_for_the_byte_order_mark_is_refused(client, auditor, address, query):
    client.force_login(auditor)

    assert client.get(f"{address}?{query}").status_code == 400


# Long searches without a match


def add_many(auditor, count, needles=()):
    TokenUse.objects.bulk_create(
        use(
            auditor.organization,
            owner_id=auditor.pk,
            at=timezone.now() - timedelta(seconds=number),
            target="/needle" if number in needles else "/hay",
        )
        for number in range(count)
    )


@pytest.mark.once
def test_export_tells_the_proxy_not_to_buffer_it(api, auditor):
    api.force_login(auditor)

    assert api.get("/api/v1/me/authentication-log/export").headers["X-Accel-Buffering"] == "no"


@pytest.mark.parametrize("file_format", ["csv", pytest.param("jsonl", marks=pytest.mark.each_database)])
@pytest.mark.parametrize("needles", [(), (0,), (97,), (0, 50, 99)], ids=str)
def test_long_search_keeps_the_connection_alive(api, auditor, monkeypatch, file_format, needles):
    address = f"/api/v1/me/authentication-log/export?format={file_format}&q=needle"
    add_many(auditor, 100, needles)
    api.force_login(auditor)
    whole = content_of(api.get(address))
    monkeypatch.setattr(exports, "PART_SIZE", 5)
    monkeypatch.setattr(exports, "KEEP_ALIVE_SECONDS", 0)

    chunks = list(api.get(address).streaming_content)

    # At least one for each of the 20 parts, and none is empty.
    assert len(chunks) >= 20
    assert all(chunks)
    sent = b"".join(chunks)
    assert sent == whole or file_format == "jsonl"
    assert read_all(sent, file_format) == read_all(whole, file_format)
    assert len(read_all(sent, file_format)) == len(needles)


def read_all(sent, file_format):
    if file_format == "csv":
        return list(csv.DictReader(io.StringIO(sent.decode(), newline="")))
    return [json.loads(line) for line in sent.decode().split("\n") if line.strip()]


@pytest.mark.parametrize("file_format", ["csv", pytest.param("jsonl", marks=pytest.mark.each_database)])
def test_export_without_a_match_sends_only_the_header(api, auditor, monkeypatch, file_format):
    monkeypatch.setattr(exports, "PART_SIZE", 5)
    add_many(auditor, 100)
    api.force_login(auditor)

    chunks = list(api.get(f"/api/v1/me/authentication-log/export?format={file_format}&q=needle").streaming_content)

    assert len(chunks) == (2 if file_format == "csv" else 0)


@pytest.mark.once
def test_shipped_proxy_waits_longer_than_a_search_is_silent():
    text = (settings.BASE_DIR / "deploy/nginx/opsera-portal-proxy.conf").read_text()
    [seconds] = re.findall(r"proxy_read_timeout (\d+)s;", text)

    assert int(seconds) > exports.KEEP_ALIVE_SECONDS * 2
