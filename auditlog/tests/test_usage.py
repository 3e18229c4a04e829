"""Usage counts equal a count of the whole log, whether it has been counted before or not."""

import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog import counting, usage
from auditlog.models import ENDED_REASONS, OrganizationUsage, TokenUsage, TokenUse, UsageProgress
from auditlog.tests.test_logs import use
from tokens.tests.factories import TokenFactory

pytestmark = pytest.mark.each_database
# Fewer on PostgreSQL: each takes longer there, and a difference in SQL shows up early.
EXAMPLES = 60 if connection.vendor == "sqlite" else 20

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
ENDED = {"status": 401, "code": "revoked"}
REFUSED = {"status": 403, "code": "forbidden"}


@pytest.fixture(autouse=True)
def at_noon():
    with time_machine.travel(NOW, tick=False):
        yield


def ago(**how_long):
    return NOW - timedelta(**how_long)


def after_end(uses):
    return usage.with_last_uses(uses, usage.after_end(uses))


def count():
    """Counts new entries, as the worker does."""
    return sum(counting.count_due())


@pytest.fixture(params=["nothing", "all", "half"])
def is_counted(request):
    """Whether to count after the first half of the entries, and after the last one."""
    return {"nothing": [False, False], "all": [False, True], "half": [True, False]}[request.param]


def test_usage_has_each_of_the_last_30_days(owner, is_counted):
    token = TokenFactory(owner=owner)
    use(token, ago(days=30))
    use(token, ago(days=29))
    use(token, ago(days=1), **REFUSED)
    if is_counted[0]:
        count()
    use(token, ago(days=1))
    use(token, NOW)
    use(token, NOW)
    if is_counted[1]:
        count()

    found = usage.days(usage.of(owner))

    assert [day.day for day in found] == [NOW.date() - timedelta(days=n) for n in range(29, -1, -1)]
    assert {day.day.day: (day.allowed, day.refused) for day in found if day.total} == {
        21: (1, 0),
        19: (1, 1),
        20: (2, 0),
    }


def test_days_are_counted_in_utc(owner):
    token = TokenFactory(owner=owner)
    use(token, datetime(2026, 5, 18, 23, 59, 59, 999_999, tzinfo=UTC))
    use(token, datetime(2026, 5, 19, tzinfo=UTC))

    def counted():
        return {day.day.day: day.total for day in usage.days(usage.of(owner)) if day.total}

    assert counted() == {18: 1, 19: 1}
    count()
    assert counted() == {18: 1, 19: 1}


def test_usage_of_an_unused_token_has_30_empty_days(owner):
    assert [day.total for day in usage.days(usage.of(owner))] == [0] * 30
    assert usage.addresses(usage.of_token(TokenFactory(owner=owner).pk, reader=owner)) == []
    assert usage.after_end(usage.of(owner)) == []


# Who sees what


@pytest.fixture
def four_uses(owner, member, stranger):
    """Two uses by the owner, one by a colleague and one by a stranger. Half of them are counted."""
    token = TokenFactory(owner=owner)
    use(token, ago(hours=4), **ENDED)
    use(TokenFactory(owner=stranger), ago(hours=3), **ENDED)
    count()
    use(TokenFactory(owner=owner), ago(hours=2), **ENDED)
    use(TokenFactory(owner=member), ago(hours=1), **ENDED)
    return token


def totals(uses):
    return sum(day.total for day in usage.days(uses)), len(usage.after_end(uses))


def test_person_sees_usage_of_their_own_tokens(four_uses, owner, member, stranger, administrator):
    assert totals(usage.of(owner)) == (2, 2)
    assert totals(usage.of(member)) == (1, 1)
    assert totals(usage.of(stranger)) == (1, 1)
    assert totals(usage.of(administrator)) == (0, 0)


@pytest.mark.parametrize("role", SiteRole)
@pytest.mark.once
def test_usage_of_the_organization_is_visible_to_readers_of_its_logs(four_uses, organization, role):
    reader = UserFactory(organization=organization, site_role=role)
    expected = (0, 0) if role in {SiteRole.USER, SiteRole.GUEST} else (3, 3)

    assert totals(usage.readable_org_entries(reader)) == expected


def test_usage_of_a_token_is_visible_to_readers_of_its_log(four_uses, owner, member, stranger, administrator):
    def seen_by(reader):
        uses = usage.of_token(four_uses.pk, reader=reader)
        return totals(uses), len(usage.addresses(uses))

    assert seen_by(owner) == seen_by(administrator) == ((1, 1), 1)
    assert seen_by(member) == seen_by(stranger) == ((0, 0), 0)


# Addresses


def ips(token):
    return {
        address.ip: (address.allowed, address.refused, address.is_new)
        for address in usage.addresses(usage.of_token(token.pk, reader=token.owner))
    }


def test_addresses_have_their_first_and_last_use(owner, is_counted):
    token = TokenFactory(owner=owner)
    use(token, ago(days=80), ip="192.0.2.1")
    use(token, ago(days=9), ip="2001:db8::1", **REFUSED)
    if is_counted[0]:
        count()
    use(token, ago(days=2), ip="192.0.2.1")
    use(token, ago(days=1), ip=None)
    if is_counted[1]:
        count()

    found = usage.addresses(usage.of_token(token.pk, reader=owner))

    assert [(address.ip, address.first_at, address.last_at, address.total, address.refused) for address in found] == [
        (None, ago(days=1), ago(days=1), 1, 0),
        ("192.0.2.1", ago(days=80), ago(days=2), 2, 0),
        ("2001:db8::1", ago(days=9), ago(days=9), 1, 1),
    ]


@pytest.mark.parametrize(
    ("token_since", "address_since", "is_new"),
    [
        (timedelta(days=30), timedelta(days=2), True),
        (timedelta(days=30), timedelta(days=7), False),
        (timedelta(days=30), timedelta(days=6, hours=23), True),
        (timedelta(days=3), timedelta(days=2), False),
        (timedelta(days=3), timedelta(days=1, hours=23), True),
        (timedelta(hours=2), timedelta(hours=1), False),
    ],
    ids=str,
)
def test_address_is_new_for_a_week_unless_the_token_is_new(owner, token_since, address_since, is_new):
    token = TokenFactory(owner=owner)
    use(token, NOW - token_since, ip="192.0.2.1")
    use(token, NOW - address_since, ip="192.0.2.2")

    before = ips(token)
    count()

    assert before["192.0.2.1"] == (1, 0, False)
    assert before["192.0.2.2"] == (1, 0, is_new)
    assert ips(token) == before


# Ended tokens still in use


def test_expired_token_in_use_is_listed_with_addresses_and_counts(owner, is_counted):
    token = TokenFactory(owner=owner, name="old laptop")
    use(token, ago(days=20), ip="192.0.2.1")
    use(token, ago(days=9), ip="192.0.2.1", **ENDED)
    use(token, ago(days=8), ip="192.0.2.1", **ENDED)
    if is_counted[0]:
        count()
    use(token, ago(days=7), ip="192.0.2.7", target="/api/v1/pipelines", user_agent="Postman", **ENDED)
    if is_counted[1]:
        count()

    [found] = after_end(usage.of(owner))

    assert (found.last.token_id, found.last.token_name, found.last.owner_email) == (token.pk, token.name, owner.email)
    assert (found.count, found.since, found.last.at) == (3, ago(days=9), ago(days=7))
    assert (found.last.ip, found.last.target, found.last.user_agent) == ("192.0.2.7", "/api/v1/pipelines", "Postman")
    assert [(address.ip, address.count, address.first_at, address.last_at) for address in found.addresses] == [
        ("192.0.2.7", 1, ago(days=7), ago(days=7)),
        ("192.0.2.1", 2, ago(days=9), ago(days=8)),
    ]


def test_only_uses_of_the_last_30_days_count_as_still_in_use(owner):
    long_ago, lately = TokenFactory(owner=owner), TokenFactory(owner=owner)
    use(long_ago, ago(days=31), **ENDED)
    use(lately, ago(days=31), **ENDED)
    use(lately, ago(days=29), **ENDED)

    def found():
        return [(token.token_id, token.count) for token in usage.after_end(usage.of(owner))]

    assert found() == [(lately.pk, 1)]
    count()
    assert found() == [(lately.pk, 1)]


def test_most_recently_used_expired_token_is_listed_first(owner):
    first, second, third = (TokenFactory(owner=owner) for _ in range(3))
    use(second, ago(hours=3), **ENDED)
    use(first, ago(hours=2), **ENDED)
    count()
    use(third, ago(hours=2, minutes=30), **ENDED)
    use(second, ago(hours=1), **ENDED)

    assert [token.token_id for token in usage.after_end(usage.of(owner))] == [second.pk, first.pk, third.pk]


@pytest.mark.parametrize("code", sorted(set(TokenUse.Reason.values) - {"ok"} - ENDED_REASONS))
def test_other_refusals_are_not_uses_after_expiry(owner, code):
    use(TokenFactory(owner=owner), ago(hours=1), status=403, code=code)

    assert usage.after_end(usage.of(owner)) == []
    count()
    assert usage.after_end(usage.of(owner)) == []
    assert TokenUsage.objects.get().after_end == 0


def test_two_uses_at_the_same_time_are_both_counted(owner):
    token = TokenFactory(owner=owner)
    for target in ("/one", "/two"):
        use(token, ago(hours=1), target=target, **ENDED)

    [found] = after_end(usage.of(owner))

    assert (found.count, found.last.target) == (2, "/two")


# The cost


@pytest.mark.parametrize("read", [usage.days, usage.addresses, usage.after_end])
def test_the_number_of_queries_does_not_grow(owner, django_assert_max_num_queries, read):
    tokens = TokenFactory.create_batch(6, owner=owner)
    use(tokens[0], ago(hours=2))
    count()
    counts = []
    for _ in range(2):
        for token in tokens:
            use(token, ago(hours=1), **ENDED)
        with django_assert_max_num_queries(3) as captured:
            read(usage.of(owner))
        counts.append(len(captured))
        count()

    assert counts[0] == counts[1]


def test_a_batch_is_counted_with_three_statements(owner):
    count()
    for token in TokenFactory.create_batch(5, owner=owner):
        use(token, ago(hours=1))

    with CaptureQueriesContext(connection) as captured:
        count()

    writes = [query["sql"] for query in captured if "INSERT" in query["sql"] or "UPDATE" in query["sql"]]
    assert len(writes) == 3, writes


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)], ids=str)
def test_later_counts_keep_the_first_and_the_last_time(owner, order):
    """Uses before and after the expiry are counted in any order."""
    token = TokenFactory(owner=owner)
    use(token, ago(hours=3))
    use(token, ago(hours=2), **ENDED)
    use(token, ago(hours=1), **ENDED)
    entries = list(TokenUse.objects.order_by("at"))
    TokenUse.objects.all()._raw_delete("default")

    for number, place in enumerate(order, start=1):
        entries[place].pk = number
        TokenUse.objects.bulk_create([entries[place]])
        count()

    counted = TokenUsage.objects.get()
    assert (counted.allowed, counted.refused, counted.after_end) == (1, 2, 2)
    assert (counted.first_at, counted.last_at) == (ago(hours=3), ago(hours=1))
    assert (counted.first_after_end_at, counted.last_after_end_at) == (ago(hours=2), ago(hours=1))


# Comparison with a count of the log itself

OUTCOMES = [(200, None), (403, "forbidden"), (401, "expired"), (401, "revoked"), (401, "owner_deactivated")]


@st.composite
def histories(draw):
    """Uses of three tokens in order of arrival, and the positions at which the worker counts.

    The times of the uses are in the same order, except for differences of up to 30 minutes.
    """
    minutes = sorted(draw(st.lists(st.integers(0, 40 * 24 * 60), min_size=1, max_size=25)), reverse=True)
    entries = [
        (
            draw(st.integers(0, 2)),
            minute + draw(st.integers(0, 30)),
            draw(st.sampled_from([None, "192.0.2.1", "192.0.2.2", "2001:db8::1"])),
            draw(st.sampled_from(OUTCOMES)),
        )
        for minute in minutes
    ]
    return entries, draw(st.sets(st.integers(0, len(entries) - 1), max_size=4))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories())
@pytest.mark.slow
def test_usage_equals_a_count_of_the_whole_log(owner, member, administrator, django_db_blocker, history):
    tokens = [TokenFactory(owner=owner), TokenFactory(owner=owner), TokenFactory(owner=member)]
    TokenUse.objects.all()._raw_delete("default")
    for model in (TokenUsage, OrganizationUsage, UsageProgress):
        model.objects.all().delete()
    entries, counted = history
    for number, (token, minutes, ip, (status, code)) in enumerate(entries):
        use(tokens[token], ago(minutes=minutes), ip=ip, status=status, code=code)
        if number in counted:
            count()

    log = list(TokenUse.objects.order_by("at", "id"))
    assert_same(usage.of(owner), [entry for entry in log if entry.owner_id == owner.pk])
    assert_same(usage.readable_org_entries(administrator), log)
    for token in tokens:
        of_token = [entry for entry in log if entry.token_id == token.pk]
        assert_same(usage.of_token(token.pk, reader=token.owner), of_token)
        assert_same_addresses(usage.of_token(token.pk, reader=administrator), of_token)


def assert_same(uses, log):
    first = NOW.date() - timedelta(days=29)
    by_day = Counter((entry.at.date(), entry.outcome) for entry in log if entry.at.date() >= first)
    expected_days = [first + timedelta(days=n) for n in range(30)]
    assert usage.days(uses) == [(day, by_day[day, "allowed"], by_day[day, "refused"]) for day in expected_days]

    ended = [entry for entry in log if entry.reason in {"expired", "revoked"} and entry.at.date() >= first]
    found = {token.token_id: token for token in after_end(uses)}
    assert set(found) == {entry.token_id for entry in ended}
    for token_id, token in found.items():
        its = [entry for entry in ended if entry.token_id == token_id]
        assert (token.count, token.since, token.last.pk) == (len(its), its[0].at, its[-1].pk)
        assert {address.ip: address.count for address in token.addresses} == Counter(entry.ip for entry in its)


def assert_same_addresses(uses, log):
    found = {address.ip: address for address in usage.addresses(uses)}
    assert set(found) == {entry.ip for entry in log}
    for ip, address in found.items():
        its = [entry for entry in log if entry.ip == ip]
        refused = sum(entry.outcome == "refused" for entry in its)
        assert (address.first_at, address.last_at) == (its[0].at, its[-1].at)
        assert (address.total, address.refused) == (len(its), refused)
        is_late = its[0].at - log[0].at > timedelta(days=1)
        assert address.is_new == (is_late and NOW - its[0].at < timedelta(days=7))


def test_uses_counted_while_they_are_read_are_counted_once(owner):
    """Counting between the two queries of a reader neither hides uses nor counts them twice."""
    token = TokenFactory(owner=owner)
    use(token, ago(hours=3), **ENDED)
    count()
    use(token, ago(hours=2), **ENDED)
    uses = usage.of(owner)
    count()
    use(token, ago(hours=1), **ENDED)

    assert totals(uses) == (3, 1)
    assert usage.after_end(uses)[0].count == 3


def test_entries_without_a_token_row_are_counted_too(owner):
    """An entry keeps the id of its token after the token is deleted."""
    gone = TokenFactory(owner=owner)
    use(gone, ago(hours=1), **ENDED)
    gone.delete()
    count()

    [found] = after_end(usage.of(owner))

    assert isinstance(found.last.token_id, uuid.UUID)
    assert found.last.token_name == gone.name
