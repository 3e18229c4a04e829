"""The portal never loads pickle from the database or Redis: it could run an attacker's code."""

import base64
import fcntl
import json
import os
import pickle  # noqa: TID251  (what an attacker writes)
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core import signing
from django.core.cache import cache, caches
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection
from django.test import override_settings
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from accounts.security.session_store import SessionStore, digest_of
from core import rate_limits, redis_counts
from core.checks import check_for_pickle
from core.queue.database_worker import DatabaseWorker
from core.rate_limits import Limit
from opsera_portal.tests import databases
from opsera_portal.tests.portal import answers

# As in a process of a portal with Redis.
rate_limits.redis_counts = redis_counts

REDIS_URL = "redis://127.0.0.1:6379/8"
CACHE_IN_REDIS = {
    "BACKEND": "django_redis.cache.RedisCache",
    "LOCATION": REDIS_URL,
    "OPTIONS": {
        "CLIENT_CLASS": "core.cache.redis_cache.JSONClient",
        "SERIALIZER": "core.cache.redis_cache.JSONSerializer",
    },
}


class Payload:
    """Creates a directory when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def trap(tmp_path):
    """A pickle. After the test, the fixture checks that nothing loaded it."""
    path = tmp_path / "it ran"
    yield pickle.dumps(Payload(path))
    assert not path.exists()


def in_base64(content):
    return base64.b64encode(content).decode()


@pytest.fixture
def in_redis(settings):
    if not answers(6379):
        pytest.skip("nothing answers on 127.0.0.1:6379, where Redis would be")
    from django_redis import get_redis_connection

    settings.REDIS_URL = REDIS_URL
    settings.CACHES = {"default": {**CACHE_IN_REDIS, "KEY_PREFIX": uuid.uuid4().hex}}
    return get_redis_connection("default")


def test_pickle_used_in_these_tests_really_runs_code(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "it ran")))

    assert (tmp_path / "it ran").exists()


# The cache


def write_row(key, value):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO portal_cache (cache_key, value, expires) VALUES (%s, %s, %s)",
            [cache.make_key(key), value, connection.ops.adapt_datetimefield_value(timezone.now().replace(year=2999))],
        )


@pytest.mark.each_database
def test_pickle_in_the_cache_table_counts_as_missing(db, trap, caplog):
    write_row("there", in_base64(trap))

    assert cache.get("there", "nothing") == "nothing"
    assert [record.getMessage() for record in caplog.records] == ["Refused a value in the cache: it is not JSON."]
    assert cache.get_many(["there", "elsewhere"]) == {}
    assert cache.set("there", 1) is None
    assert cache.get("there") == 1


@pytest.mark.each_database
@pytest.mark.parametrize("value", ["", "{", "[" * 100_000, "'x'", "\ud7ff"], ids=lambda value: value[:3])
def test_invalid_json_in_the_cache_table_counts_as_missing(db, value):
    write_row("there", value)

    assert cache.get("there", "nothing") == "nothing"


def test_bytes_in_the_cache_table_count_as_missing(db, trap):
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL keeps no bytes in a column of text")
    write_row("there", trap)

    assert cache.get("there", "nothing") == "nothing"


def test_pickle_in_the_redis_cache_counts_as_missing(in_redis, trap):
    in_redis.set(cache.make_key("there"), trap)

    assert cache.get("there", "nothing") == "nothing"
    assert cache.get_many(["there", "elsewhere"]) == {}


@pytest.fixture(params=["table", "Redis"])
def store(request, db):
    if request.param == "Redis":
        request.getfixturevalue("in_redis")


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "value", [None, True, 0, -1, 10**30, 1.5, "", "ä\u0001", [1, [2]], {"a": {"b": None}}], ids=repr
)
def test_cache_keeps_values_that_json_has(value):
    cache.set("key", value)

    assert cache.get("key", "nothing") == value
    assert type(cache.get("key")) is type(value)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("value", [b"x", {1}, object()], ids=["bytes", "set", "object"])
def test_cache_refuses_values_that_json_does_not_have(value):
    with pytest.raises(TypeError):
        cache.set("key", value)

    assert cache.get("key") is None


@pytest.mark.usefixtures("store")
def test_the_cache_sets_adds_touches_and_deletes():
    assert [cache.add("key", 1), cache.add("key", 2), cache.get("key")] == [True, False, 1]
    assert [cache.touch("key", 60), cache.touch("elsewhere", 60)] == [True, False]
    assert [cache.delete("key"), cache.delete("key"), cache.get("key")] == [True, False, None]
    cache.set("key", 3, timeout=None)
    assert cache.get("key") == 3
    cache.set("key", 4, timeout=-1)
    assert [cache.get("key"), cache.add("key", 5), cache.get("key")] == [None, True, 5]
    cache.set_many({"a": 1, "b": 2})
    assert cache.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}


@pytest.mark.each_database
def test_full_cache_drops_entries(db):
    with override_settings(CACHES={"default": {**settings.CACHES["default"], "OPTIONS": {"MAX_ENTRIES": 10}}}):
        for number in range(30):
            caches["default"].set(str(number), number)
        assert caches["default"].get("29") == 29
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM portal_cache")
            assert cursor.fetchone()[0] <= 11


# Limits


@pytest.mark.parametrize("kind", ["pickle", "text", "list", "beyond 64 bits"])
def test_count_in_redis_that_is_no_number_is_removed(in_redis, trap, db, kind, caplog, monkeypatch):
    limit = Limit("tries", 2, 10**9)
    monkeypatch.setattr(Limit, "_name_of", lambda self, key, now: "tries:ada")
    key = cache.make_key("limit:tries:ada")

    def write():
        if kind == "list":
            in_redis.rpush(key, trap)
        else:
            in_redis.set(key, {"pickle": trap, "text": "x", "beyond 64 bits": 2**63 - 1}[kind])

    write()
    assert [limit.take("ada") is None for _ in range(3)] == [True, True, False]
    assert [record.getMessage() for record in caplog.records] == ["Removed a count in Redis that was not a number."]
    in_redis.delete(key)
    if kind != "beyond 64 bits":
        write()
        assert limit.wait("ada") is None
    limit.forget("ada")
    rate_limits._here.clear()
    assert limit.take("ada") is None


# Sessions


@pytest.mark.each_database
def test_session_row_with_a_pickle_signs_nobody_in(client, owner, trap):
    client.force_login(owner)
    session = Session.objects.filter(session_key=digest_of(client.session.session_key))

    class Pickles:
        dumps = staticmethod(lambda value: value)

    signed = signing.dumps(trap, salt="django.contrib.sessions.SessionStore", serializer=Pickles, compress=True)
    for content in (in_base64(trap), signed, SessionStore().encode({}) + in_base64(trap)):
        session.update(session_data=content)
        assert client.get("/profile/").status_code == 302


# The queue as a table


@pytest.mark.each_database
@pytest.mark.django_db(transaction=True)
def test_invalid_task_in_the_table_fails_and_the_worker_continues(trap, tmp_path, caplog):
    good = {"args": [str(uuid.uuid4())], "kwargs": {}}
    run, trick = "pipelines.tasks.execute_pipeline", str(tmp_path / "it ran")
    rows = [
        (run, in_base64(trap)),
        (run, {"args": in_base64(trap), "kwargs": {}}),
        (run, {"args": [], "kwargs": in_base64(trap)}),
        (run, []),
        ("os.mkdir", {"args": [trick], "kwargs": {}}),
        ("pickle.loads", {"args": [in_base64(trap)], "kwargs": {}}),
        ("antigravity.fly", good),
        ("accounts.tasks.nothing", good),
        ("accounts.nothing.at_all", good),
        ("accounts.models.User", good),
        ("accounts", good),
        ("", good),
        ("\n" * 500, good),
    ]
    bad = [create_task(path, content) for path, content in rows]
    last = create_task(run, good)

    worker = DatabaseWorker(
        queue_names=["default"],
        interval=0,
        batch=True,
        backend_name="default",
        startup_delay=False,
        max_tasks=None,
        worker_id="test",
        excluded_queue_names=[],
    )
    worker.run()

    assert {DBTaskResult.objects.get(pk=pk).status for pk in bad} == {"FAILED"}
    assert DBTaskResult.objects.get(pk=last).status == "SUCCESSFUL"
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == len(rows)
    assert all(line.startswith("Refused task") and "\n" not in line for line in told)
    assert not any(record.exc_info for record in caplog.records)
    assert "antigravity" not in sys.modules


def create_task(path, content):
    row = DBTaskResult.objects.create(
        task_path=path,
        args_kwargs=content,
        run_after=timezone.now(),
        backend_name="default",
        queue_name="default",
        return_value=in_base64(b"x"),
    )
    return row.pk


# The queue in Redis

QUEUE = """
import base64, json, sys
import django
django.setup()
from django.core.management import call_command
call_command("check")
import django_rq
from rq import Queue
from rq.job import Job
from rq.serializers import DefaultSerializer
from core.queue import redis_worker
from pipelines.tasks import execute_pipeline

nobody, path, trap = sys.argv[1], sys.argv[2], base64.b64decode(sys.argv[3])
redis = django_rq.get_connection()
redis.flushdb()
names = {}

def good(name, **fields):
    id = names[name] = execute_pipeline.enqueue(nobody).id
    if fields:
        redis.hset("rq:job:" + id, mapping=fields)
    return id

pickles = Queue("default", connection=redis, serializer=DefaultSerializer)
names["a pickle by the library"] = pickles.enqueue("os.mkdir", path).id
good("pickled content", data=trap)
good("pickled meta", meta=trap)
good("a list as meta", meta="[]")
good("a function of others", data=json.dumps(["os.mkdir", None, [path], {}]))
good("a method of an instance", data=json.dumps(["mkdir", "os", [path], {}]))
good("no list", data=json.dumps({"a": 1}))
good("too few", data="[]")
good("a state that is none", status="trap")
good("a time that is none", created_at="trap")
good("a timeout that is none", timeout="trap")
redis.rpush("rq:queue:default", "no id at all", "unknown", b"\\xff", "a-text")
redis.set("rq:job:a-text", trap)
fine = {
    "good": good("good"),
    "pickled result": good("pickled result", result=trap),
    "functions to call": good("functions to call", success_callback_name="os.mkdir",
        webhooks=json.dumps([{"url": "http://127.0.0.1:1/", "job_status": "finished"}])),
}
results = good("pickled results")
redis.xadd("rq:results:" + results, {"type": 1, "return_value": base64.b64encode(trap)})
fine["pickled results"] = results
stopped = []
for _ in range(3):
    redis_worker.create(lambda: stopped.append(1)).work(burst=True, logging_level="WARNING")
states = {name: (redis.hget("rq:job:" + id, "status") or b"").decode() for name, id in names.items()}
left = redis.llen("rq:queue:default")
from django_tasks import default_task_backend
read = default_task_backend.get_result(fine["good"]).status
# The library can read a job even without a given serializer.
Job.fetch(fine["pickled result"], connection=redis)
kinds = {json.loads(__import__("zlib").decompress(redis.hget("rq:job:" + fine["good"], "data")))[0]}
redis.flushdb()
print(json.dumps({"states": states, "left": left, "fine": sorted(fine), "read": read, "kinds": sorted(kinds)}))
"""


@pytest.mark.slow
def test_invalid_task_in_redis_fails_and_the_worker_continues(trap, tmp_path):
    if not answers(6379):
        pytest.skip("nothing answers on 127.0.0.1:6379, where Redis would be")
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "opsera_portal.settings",
        "DATABASE_URL": f"sqlite:///{data}/portal.sqlite3",
        "PORTAL_DATA_DIR": str(data),
        "REDIS_URL": "redis://127.0.0.1:6379/11",
    }
    databases.copy_to_sqlite(data / "portal.sqlite3")
    arguments = [str(uuid.uuid4()), str(tmp_path / "it ran"), in_base64(trap)]
    with open(Path(tempfile.gettempdir(), "opsera-portal-redis-11.lock"), "w") as lock:
        # One at a time: the test empties this Redis database.
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [sys.executable, "-c", QUEUE, *arguments],
            cwd=settings.BASE_DIR,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    expected = {name: "finished" if name in said["fine"] else "failed" for name in said["states"]}
    assert (said["states"], said["left"], said["read"]) == (expected, 0, "SUCCESSFUL"), done.stderr
    assert said["kinds"] == ["pipelines.tasks.execute_pipeline"]
    assert done.stderr.count("Refused task") >= len(expected) - len(said["fine"])


# System check and linter


@pytest.mark.parametrize(
    "wrong",
    [
        {"CACHES": {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "x"}}},
        {"CACHES": {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}},
        {"CACHES": {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}},
        {"CACHES": {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": REDIS_URL}}},
        {"CACHES": {"default": CACHE_IN_REDIS, "other": {"BACKEND": "django_redis.cache.RedisCache"}}},
        {"SESSION_ENGINE": "django.contrib.sessions.backends.db"},
        {"SESSION_ENGINE": "django.contrib.sessions.backends.file"},
        {"SESSION_SERIALIZER": "django.contrib.sessions.serializers.PickleSerializer"},
        {"MESSAGE_STORAGE": "somewhere.else"},
        {"TASKS": {"default": {"BACKEND": "django_tasks_rq.RQBackend"}}},
        {"RQ_QUEUES": {"default": {"URL": REDIS_URL}}, "RQ": {"JOB_CLASS": "core.queue.redis_queue.JSONJob"}},
        {"RQ_QUEUES": {"default": {"SERIALIZER": "rq.serializers.JSONSerializer"}}, "RQ": {}},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_setting_that_would_read_pickle_fails_the_system_check(wrong):
    assert check_for_pickle(None) == []
    with override_settings(**wrong):
        assert len(check_for_pickle(None)) == 1


def test_pickle_check_runs_before_each_command():
    wrong = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    with override_settings(CACHES=wrong), pytest.raises(SystemCheckError, match="may read pickle"):
        call_command("check")


FORBIDDEN = [
    "import pickle",
    "from pickle import loads",
    "import shelve",
    "import dill",
    "import marshal",
    "import joblib",
    "import yaml; yaml.load('')",
    "from django.core.cache.backends.locmem import LocMemCache",
]


@pytest.mark.parametrize("file", ["accounts/new.py", "accounts/tests/test_new.py", "benchmarks/new.py"])
@pytest.mark.slow
def test_linter_forbids_pickle(file):
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--output-format", "json"]
    command += ["--stdin-filename", file, "-"]
    code = "\n".join(FORBIDDEN)
    answer = subprocess.run(command, input=code, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False)

    assert answer.returncode == 1, answer.stderr
    found = {(problem["code"], problem["location"]["row"]) for problem in json.loads(answer.stdout)}
    assert [line for row, line in enumerate(FORBIDDEN, start=1) if ("TID251", row) not in found] == []
    assert "TID251" in (settings.BASE_DIR / "pyproject.toml").read_text()
