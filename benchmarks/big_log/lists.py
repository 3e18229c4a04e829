"""Pages of lists, at the beginning, in the middle and at the end of the log."""

from dataclasses import dataclass
from typing import Any

from django.test import Client

from auditlog.models import NEWEST_FIRST, TokenUse
from benchmarks.big_log import goals, statements
from benchmarks.big_log.filling import last_id
from benchmarks.big_log.log import BigLog
from benchmarks.big_log.people import People
from benchmarks.big_log.progress import Progress, milliseconds
from benchmarks.big_log.results import Measured

MINE, OURS = "/profile/authentication-log/", "/organization/authentication-log/"
DEPTHS = (0.0, 0.5, 0.95)
HEAD = ["page of 50", "depth", "queries", "database ms", "fastest ms", "its charts, ms", "whole answer ms", "index"]


@dataclass(frozen=True)
class Page:
    label: str
    person: Any
    path: str
    query: dict[str, str]


def lists(people: People) -> list[Page]:
    busy, usual = {"token_id": str(people.busy_token.pk)}, {"token_id": str(people.usual_token.pk)}
    return [
        Page("mine, with a fifth of all entries", people.busy, MINE, {}),
        Page("mine, one of 2,000", people.usual, MINE, {}),
        Page("mine, one busy token", people.busy, MINE, busy),
        Page("mine, one usual token", people.usual, MINE, usual),
        Page("page of a busy token (20 entries)", people.busy, f"/profile/tokens/{people.busy_token.pk}/", {}),
        Page("page of a usual token (20 entries)", people.usual, f"/profile/tokens/{people.usual_token.pk}/", {}),
        Page("the organization's", people.auditor, OURS, {}),
        Page("the organization's, one busy token", people.auditor, OURS, busy),
        Page("the organization's, one usual token", people.auditor, OURS, usual),
        Page("a small organization's", people.auditor_of_small, OURS, {}),
    ]


def measure(log: BigLog) -> Measured:
    rows, slowest, without_index = measured_pages(log.people)
    return Measured([("lists", rows)], {goals.PAGE.label: slowest, goals.INDEX.label: without_index})


def measure_afterwards(log: BigLog) -> Measured:
    rows, slowest, _ = measured_pages(log.people)
    return Measured([("lists after VACUUM and ANALYZE", rows)], {goals.PAGE_AFTERWARDS.label: slowest})


def measured_pages(people: People) -> tuple[list[list[str]], float, int]:
    """Returns the rows, the slowest list's database ms, and how many read a whole table."""
    rows, slowest, without_index = [HEAD], 0.0, 0
    pages = lists(people)
    progress = Progress("Lists", len(pages) * len(DEPTHS))
    for page in pages:
        for depth in DEPTHS:
            cells, database, reads_whole_table = measured(page, depth)
            rows.append([page.label, f"{depth:.0%}", *cells])
            slowest, without_index = max(slowest, database), without_index + reads_whole_table
            progress.add(1)
    return rows, slowest, without_index


def measured(page: Page, depth: float) -> tuple[list[str], float, bool]:
    client = signed_in(page.person)
    query = page.query | ({"cursor": cursor_at(depth)} if depth else {})
    found = statements.recorded(lambda: answer_of(client, page.path, query))
    of_list = [statement for statement in found if not statement.is_of_chart]
    of_charts = [statement for statement in found if statement.is_of_chart]
    database, charts = statements.milliseconds(of_list), statements.milliseconds(of_charts)
    whole = milliseconds(lambda: client.get(page.path, query))
    cells = [str(len(found)), *database.cells(), str(charts) if of_charts else "", f"{whole.median:.1f}"]
    return [*cells, statements.indexes(of_list)], database.median, statements.reads_whole_table(of_list)


def signed_in(person: Any) -> Client:
    client = Client()
    client.force_login(person)
    return client


def answer_of(client: Client, path: str, query: dict[str, str]) -> Any:
    answer = client.get(path, query)
    if answer.status_code != 200:
        raise RuntimeError(f"{path} {query}: {answer.status_code}")
    return answer


def cursor_at(depth: float) -> str:
    """The cursor of the page that begins at this part of the log, which was filled in order of time."""
    newest = int(last_id() * (1 - depth))
    two = TokenUse.objects.filter(pk__gte=newest).order_by("pk").values_list("pk", flat=True)[:2]
    return NEWEST_FIRST.page(TokenUse.objects.filter(pk__in=list(two)), cursor=None, size=1).next_cursor or ""
