import threading
import time
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.urls import reverse
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog.models import Activity, TokenUse
from tokens import services
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer


@pytest.fixture
def token(owner):
    return TokenFactory(owner=owner, name="nightly")


@pytest.mark.each_database
def test_end_is_saved_and_recorded(owner, token):
    ended = services.revoke_token(actor=owner, token=token, reason="  lost laptop ")

    assert ended.revoked_at is not None
    assert (ended.revoked_by, ended.revoke_reason, ended.live_name_key) == (owner, "lost laptop", None)
    entry = Activity.objects.get()
    assert (entry.action, entry.target_name, entry.details["reason"]) == ("token.revoked", "nightly", "lost laptop")


def test_next_request_is_refused(api, owner, token):
    headers = bearer(token)
    assert api.get("/api/v1/me", headers=headers).status_code == 200
    services.revoke_token(actor=owner, token=token)

    assert api.get("/api/v1/me", headers=headers).status_code == 401
    assert [use.reason for use in TokenUse.objects.all()] == ["revoked", "ok"]


@pytest.mark.each_database
def test_token_cannot_be_expired_twice(owner, administrator, token):
    services.revoke_token(actor=owner, token=token, reason="first")

    with pytest.raises(services.AlreadyEnded):
        services.revoke_token(actor=administrator, token=token, reason="second")
    token.refresh_from_db()
    assert (token.revoked_by, token.revoke_reason) == (owner, "first")


def test_token_past_its_end_is_not_changed(owner):
    token = TokenFactory(owner=owner, created_at=timezone.now().replace(microsecond=0) - timedelta(days=40))

    with pytest.raises(services.AlreadyEnded):
        services.revoke_token(actor=owner, token=token)


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (SiteRole.ADMINISTRATOR, True),
        (SiteRole.SECURITY_MANAGER, True),
        (SiteRole.POWER_USER, False),
        (SiteRole.USER, False),
        (SiteRole.GUEST, False),
        (SiteRole.AUDITOR, False),
    ],
)
def test_some_roles_can_expire_another_persons_token(api, client, organization, token, role, may):
    actor = UserFactory(organization=organization, site_role=role)
    client.force_login(actor)
    page = client.get(reverse("tokens:token_expire", args=[token.pk]))
    assert page.status_code == (200 if may else 404)

    answer = api.post(f"/api/v1/tokens/{token.pk}/expire", {"reason": "x"}, headers=bearer(TokenFactory(owner=actor)))

    assert answer.status_code == (200 if may else 403)
    token.refresh_from_db()
    assert (token.revoked_at is not None) == may


def test_confirmation_for_an_ended_token_redirects_to_the_list(client, owner, token):
    services.revoke_token(actor=owner, token=token)
    client.force_login(owner)

    answer = client.get(reverse("tokens:token_expire", args=[token.pk]), follow=True)

    assert answer.redirect_chain == [(f"/profile/tokens/#token-{token.pk}", 302)]
    assert "had already expired" in answer.content.decode()


def test_stranger_cannot_expire_a_token(api, client, stranger, token):
    answer = api.post(f"/api/v1/tokens/{token.pk}/expire", {}, headers=bearer(TokenFactory(owner=stranger)))
    client.force_login(stranger)

    assert answer.status_code == 403
    assert client.post(reverse("tokens:token_expire", args=[token.pk])).status_code == 404
    token.refresh_from_db()
    assert token.revoked_at is None


def test_token_with_any_scope_can_expire_itself(api, owner):
    token = TokenFactory(owner=owner, scope="security-logs")
    headers = bearer(token)

    answer = api.post("/api/v1/tokens/current/expire", {"reason": "found in a log"}, headers=headers)

    assert (answer.status_code, answer.json()["state"]) == (200, "revoked")
    assert api.get("/api/v1/me", headers=headers).status_code == 401


def test_page_asks_for_confirmation_and_reports_success(client, owner, token):
    client.force_login(owner)
    address = reverse("tokens:token_expire", args=[token.pk])

    question = client.get(address).content.decode()
    assert "nightly" in question
    assert "cannot be undone" in question
    token.refresh_from_db()
    assert token.revoked_at is None

    answer = client.post(address, {"reason": "lost"}, follow=True)
    assert "nightly" in answer.content.decode()
    token.refresh_from_db()
    assert token.revoke_reason == "lost"


def test_too_long_reason_or_nul_expires_nothing(client, owner, token):
    client.force_login(owner)
    for reason in ("x" * 201, "a\x00b"):
        answer = client.post(reverse("tokens:token_expire", args=[token.pk]), {"reason": reason})
        assert answer.status_code == 400
    token.refresh_from_db()
    assert token.revoked_at is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no row locks")
def test_expiring_waits_for_a_transaction_that_refers_to_the_token(owner):
    """For example, the start of a run with this token, which also saves the token's last use. With
    a lock that only blocks other changes, the two transactions would wait for each other."""
    token = TokenFactory(owner=owner)
    errors = []

    def expire():
        try:
            services.revoke_token(actor=owner, token=token, reason="Lost")
        except Exception as error:  # noqa: BLE001  (it fails the test)
            errors.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=expire)
    with transaction.atomic(), connection.cursor() as cursor:
        # PostgreSQL takes this lock on the token when a row that refers to it is inserted.
        cursor.execute("SELECT 1 FROM tokens_token WHERE id = %s FOR KEY SHARE", [token.pk])
        thread.start()
        give_up_at = time.monotonic() + 10
        while not waiting_transactions(cursor) and time.monotonic() < give_up_at:
            time.sleep(0.01)
        Token.objects.filter(pk=token.pk).update(last_used_at=timezone.now())
    thread.join()

    token.refresh_from_db()
    assert errors == []
    assert (token.revoke_reason, token.last_used_at is not None) == ("Lost", True)


def waiting_transactions(cursor):
    """How many transactions wait for this one."""
    cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))")
    return cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True)
def test_one_of_many_simultaneous_requests_expires_the_token(owner):
    token = TokenFactory(owner=owner)
    results = []
    barrier = threading.Barrier(5)

    def request(number):
        try:
            barrier.wait()
            services.revoke_token(actor=owner, token=token, reason=f"reason {number}")
            results.append(f"reason {number}")
        except services.AlreadyEnded:
            pass
        finally:
            connection.close()

    threads = [threading.Thread(target=request, args=[number]) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(results) == 1
    assert Token.objects.get().revoke_reason == results[0]
    assert Activity.objects.filter(action="token.revoked").count() == 1
