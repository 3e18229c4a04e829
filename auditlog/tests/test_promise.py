"""A request is answered only after its entry and its change are committed together.

See docs/product.md#logs.
"""

import contextlib

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction

from auditlog.models import Activity, TokenUse
from core.api import changes
from core.db.keyset import Keyset
from pipelines.models import Pipeline, Run
from pipelines.tests.factories import PipelineFactory, StepFactory
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.each_database]


@contextlib.contextmanager
def a_log_that_cannot_be_written():
    """Makes writing the entry fail, as a full disk or a damaged table would."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE auditlog_tokenuse RENAME TO auditlog_tokenuse_away")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE auditlog_tokenuse_away RENAME TO auditlog_tokenuse")


@pytest.fixture
def pipeline(owner):
    pipeline = PipelineFactory(owner=owner)
    StepFactory(pipeline=pipeline)
    return pipeline


def test_request_is_not_answered_if_its_entry_cannot_be_written(api, owner):
    headers = bearer(TokenFactory(owner=owner))
    with a_log_that_cannot_be_written():
        answer = api.get("/api/v1/me", headers=headers)

    assert answer.status_code == 503
    assert answer.json()["code"] == "unavailable"
    assert answer.headers["Retry-After"]
    assert owner.email not in answer.content.decode()


def test_nothing_is_changed_when_the_entry_cannot_be_written(api, owner, pipeline):
    headers = bearer(TokenFactory(owner=owner))
    with a_log_that_cannot_be_written():
        answer = api.post("/api/v1/pipeline/run", {"pipelineId": str(pipeline.pk)}, headers=headers)

    assert answer.status_code == 503
    assert not Run.objects.exists()
    assert Pipeline.objects.get().run_count == 0
    assert not Activity.objects.exists()


def test_token_cannot_expire_itself_if_that_cannot_be_logged(api, owner):
    token = TokenFactory(owner=owner)
    with a_log_that_cannot_be_written():
        answer = api.post("/api/v1/tokens/current/expire", {}, headers=bearer(token))

    assert answer.status_code == 503
    assert Token.objects.get().revoked_at is None


def test_the_change_and_its_entry_are_committed_together(api, owner, pipeline):
    """The worker's task is enqueued after the commit. By then, the entry exists."""
    headers = bearer(TokenFactory(owner=owner))
    seen = []
    from django_tasks.signals import task_enqueued

    def look(**kwargs):
        seen.append((TokenUse.objects.count(), Run.objects.count(), connection.in_atomic_block))

    task_enqueued.connect(look)
    try:
        api.post("/api/v1/pipeline/run", {"pipelineId": str(pipeline.pk)}, headers=headers)
    finally:
        task_enqueued.disconnect(look)

    assert seen == [(1, 1, False)]


def test_refused_change_leaves_only_its_entry(api, owner):
    empty = PipelineFactory(owner=owner)

    answer = api.post("/api/v1/pipeline/run", {"pipelineId": str(empty.pk)}, headers=bearer(TokenFactory(owner=owner)))

    assert answer.status_code == 409
    entry = TokenUse.objects.get()
    assert (entry.status, entry.outcome) == (409, "refused")
    assert Pipeline.objects.get().run_count == 0
    assert not Activity.objects.exists()


def test_every_kind_of_answer_has_its_entry(api, owner, pipeline):
    headers = bearer(TokenFactory(owner=owner, scope="pipeline"))
    calls = [
        ("GET", "/api/v1/me", 200, "ok"),
        ("HEAD", "/api/v1/me", 200, "ok"),
        ("GET", "/api/v1/tokens", 403, "insufficient_scope"),
        ("POST", "/api/v1/tokens", 403, "forbidden"),
        ("GET", "/api/v1/pipelines?page_size=x", 400, "invalid_request"),
        ("PUT", "/api/v1/pipelines", 405, "invalid_request"),
        ("DELETE", "/api/v1/me", 405, "invalid_request"),
        ("GET", "/api/v1/nothing/here", 404, "not_found"),
        ("POST", "/api/v1/pipeline/run", 400, "invalid_request"),
    ]
    for method, path, status, _ in calls:
        assert api.generic(method, path, headers=headers).status_code == status, path

    page = Keyset(("at", "id"), descending=False).page(TokenUse.objects.all(), cursor=None, size=100)
    assert [(use.method, use.status, use.reason) for use in page.rows] == [
        (method, status, reason) for method, _, status, reason in calls
    ]


def test_a_request_without_a_token_leaves_no_entry(api, client, owner):
    client.force_login(owner)
    assert client.get("/api/v1/me").status_code == 200
    assert api.get("/api/v1/me").status_code == 401
    assert not TokenUse.objects.exists()


def test_control_characters_of_a_request_are_not_logged_as_they_are(api, owner):
    api.get("/api/v1/a%00b%0Ac%E2%80%A8", headers=bearer(TokenFactory(owner=owner)) | {"User-Agent": "a\x00b\nc" * 99})

    entry = TokenUse.objects.get()
    assert entry.target == "/api/v1/a%00b%0Ac%E2%80%A8"
    assert len(entry.user_agent) == 256
    assert "\n" not in entry.user_agent


def test_last_use_is_saved_once_a_minute(api, owner):
    token = TokenFactory(owner=owner)
    headers = bearer(token)
    api.get("/api/v1/me", headers=headers)
    token.refresh_from_db()
    first = token.last_used_at
    api.get("/api/v1/me", headers=headers)
    token.refresh_from_db()

    assert first is not None
    assert (token.last_used_at, token.last_used_ip) == (first, "127.0.0.1")
    with transaction.atomic():
        token.mark_used(at=first.replace(year=first.year + 1), ip="192.0.2.1")
    token.refresh_from_db()
    assert token.last_used_ip == "192.0.2.1"


def test_entries_are_never_changed_or_deleted(api, owner):
    api.get("/api/v1/me", headers=bearer(TokenFactory(owner=owner)))
    entry = TokenUse.objects.get()

    for change in (entry.save, entry.delete, TokenUse.objects.all().delete, Activity.objects.all().delete):
        with pytest.raises(TypeError):
            change()
    with pytest.raises(TypeError):
        TokenUse.objects.update(status=200)
    assert TokenUse.objects.count() == 1


def test_request_is_answered_even_if_the_last_use_cannot_be_saved(api, owner, monkeypatch, caplog):
    def fail(self, *, at, ip):
        raise DatabaseError("the row is locked")

    monkeypatch.setattr(Token, "mark_used", fail)
    answer = api.get("/api/v1/me", headers=bearer(TokenFactory(owner=owner)))

    assert (answer.status_code, TokenUse.objects.get().status) == (200, 200)
    assert "could not be saved" in caplog.text


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("by_token", [True, False], ids=["token", "session"])
def test_change_is_503_and_its_use_is_logged_if_its_transaction_cannot_begin(api, owner, monkeypatch, by_token):
    headers = {"Idempotency-Key": "a-key-of-this-test"}
    if by_token:
        headers |= bearer(TokenFactory(owner=owner))
    else:
        api.force_login(owner)
    token = TokenFactory(owner=owner, name="to be expired")

    def refuse(self):
        raise OperationalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(changes.Atomic, "__enter__", refuse)
        answer = api.post(f"/api/v1/tokens/{token.pk}/expire", {"reason": "x"}, headers=headers)

    assert answer.status_code == 503
    token.refresh_from_db()
    assert token.revoked_at is None
    assert [use.status for use in TokenUse.objects.all()] == ([503] if by_token else [])
