"""Every filter of the authentication log, with values that find much, little and nothing."""

from datetime import timedelta

from django.utils import timezone

from auditlog.models import TokenUse
from benchmarks.big_log import entries, goals, statements
from benchmarks.big_log.filling import last_id
from benchmarks.big_log.lists import MINE, OURS, Page, answer_of, signed_in
from benchmarks.big_log.log import BigLog
from benchmarks.big_log.people import DAYS, People, email
from benchmarks.big_log.progress import Milliseconds, Progress
from benchmarks.big_log.results import Measured

NEVER = "not to be found"
UNKNOWN_ID = "00000000-0000-7000-8000-000000000000"
# These are also measured from the middle of the log.
DEEP = {"reason: throttled (none)", "scope: security-logs (none)", "after_end", "ip (none)", "q", "q (none)"}


def measure(log: BigLog) -> Measured:
    own, ours = own_filters(log.people), organization_filters(log.people)
    rows = [["database ms of a page of 50", "own log", "fastest", "the organization's log", "fastest"]]
    slowest, progress = 0.0, Progress("Filters", len(own) + len(ours))
    for label, query in ours.items():
        row = [label]
        for filters, person, path in ((own, log.people.busy, MINE), (ours, log.people.auditor, OURS)):
            taken = milliseconds(Page(label, person, path, query)) if label in filters else None
            row += taken.cells() if taken else ["", ""]
            slowest = max(slowest, taken.median if taken else 0)
        rows.append(row)
        progress.add(2 if label in own else 1)
    return Measured([("filters", rows)], {goals.FILTER.label: slowest})


def milliseconds(page: Page) -> Milliseconds:
    client = signed_in(page.person)
    found = statements.recorded(lambda: answer_of(client, page.path, page.query))
    return statements.milliseconds([statement for statement in found if not statement.is_of_chart])


def own_filters(people: People) -> dict[str, dict[str, str]]:
    token_id = people.busy_token.pk
    middle = TokenUse.objects.filter(owner=people.busy, pk__gte=last_id() // 2).order_by("pk")[0]
    day, month_ago = f"{middle.at:%Y-%m-%d}", f"{timezone.now() - timedelta(days=30):%Y-%m-%d}"
    found = {
        "outcome: refused": {"outcome": "refused"},
        "outcome: allowed": {"outcome": "allowed"},
        "reason: forbidden": {"reason": "forbidden"},
        "reason: throttled (none)": {"reason": "throttled"},
        "after_end": {"after_end": "true"},
        "scope: api": {"scope": "api"},
        "scope: security-logs (none)": {"scope": "security-logs"},
        "token_id": {"token_id": str(token_id)},
        "token_id (none)": {"token_id": UNKNOWN_ID},
        "service: the portal": {"service": "portal"},
        "service (none)": {"service": UNKNOWN_ID},
        "ip": {"ip": f"{entries.BUSY_NETWORK}7"},
        "ip (none)": {"ip": "192.0.2.1"},
        "ip: a network": {"ip": f"{entries.BUSY_NETWORK}0/24"},
        "ip: a network (none)": {"ip": "192.0.2.0/24"},
        "request_id": {"request_id": str(middle.request_id)},
        "request_id (none)": {"request_id": UNKNOWN_ID},
        "date": {"date": month_ago},
        "date_to": {"date_to": day},
        "date and date_to: one day": {"date": day, "date_to": day},
        "since_at and before_at: one hour": {"since_at": f"{day}T12:00Z", "before_at": f"{day}T13:00Z"},
        "date: tomorrow (none)": {"date": f"{timezone.now() + timedelta(days=1):%Y-%m-%d}"},
        "date_to: before the log (none)": {"date_to": f"{timezone.now() - timedelta(days=DAYS + 2):%Y-%m-%d}"},
        "q": {"q": "pipelines/77"},
        "q: an address (none)": {"q": "192.0.2.1"},
        "q: an id (none)": {"q": UNKNOWN_ID},
        "q (none)": {"q": NEVER},
        "outcome and reason (none)": {"outcome": "allowed", "reason": "throttled"},
        "token_id and q (none)": {"token_id": str(token_id), "q": NEVER},
        "token_id and after_end (none)": {"token_id": str(token_id), "after_end": "true"},
    }
    from_the_middle = {f"{label}, from the middle": found[label] | {"date_to": day} for label in found if label in DEEP}
    return found | from_the_middle


def organization_filters(people: People) -> dict[str, dict[str, str]]:
    return own_filters(people) | {
        "user_email: complete": {"user_email": email(7)},
        "user_email: a part": {"user_email": "user77"},
        "user_email: complete (none)": {"user_email": "nobody@bench.example"},
        "user_email: a part (none)": {"user_email": "nobody@"},
        "user_email and reason (none)": {"user_email": email(7), "reason": "throttled"},
    }
