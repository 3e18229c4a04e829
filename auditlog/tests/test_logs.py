"""Reading the two logs: the pages, and the published API."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog import journal
from auditlog.actions import Action
from auditlog.models import Activity, TokenUse
from auditlog.open_use import OpenUse
from auditlog.record import record
from core.pages.line_breaks import breakable
from opsera_portal.tests.worlds import check_row
from tokens.tests.factories import TokenFactory, bearer

MINE = "/profile/authentication-log/"
OURS = "/organization/authentication-log/"
ACTIVITY = "/organization/activity-log/"
API_USES = "/api/v1/logs/user/tokens"
API_ACTIONS = "/api/v1/logs/user/actions"


def use(token, at=None, *, target="/api/v1/me", status=200, code=None, ip="192.0.2.1", user_agent="curl/8"):
    opened = OpenUse(
        request_id=uuid.uuid4(),
        at=at or timezone.now(),
        method="GET",
        target=target,
        ip=ip,
        user_agent=user_agent,
        token=token,
    )
    journal.commit(opened, status=status, code=code)
    return TokenUse.objects.get(request_id=opened.request_id)


def targets(answer):
    return [row.record.target for row in answer.context["table"].rows]


@pytest.fixture
def auditor(organization):
    # Without a number in the address: a search finds parts of it.
    return UserFactory(organization=organization, site_role=SiteRole.AUDITOR, email="auditor@acme.example")


@pytest.mark.parametrize(
    "role", [SiteRole.USER, SiteRole.GUEST, SiteRole.ADMINISTRATOR, SiteRole.AUDITOR, SiteRole.SECURITY_MANAGER]
)
def test_own_log_has_only_own_entries_whatever_the_role(client, organization, member, role):
    me = UserFactory(organization=organization, site_role=role)
    use(TokenFactory(owner=me), target="/mine")
    use(TokenFactory(owner=member), target="/theirs")
    client.force_login(me)

    assert targets(client.get(MINE)) == ["/mine"]


def test_organizations_log_has_all_entries_of_the_organization_and_no_others(client, auditor, owner, stranger):
    use(TokenFactory(owner=owner), target="/ours")
    use(TokenFactory(owner=stranger), target="/elsewhere")
    client.force_login(auditor)

    assert targets(client.get(OURS)) == ["/ours"]


FOUND = {
    "": ["/c", "/b", "/a"],
    "outcome=refused": ["/b"],
    "outcome=allowed": ["/c", "/a"],
    "reason=forbidden": ["/b"],
    "scope=pipeline": ["/c"],
    "ip=198.51.100.7": ["/c"],
    "q=/B": ["/b"],
    "q=postman": ["/c"],
    "q=403": ["/b"],
    "q=40": [],
    "date=2026-05-02": ["/c", "/b"],
    "date_to=2026-05-02": ["/b", "/a"],
    "date=2026-05-02&date_to=2026-05-02": ["/b"],
    "since_at=2026-05-02T12:00Z": ["/c", "/b"],
    "since_at=2026-05-02T12:00:01": ["/c"],
    "before_at=2026-05-02T14:00%2B02:00": ["/a"],
    "since_at=2026-05-02T00:00Z&before_at=2026-05-03T00:00Z": ["/b"],
}


@pytest.mark.each_database
def test_page_and_api_filter_in_the_same_way(client, api, auditor):
    # With names, because the search finds numbers in them too.
    one = TokenFactory(owner=auditor, scope="api", name="one")
    two = TokenFactory(owner=auditor, scope="pipeline", name="two")
    use(one, datetime(2026, 5, 1, 23, 59, 59, tzinfo=UTC), target="/a")
    use(one, datetime(2026, 5, 2, 12, tzinfo=UTC), target="/b", status=403, code="forbidden")
    use(two, datetime(2026, 5, 3, tzinfo=UTC), target="/c", ip="198.51.100.7", user_agent="Postman")
    client.force_login(auditor)
    api.force_login(auditor)

    def attempt(query):
        on_page = targets(client.get(f"{OURS}?{query}"))
        with time_machine.travel(datetime(2026, 5, 4, tzinfo=UTC)):
            rows = api.get(f"{API_USES}?{query}").json()["data"]
        return on_page, [row["target"] for row in rows]

    check_row(OURS, {query: (found, found) for query, found in FOUND.items()}, attempt)


def test_log_is_filtered_by_the_id_of_a_token(api, auditor):
    one, two = TokenFactory(owner=auditor), TokenFactory(owner=auditor)
    use(one, target="/one")
    use(two, target="/two")
    api.force_login(auditor)

    rows = api.get(API_USES, {"token_id": str(two.pk)}).json()["data"]

    assert [row["target"] for row in rows] == ["/two"]


@pytest.mark.once
def test_use_has_its_published_fields(api, auditor):
    token = TokenFactory(owner=auditor, name="nightly", scope="api pipeline")
    entry = use(token)
    api.force_login(auditor)

    body = api.get(API_USES).json()

    assert body["count"] == 1
    assert body["next"] is None
    (row,) = body["data"]
    published = {"_id", "token_id", "scope", "target", "user_id", "account", "createdAt", "updatedAt"}
    assert published <= set(row)
    assert row["_id"] == row["id"] == str(entry.request_id)
    assert (row["token_id"], row["scope"], row["user_id"]) == (str(token.pk), "api pipeline", str(auditor.pk))
    assert (row["account"], row["user_email"], row["outcome"]) == ("acme", auditor.email, "allowed")


@pytest.mark.once
def test_action_has_its_published_fields(api, auditor, owner):
    record(actor=owner, action=Action.USER_CHANGED, target=owner)
    api.force_login(auditor)

    (row,) = api.get(API_ACTIONS, {"type": "user"}).json()["data"]

    assert {"_id", "user_id", "user_email", "type", "action", "target_id", "account", "createdAt", "updatedAt"} <= set(
        row
    )
    assert (row["type"], row["action"], row["user_email"]) == ("user", "user.changed", owner.email)


@pytest.mark.each_database
def test_api_returns_the_last_seven_days_without_a_date(api, auditor):
    token = TokenFactory(owner=auditor)
    use(token, timezone.now() - timedelta(days=8), target="/old")
    use(token, timezone.now() - timedelta(days=6), target="/new")
    api.force_login(auditor)

    assert [row["target"] for row in api.get(API_USES).json()["data"]] == ["/new"]
    since = (timezone.now() - timedelta(days=9)).date().isoformat()
    assert len(api.get(API_USES, {"date": since}).json()["data"]) == 2
    assert len(api.get(API_USES, {"since_at": f"{since}T00:00Z"}).json()["data"]) == 2


@pytest.mark.each_database
def test_next_page_continues_where_the_last_ended_while_entries_arrive(api, auditor):
    token = TokenFactory(owner=auditor)
    moment = timezone.now() - timedelta(hours=1)
    for number in range(5):
        use(token, moment, target=f"/{number}")
    api.force_login(auditor)
    first = api.get(API_USES, {"count": 2}).json()
    use(token, target="/later")
    second = api.get(first["next"]).json()
    third = api.get(second["next"]).json()

    assert [row["target"] for page in (first, second, third) for row in page["data"]] == ["/4", "/3", "/2", "/1", "/0"]
    assert third["next"] is None


@pytest.mark.parametrize(
    "query",
    [
        "count=0",
        "count=1001",
        "count=x",
        "date=yesterday",
        "date_to=2026-13-01",
        "date=2026-05-02&date_to=2026-05-01",
        "since_at=2026-05-02",
        "since_at=2026-05-02T00:00Z&before_at=2026-05-02T00:00Z",
        "scope=registry",
        "outcome=maybe",
        "token_id=7",
        "cursor=nonsense",
        "ip=300.1.1.1",
        "type=x",
        "q=%00",
        "unknown=1",
    ],
)
@pytest.mark.once
def test_wrong_query_is_a_400_with_errors(api, auditor, query):
    api.force_login(auditor)

    answer = api.get(f"{API_USES}?{query}")

    assert answer.status_code == 400
    assert answer.json()["errors"]


WRONG = ["cursor=nonsense", "cursor=%00", "date=x", "ip=x", "q=%00", "token_id=x", "reason=x", "page=7", "cursor=W10"]


@pytest.mark.parametrize(
    "path", [MINE, *(pytest.param(path, marks=pytest.mark.each_database) for path in (OURS, ACTIVITY))]
)
def test_a_wrong_query_never_breaks_a_page(client, auditor, path):
    use(TokenFactory(owner=auditor))
    client.force_login(auditor)

    check_row(path, dict.fromkeys(WRONG, 200), lambda query: client.get(f"{path}?{query}").status_code)


@pytest.mark.each_database
def test_pages_of_a_long_log_skip_and_repeat_no_entry(client, auditor):
    token = TokenFactory(owner=auditor)
    moment = timezone.now()
    for number in range(120):
        use(token, moment - timedelta(seconds=number // 3), target=f"/{number}")
    client.force_login(auditor)
    address, seen = MINE, []
    while address:
        answer = client.get(address)
        seen += targets(answer)
        last, address = answer, answer.context["page"].next_url

    assert len(seen) == len(set(seen)) == 120
    back = client.get(last.context["page"].previous_url)
    assert targets(back) == seen[50:100]


@pytest.mark.parametrize("path", [MINE, OURS, ACTIVITY, API_USES, API_ACTIONS])
def test_the_number_of_queries_does_not_grow_with_the_rows(client, auditor, django_assert_max_num_queries, path):
    client.force_login(auditor)
    token = TokenFactory(owner=auditor)
    counts = []
    for number in (2, 18):
        for _ in range(number):
            use(token)
            record(actor=auditor, action=Action.USER_CHANGED, target=auditor)
        with django_assert_max_num_queries(8) as captured:
            client.get(path)
        counts.append(len(captured))

    assert counts[0] == counts[1]


def test_text_that_a_caller_sent_cannot_break_the_page(client, owner):
    use(TokenFactory(owner=owner), target="/x", user_agent="<script>alert(1)</script>")
    client.force_login(owner)

    page = client.get(MINE).content.decode()

    assert "<script>alert(1)</script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.each_database
def test_entry_is_readable_after_token_and_owner_are_deleted(client, auditor, owner):
    token = TokenFactory(owner=owner, name="nightly")
    use(token, target="/kept")
    token_id = token.pk
    token.delete()
    owner_email = owner.email
    owner.delete()
    client.force_login(auditor)

    page = client.get(OURS).content.decode()

    assert "nightly" in page
    assert breakable(owner_email) in page
    assert TokenUse.objects.get().token_id == token_id


def test_an_action_needs_actor_and_target(owner):
    for actor, target in ((None, owner), (owner, None)):
        with pytest.raises(ValueError, match="actor"):
            record(actor=actor, action=Action.USER_CHANGED, target=target)
    assert not Activity.objects.exists()


def test_an_action_by_token_names_the_token(api, owner):
    token = TokenFactory(owner=owner, name="nightly")
    other = TokenFactory(owner=owner)
    answer = api.post(f"/api/v1/tokens/{other.pk}/expire", headers=bearer(token))

    entry = Activity.objects.get()
    assert (entry.token, entry.token_name, entry.ip) == (token, "nightly", "127.0.0.1")
    assert str(entry.request_id) == answer.headers["X-Request-ID"] == str(TokenUse.objects.get().request_id)


@pytest.mark.parametrize("name", ["page_size", "count"])
@pytest.mark.once
def test_published_log_routes_accept_both_names_of_the_page_size(api, auditor, name):
    token = TokenFactory(owner=auditor)
    for number in range(3):
        use(token, target=f"/{number}")
    api.force_login(auditor)

    assert api.get(API_USES, {name: 2}).json()["count"] == 2


@pytest.mark.once
def test_both_names_of_the_page_size_at_once_are_a_400(api, auditor):
    api.force_login(auditor)

    answer = api.get(API_USES, {"page_size": 2, "count": 2})

    assert answer.status_code == 400
    assert answer.json()["errors"] == {"count": ["Send either `page_size` or `count`, not both."]}
