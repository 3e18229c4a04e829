"""What owners are told about the uses of their tokens, from the authentication log."""

import threading
from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import services
from accounts.models import Notification
from accounts.notifications.texts import sentence_of
from accounts.tests.factories import ServiceAccountFactory
from auditlog import counting
from auditlog.models import LogPlace, TokenUse
from auditlog.tests.test_logs import use
from opsera_portal.tests.mails import delivered
from tokens import use_news
from tokens.models import Token, WatchedToken
from tokens.tests.factories import TokenFactory

OK, REFUSED = (200, "ok"), (403, "insufficient_scope")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:1:2::7", "2001:db8:1::/48"),
        ("::ffff:192.0.2.7", "192.0.2.0/24"),
        ("", ""),
        ("nowhere", ""),
    ],
)
def test_network_of_an_address(address, network):
    assert use_news.network_of(address) == network


@pytest.fixture
def watching(db):
    """The worker has begun to watch."""
    use_news.tell_of_new_uses()


def used(token, ip="192.0.2.7", answer=OK, at=None):
    status, code = answer
    use(token, at, ip=ip, status=status, code=code)


def told(token):
    """What the owner was told about this token, in order."""
    use_news.tell_of_new_uses()
    rows = Notification.objects.filter(token_id=token.pk).order_by("id")
    return [(row.kind, row.details.get("network") or row.details.get("reason") or "") for row in rows]


@pytest.mark.each_database
def test_owner_is_told_once_about_each_first_time(watching, owner, member):
    token, other = TokenFactory(owner=owner, name="Nightly"), TokenFactory(owner=member)
    used(token)
    used(token, "192.0.2.99")
    used(other)
    assert told(token) == told(token) == [("first_use", "")]

    used(token, "198.51.100.4")
    used(token, "2001:db8:1::1", REFUSED)
    used(token, "2001:db8:1:ffff::1", REFUSED)
    used(token)
    seen = told(token)
    assert seen[1:] == [
        ("first_refusal", "insufficient_scope"),
        ("new_network", "198.51.100.0/24"),
        ("new_network", "2001:db8:1::/48"),
    ]
    # Both networks were new in the same round: one mail.
    [message] = delivered()
    assert (message.to, message.subject) == ([owner.email], "2 notifications of the Opsera Portal")
    assert "“Nightly” was used from the network 198.51.100.0/24 for the first time." in message.body
    assert told(token) == seen
    # A restored place or a second worker finds the rows.
    LogPlace.objects.update(last_id=0)
    WatchedToken.objects.all().delete()
    assert len(told(token)) == len(seen)


@pytest.mark.each_database
def test_entries_are_done_by_one_of_two_workers(watching, owner):
    token = TokenFactory(owner=owner)
    used(token)
    [mine, theirs] = [LogPlace.objects.get(reader=use_news.READER) for _ in range(2)]
    [entry] = counting.entries_between(mine.last_id + 1, TokenUse.objects.get().id, 10)
    summed, _ = use_news._summed([entry], tokens=10)

    assert use_news._tell(mine, summed, entry.id)[0]
    assert not use_news._tell(theirs, summed, entry.id)[0]

    assert Notification.objects.count() == WatchedToken.objects.count() == 1


def test_tokens_that_were_used_before_are_no_news(owner):
    token, unused = TokenFactory(owner=owner), TokenFactory(owner=owner)
    used(token)
    used(token, answer=REFUSED)
    list(counting.count_due())
    with time_machine.travel(timezone.now() + timedelta(seconds=1)):
        use_news.tell_of_new_uses()
        used(token)
        used(token, answer=REFUSED)
        used(token, "198.51.100.4")
        used(unused)

        assert told(token) == [("new_network", "198.51.100.0/24")]
        assert told(unused) == [("first_use", "")]


def test_many_refusals_within_an_hour_are_told_once_for_each_hour(watching, owner):
    token = TokenFactory(owner=owner)
    hour = timezone.now().replace(minute=5) - timedelta(hours=3)
    for minute in range(15):
        used(token, answer=REFUSED, at=hour + timedelta(minutes=minute))
    assert [kind for kind, _ in told(token)] == ["first_refusal"]
    for minute in range(15, 40):
        used(token, answer=REFUSED, at=hour + timedelta(minutes=minute))
    assert [kind for kind, _ in told(token)] == ["first_refusal", "many_refusals"]
    for second in range(use_news.MANY - 1):
        used(token, answer=REFUSED, at=hour + timedelta(hours=1, seconds=second))
    assert len(told(token)) == 2
    used(token, answer=REFUSED, at=hour + timedelta(hours=1, minutes=9))
    assert [kind for kind, _ in told(token)][2:] == ["many_refusals"]


def test_use_after_the_end_is_told_unless_the_owner_only_checked(watching, owner, administrator):
    now = timezone.now()
    ended = {"revoked_at": now, "live_name_key": None}
    checked = TokenFactory(owner=owner, revoked_by=owner, **ended)
    of_others = TokenFactory(owner=owner, revoked_by=administrator, **ended)
    for token in (checked, of_others):
        used(token, answer=(401, "revoked"), at=now + timedelta(minutes=1))
    assert told(checked) == []
    assert told(of_others) == [("ended_in_use", "")]

    for token in (checked, of_others):
        used(token, answer=(401, "revoked"), at=now + timedelta(minutes=16))
    assert [kind for kind, _ in told(checked)] == ["ended_in_use"]
    assert len(told(of_others)) == 1


def test_busy_token_is_summed_up_before_anything_is_looked_up(watching, owner):
    token = TokenFactory(owner=owner)

    def queries():
        with CaptureQueriesContext(connection) as found:
            use_news.tell_of_new_uses()
        return len(found)

    used(token)
    queries()
    used(token)
    few = queries()
    for number in range(40):
        used(token, f"10.0.{number % 2}.{number}", answer=OK)
    queries()
    for number in range(40):
        used(token, f"10.0.{number % 2}.{number}", answer=OK)
    assert queries() == few
    for number in range(use_news.MOST_NETWORKS + 20):
        used(token, f"10.1.{number}.1")
    networks = [network for kind, network in told(token) if kind == "new_network"]
    assert len(networks) == use_news.MOST_NETWORKS - 1
    assert len(WatchedToken.objects.get().networks) == use_news.MOST_NETWORKS


def test_token_that_is_gone_and_an_unreadable_entry_are_skipped(watching, owner):
    token, gone = TokenFactory(owner=owner), TokenFactory(owner=owner)
    used(gone)
    used(gone, "198.51.100.4")
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("UPDATE auditlog_tokenuse SET at = 'never' WHERE ip = '198.51.100.4'")
    gone.delete()
    used(token)

    assert told(token) == [("first_use", "")]
    stopped = threading.Event()
    stopped.set()
    used(token, "198.51.100.4")
    use_news.tell_of_new_uses(stopped)
    assert Notification.objects.count() == 1


def test_token_that_replaced_another_one_keeps_its_networks(watching, owner):
    for scope, kinds in (("api", ["first_use", "new_network"]), ("api tokens:rotate", ["new_network"])):
        old, new, newest = (TokenFactory(owner=owner, scope=scope) for _ in range(3))
        for replaced, by in ((old, new), (new, newest)):
            Token.objects.filter(pk=replaced.pk).update(replaced_by=by, replaced_at=timezone.now())
        used(old)
        assert [kind for kind, _ in told(old)] == ["first_use"]
        # In one round: each one knows what the one before it learned.
        used(new, "198.51.100.4")
        used(newest)
        used(newest, "198.51.100.4")
        assert [kind for kind, _ in told(new)] == kinds
        assert [kind for kind, _ in told(newest)] == kinds[:-1]


def test_readers_of_a_service_account_are_told_and_it_is_not(watching, organization, owner, member):
    account = ServiceAccountFactory(organization=organization, name="CI", responsible=[owner, member])
    now = timezone.now()
    token = TokenFactory(owner=account, name="deploy", revoked_at=now, revoked_by=owner, live_name_key=None)
    services.set_preferences(actor=member, notifications={"first_use": "off"})
    used(token)
    used(token, answer=(401, "token_reused"), at=now + timedelta(minutes=20))
    # One of them has just expired it, and checks that.
    used(token, answer=(401, "revoked"), at=now + timedelta(minutes=1))

    assert [kind for kind, _ in told(token)] == ["first_use", "first_use"]
    said = "CI (service account): “deploy” was used for the first time, from 192.0.2.7."
    assert [sentence_of(row) for row in Notification.objects.of(owner)] == [said]
    assert not Notification.objects.of(member).exists()
    assert not Notification.objects.filter(person=account).exists()
