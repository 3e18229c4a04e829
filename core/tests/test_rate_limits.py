"""Rate limits count exactly within a time window, across all threads and processes."""

import os
import subprocess
import sys
import threading
import uuid
from urllib.parse import urlsplit, urlunsplit

import pytest
import time_machine
from django.db import connection

from core import periodic_jobs, rate_limits, redis_counts
from core.models import RateCount
from core.rate_limits import Limit, network_of
from opsera_portal.tests.portal import answers

pytestmark = pytest.mark.each_database

# As in a process of a portal with Redis.
rate_limits.redis_counts = redis_counts

REDIS_URL = "redis://127.0.0.1:6379/8"
BEGIN = 1_800_000_000  # a multiple of 60: a window of one minute begins


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch):
    monkeypatch.setattr(rate_limits, "_here", {})


@pytest.fixture(params=["database", "Redis"])
def store(request, settings, db):
    """Stores the counts in the database or in Redis."""
    if request.param == "Redis":
        use_redis(settings)


def use_redis(settings, url=REDIS_URL):
    if not answers(6379):
        pytest.skip("nothing answers on 127.0.0.1:6379, where Redis would be")
    settings.REDIS_URL = url
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": url,
            "KEY_PREFIX": uuid.uuid4().hex,
            "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 1, "SOCKET_TIMEOUT": 1},
        }
    }


def another_process(monkeypatch):
    """Continues as another process, which sees only the shared counts."""
    monkeypatch.setattr(rate_limits, "_here", {})


@pytest.mark.usefixtures("store")
@time_machine.travel(BEGIN + 10, tick=False)
def test_attempts_above_the_limit_wait_for_the_end_of_the_window():
    limit = Limit("tries", 3, 60)

    assert [limit.take("ada") for _ in range(5)] == [None, None, None, 50, 50]


@pytest.mark.usefixtures("store")
def test_next_window_begins_at_zero():
    limit = Limit("tries", 1, 60)

    with time_machine.travel(BEGIN + 59.9, tick=False):
        assert [limit.take("ada"), limit.take("ada")] == [None, 1]
    with time_machine.travel(BEGIN + 60, tick=False):
        assert [limit.take("ada"), limit.take("ada")] == [None, 60]


@pytest.mark.usefixtures("store")
@time_machine.travel(BEGIN, tick=False)
def test_keys_and_limits_are_counted_separately():
    Limit("tries", 1, 60).take("ada")

    assert Limit("tries", 1, 60).take("bob") is None
    assert Limit("mails", 1, 60).take("ada") is None


@pytest.mark.usefixtures("store")
@time_machine.travel(BEGIN, tick=False)
def test_another_process_continues_the_count(monkeypatch):
    limit = Limit("tries", 2, 60)
    limit.take("ada")

    another_process(monkeypatch)

    assert [limit.take("ada"), limit.take("ada")] == [None, 60]


@pytest.mark.usefixtures("store")
@time_machine.travel(BEGIN, tick=False)
def test_reading_the_wait_does_not_count_as_an_attempt(monkeypatch):
    limit = Limit("tries", 1, 60)

    assert [limit.wait("ada"), limit.wait("ada"), limit.take("ada"), limit.wait("ada")] == [None, None, None, 60]
    another_process(monkeypatch)
    assert limit.wait("ada") == 60


@pytest.mark.usefixtures("store")
@time_machine.travel(BEGIN, tick=False)
def test_reset_key_begins_at_zero():
    limit = Limit("tries", 1, 60)
    limit.take("ada")

    limit.forget("ada")

    assert [limit.take("ada"), limit.take("ada")] == [None, 60]


@pytest.mark.usefixtures("store")
@time_machine.travel(BEGIN, tick=False)
def test_key_reset_by_another_process_begins_at_zero(monkeypatch):
    limit = Limit("tries", 3, 60)
    here = rate_limits._here
    assert [limit.take("ada"), limit.take("ada")] == [None, None]
    another_process(monkeypatch)
    limit.forget("ada")

    monkeypatch.setattr(rate_limits, "_here", here)

    assert [limit.take("ada") for _ in range(4)] == [None, None, None, 60]


@pytest.mark.parametrize("key", ["", "x" * 10_000, "\x00", "\ud800", "ada\n", "' OR 1=1 --"], ids=repr)
@pytest.mark.usefixtures("store")
def test_key_can_have_any_content_and_is_stored_as_a_digest(key):
    limit = Limit("tries", 1, 60)

    with time_machine.travel(BEGIN, tick=False):
        assert [limit.take(key), limit.take(key)] == [None, 60]
    assert not [row for row in RateCount.objects.all() if key and key in row.key]


# Batches


@time_machine.travel(BEGIN, tick=False)
def test_nothing_is_written_before_a_batch_is_full(db, django_assert_num_queries):
    limit = Limit("calls", 100, 60, batch=10)

    with django_assert_num_queries(0):
        assert [limit.take("ada") for _ in range(9)] == [None] * 9
    with django_assert_num_queries(1):
        assert limit.take("ada") is None
    assert RateCount.objects.get().count == 10


@time_machine.travel(BEGIN, tick=False)
def test_one_process_alone_reaches_the_limit_exactly(db):
    limit = Limit("calls", 100, 60, batch=10)

    taken = [limit.take("ada") for _ in range(120)]

    assert taken == [None] * 100 + [60] * 20


@time_machine.travel(BEGIN, tick=False)
def test_key_over_its_limit_costs_no_query(db, django_assert_num_queries):
    limit = Limit("calls", 10, 60, batch=10)
    assert [limit.take("ada") for _ in range(10)] == [None] * 10

    with django_assert_num_queries(0):
        assert [limit.take("ada") for _ in range(1000)] == [60] * 1000


@time_machine.travel(BEGIN, tick=False)
def test_processes_exceed_the_limit_by_at_most_their_batches(db, monkeypatch):
    limit = Limit("calls", 30, 60, batch=10)
    passed = 0
    processes = [{} for _ in range(3)]

    for turn in range(300):
        monkeypatch.setattr(rate_limits, "_here", processes[turn % 3])
        passed += limit.take("ada") is None

    assert 30 <= passed <= 30 + 3 * 9


@time_machine.travel(BEGIN, tick=False)
def test_many_keys_do_not_fill_the_memory(db, monkeypatch):
    monkeypatch.setattr(rate_limits, "REMEMBERED_AT_MOST", 100)
    limit = Limit("calls", 10, 60, batch=10)

    for number in range(1000):
        limit.take(str(number))

    assert len(rate_limits._here) <= 100


def test_past_windows_are_removed_from_memory_first(db, monkeypatch):
    monkeypatch.setattr(rate_limits, "REMEMBERED_AT_MOST", 10)
    limit = Limit("calls", 2, 60, batch=2)
    with time_machine.travel(BEGIN, tick=False):
        for number in range(9):
            limit.take(f"past {number}")

    with time_machine.travel(BEGIN + 60, tick=False):
        limit.take("ada")
        limit.take("bob")

        assert len(rate_limits._here) == 2
        assert [limit.take("ada"), limit.take("ada")] == [None, 60]


# Concurrency


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("store", ["database", "Redis"])
@pytest.mark.parametrize("batch", [1, 5])
def test_exactly_the_limit_passes_with_many_threads(settings, store, batch):
    if store == "Redis":
        use_redis(settings)
    limit = Limit("calls", 20, 3600, batch=batch)
    passed, start = [], threading.Barrier(8)

    def take():
        start.wait()
        passed.extend(limit.take("ada") for _ in range(10))
        connection.close()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert passed.count(None) == 20


PROCESS = """
import sys
import django
from django.conf import settings
settings.INSTALLED_APPS = ["core.apps.CoreConfig", "django_tasks"]  # the other apps take most of a start
django.setup()
from core.rate_limits import Limit
key, *stores = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
for settings.REDIS_URL in stores:
    limit = Limit("calls" + settings.REDIS_URL, 40, 3600)
    print([limit.take(key) for _ in range(30)].count(None))
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_exactly_the_limit_passes_with_two_processes(settings):
    stores, key, passed_here = [""], uuid.uuid4().hex, []
    if answers(6379):
        stores.append(REDIS_URL)
        use_redis(settings)
        # As in the other process.
        settings.CACHES["default"]["KEY_PREFIX"] = ""
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "opsera_portal.settings",
        "DATABASE_URL": url_of_the_database(),
        "REDIS_URL": stores[-1],
    }
    command = [sys.executable, "-c", PROCESS, key, *stores]
    with subprocess.Popen(
        command, cwd=settings.BASE_DIR, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        for settings.REDIS_URL in stores:
            limit = Limit("calls" + settings.REDIS_URL, 40, 3600)
            passed_here.append([limit.take(key) for _ in range(30)].count(None))
        passed_there = map(int, other.communicate(timeout=30)[0].split())

    assert [sum(of_store) for of_store in zip(passed_here, passed_there, strict=True)] == [40] * len(stores)


def url_of_the_database():
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


# Outage of Redis, and past windows


@time_machine.travel(BEGIN, tick=False)
def test_counts_continue_in_the_database_without_redis(db, settings, caplog):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": settings.REDIS_URL}}
    limit = Limit("tries", 1, 60)

    assert [limit.take("ada"), limit.take("ada"), limit.wait("ada")] == [None, 60, 60]
    limit.forget("ada")
    assert limit.wait("ada") is None
    assert "Redis cannot be reached" in caplog.text


@time_machine.travel(BEGIN, tick=False)
def test_worker_removes_counts_of_past_windows(db):
    Limit("short", 10, 60).take("ada")
    Limit("long", 10, 3600).take("ada")

    with time_machine.travel(BEGIN + 61, tick=False):
        periodic_jobs._registered["past limits"].work(threading.Event())

    assert [row.key.split(":")[0] for row in RateCount.objects.all()] == ["long"]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::7", "2001:db8:1:3::/64"),
        (None, ""),
    ],
)
def test_ipv6_addresses_count_by_network(address, network):
    assert network_of(address) == network
