"""Uses of tokens that services report."""

import base64
import hashlib
import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import Notification
from auditlog import log_places
from auditlog.counting import count_due
from auditlog.models import TokenUsage, TokenUse
from core.db.uuid7 import uuid7
from core.setting_readers import Rate
from gateway.models import Check, Service, ServiceCredential
from gateway.reported_uses import ReportedUse, report_uses
from gateway.tests.factories import ServiceFactory
from tokens import use_news
from tokens.tests.factories import TokenFactory, bearer

SECRET = "a secret of the service"
NUMBERS = ("stored", "duplicates", "unknown")


@pytest.fixture
def service(owner):
    service = ServiceFactory(organization=owner.organization, slug="grafana", check_by=Check.STATUS_LIST)
    with_secret(service)
    return service


@pytest.fixture
def token(owner, service):
    return TokenFactory(
        owner=owner, service=service, scope="service:grafana:read", created_at=timezone.now() - timedelta(days=20)
    )


def with_secret(service, secret=SECRET, **values):
    return ServiceCredential.objects.create(
        service=service, digest=hashlib.sha256(secret.encode()).hexdigest(), **values
    )


def use(token, **changed):
    sent = {
        "id": str(uuid7()),
        "token_id": str(token.pk),
        "at": (timezone.now() - timedelta(minutes=5)).isoformat(),
        "method": "GET",
        "path": "/api/dashboards/7?secret=1",
        "status": 200,
        "ip": "203.0.113.9",
        "user_agent": "curl/8",
    }
    return sent | changed


def report(api, service, *uses, authorization=None, **headers):
    headers["Authorization"] = basic(service.pk) if authorization is None else authorization
    body = {"uses": list(uses)}
    return api.post(f"/api/v1/services/{service.pk}/uses", body, content_type="application/json", headers=headers)


def basic(client_id, secret=SECRET):
    return "Basic " + in_base64(f"{client_id}:{secret}")


def in_base64(text):
    return base64.b64encode(text.encode()).decode()


def numbers(answer):
    assert answer.status_code == 200, answer.content
    return tuple(answer.json()[name] for name in NUMBERS)


def test_reported_use_is_in_the_log_of_the_owner(api, owner, service, token):
    sent = use(token, path="/caf%C3%A9?q=1", user_agent="x\ny" + "z" * 300)

    assert numbers(report(api, service, sent)) == (1, 0, 0)

    entry = TokenUse.objects.get()
    assert (entry.request_id, entry.at.isoformat()) == (uuid.UUID(sent["id"]), sent["at"])
    assert (entry.token, entry.token_name, entry.scope) == (token, token.name, token.scope)
    assert (entry.owner, entry.owner_email, entry.account) == (owner, owner.email, owner.organization.slug)
    assert (entry.organization, entry.service, entry.duration_ms) == (owner.organization, service, 0)
    assert (entry.method, entry.target, entry.status) == ("GET", "/caf%C3%A9", 200)
    assert (entry.outcome, entry.reason, entry.ip) == ("allowed", "ok", "203.0.113.9")
    assert entry.user_agent == "x y" + "z" * 253
    assert timezone.now() - entry.reported_at < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(399, "ok"), (401, "forbidden"), (404, "not_found"), (429, "throttled"), (418, "invalid_request"), (503, "error")],
)
def test_reason_follows_from_the_status(api, service, token, status, reason):
    report(api, service, use(token, status=status))

    entry = TokenUse.objects.get()
    assert (entry.reason, entry.outcome) == (reason, "allowed" if status < 400 else "refused")


def test_same_id_is_stored_once_whatever_the_rest_says(api, service, token):
    sent = use(token)
    assert numbers(report(api, service, sent, sent | {"status": 500})) == (1, 1, 0)
    changed = {"token_id": str(uuid.uuid4()), "at": "2000-01-01T00:00:00Z"}

    assert numbers(report(api, service, sent, sent | changed, use(token))) == (1, 2, 0)

    assert TokenUse.objects.count() == 2
    assert TokenUse.objects.get(request_id=sent["id"]).status == 200


def test_id_of_a_strangers_entry_is_a_duplicate_like_any_other(api, service, token, stranger):
    other = ServiceFactory(organization=stranger.organization, check_by=Check.STATUS_LIST)
    with_secret(other, "other")
    theirs = use(TokenFactory(owner=stranger, service=other, created_at=timezone.now() - timedelta(days=1)))
    report(api, other, theirs, authorization=basic(other.pk, "other"))

    assert numbers(report(api, service, use(token, id=theirs["id"]))) == (0, 1, 0)


def test_tokens_of_others_and_unknown_ones_get_the_same(api, owner, service, stranger):
    other = ServiceFactory(organization=owner.organization)
    of_others = [TokenFactory(owner=owner), TokenFactory(owner=owner, service=other), TokenFactory(owner=stranger)]
    unknown = [use(token) for token in of_others] + [use(of_others[0], token_id=str(uuid.uuid4()))]

    assert numbers(report(api, service, *unknown)) == (0, 0, 4)
    assert not TokenUse.objects.exists()


@pytest.mark.parametrize("minutes", [2, -8 * 24 * 60, -21 * 24 * 60])
def test_impossible_time_refuses_the_whole_batch(api, service, token, minutes):
    wrong = use(token, at=(timezone.now() + timedelta(minutes=minutes)).isoformat())

    answer = report(api, service, use(token), wrong)

    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["uses.1.at"])
    assert not TokenUse.objects.exists()


def test_use_before_the_creation_of_the_token_is_refused(api, owner, service):
    new = TokenFactory(owner=owner, service=service)

    assert report(api, service, use(new)).json()["errors"] == {"uses.0.at": ["The token was created later."]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "1"),
        ("id", "9992a620-eda4-11f1-b7c2-02fc00000001"),
        ("id", None),
        ("token_id", [1]),
        ("at", "yesterday"),
        ("at", "2026-12-01T10:00:00"),
        ("at", "0001-01-01T00:00:00+14:00"),
        ("at", 1764590400),
        ("method", "get"),
        ("method", "G T"),
        ("method", "G" * 21),
        ("path", "api"),
        ("path", ""),
        ("path", "/\0"),
        ("path", "/" * 2049),
        ("status", 99),
        ("status", "200"),
        ("status", 1e300),
        ("ip", "203.0.113"),
        ("ip", "localhost"),
        ("user_agent", "\0"),
        ("user_agent", 7),
        ("more", 1),
    ],
)
def test_wrong_value_is_an_error_of_its_field(api, service, token, field, value):
    answer = report(api, service, use(token, **{field: value}))

    assert answer.status_code == 400
    assert [name.removeprefix("uses.0.") for name in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("body", [{}, {"uses": []}, {"uses": {}}, {"uses": [1]}, {"uses": [None]}, {"uses": [{}]}])
def test_body_without_uses_is_refused(api, service, body):
    answer = api.post(
        f"/api/v1/services/{service.pk}/uses",
        body,
        content_type="application/json",
        headers={"Authorization": basic(service.pk)},
    )

    assert answer.status_code == 400


def test_a_thousand_uses_fit_and_one_more_does_not(api, service, token):
    some = [use(token, user_agent="", path="/") for _ in range(1000)]

    assert numbers(report(api, service, *some)) == (1000, 0, 0)
    assert report(api, service, *some, use(token)).status_code == 400
    assert numbers(report(api, service, *some)) == (0, 1000, 0)


def test_last_use_and_counts_follow(api, service, token):
    now = timezone.now()
    moments = [now - timedelta(minutes=minutes) for minutes in (50, 10, 30)]
    report(
        api,
        service,
        *[use(token, at=at.isoformat()) for at in moments],
        use(token, status=403, ip="192.0.2.1", at=now.isoformat()),
    )
    list(count_due())

    token.refresh_from_db()
    assert (token.last_used_at, token.last_used_ip) == (moments[1], "203.0.113.9")
    found = TokenUsage.objects.filter(token=token)
    assert sum(row.allowed for row in found) == 3
    assert sum(row.refused for row in found) == 1


def test_owner_is_told_of_a_use_from_a_new_network(api, owner, service, token):
    log_places.place_of(use_news.READER, TokenUse)
    report(api, service, use(token), use(token, ip="198.51.100.1"))

    use_news.tell_of_new_uses()

    told = set(Notification.objects.filter(person=owner).values_list("kind", flat=True))
    assert told == {"first_use", "new_network"}


# Who may report


@pytest.mark.parametrize(
    "credentials",
    [
        "none",
        "wrong secret",
        "other client",
        "old secret",
        "empty",
        "no base64",
        "not UTF-8",
        "no colon",
        "long",
    ],
)
def test_nobody_but_the_service_can_report(api, service, token, stranger, credentials):
    other = ServiceFactory(organization=stranger.organization)
    with_secret(other, "other")
    with_secret(service, "old", ends_at=timezone.now())
    authorization = {
        "none": "",
        "wrong secret": basic(service.pk, "wrong"),
        "other client": basic(other.pk, "other"),
        "old secret": basic(service.pk, "old"),
        "empty": basic(service.pk, ""),
        "no base64": "Basic %%%",
        "not UTF-8": "Basic /w==",
        "no colon": "Basic " + in_base64(str(service.pk)),
        "long": basic(service.pk, "x" * 5000),
    }[credentials]

    answer = report(api, service, use(token), authorization=authorization)

    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_client")
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert not TokenUse.objects.exists()


def test_unknown_service_gets_the_same_answer(api, service):
    unknown = Service(pk=uuid.uuid4())

    assert report(api, unknown, authorization=basic(unknown.pk)).json()["code"] == "invalid_client"


def test_secret_is_no_token_that_is_not_genuine(api, service, token, caplog):
    report(api, service, use(token))
    report(api, service, use(token), authorization=basic(service.pk, "wrong"))

    assert "not genuine" not in caplog.text


def test_token_of_the_service_cannot_report_and_its_use_is_logged(api, service, token):
    answer = report(api, service, use(token), authorization=bearer(token)["Authorization"])

    assert answer.status_code == 401
    entry = TokenUse.objects.get()
    assert (entry.reported_at, entry.status) == (None, 401)


def test_signed_in_administrator_cannot_report(api, administrator, service, token):
    api.force_login(administrator)
    body = {"uses": [use(token)]}

    answer = api.post(f"/api/v1/services/{service.pk}/uses", body, content_type="application/json")

    assert answer.status_code == 401


@pytest.mark.parametrize("check", [Check.FORWARD_AUTH, Check.INTROSPECTION])
def test_service_that_the_portal_sees_cannot_report(api, service, token, check):
    Service.objects.update(check_by=check)

    assert report(api, service, use(token)).status_code == 403
    assert not TokenUse.objects.exists()


def test_service_that_is_switched_off_can_still_report(api, service, token):
    Service.objects.update(is_enabled=False)

    assert numbers(report(api, service, use(token))) == (1, 0, 0)


def test_attempts_of_one_address_are_limited(api, service, token, settings):
    settings.API_LIMIT_ADDRESS = Rate(2, 3600)
    wrong = basic(service.pk, "wrong")

    codes = [report(api, service, use(token), authorization=wrong).status_code for _ in range(3)]

    assert codes == [401, 401, 429]


@pytest.mark.django_db(transaction=True)
def test_batches_with_the_same_ids_at_once_store_each_once(service, token):
    now = timezone.now()
    uses = [ReportedUse(uuid.uuid4(), token.pk, now, "GET", "/", 200) for _ in range(300)]
    found, start = [], threading.Barrier(4)

    def send(batch):
        start.wait()
        try:
            found.append(report_uses(service, batch))
        finally:
            connection.close()

    threads = [threading.Thread(target=send, args=[batch]) for batch in (uses, uses[::-1], uses, uses[100:])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert sum(counts.stored for counts in found) == 300 == TokenUse.objects.count()
    assert {counts.stored + counts.duplicates for counts in found} == {300, 200}
