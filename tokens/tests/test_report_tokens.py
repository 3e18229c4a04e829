"""Reporting leaked tokens expires them."""

import json
import threading
import uuid

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.tests.factories import UserFactory
from auditlog.models import Activity, TokenUse
from core.models import OutgoingMail
from core.rate_limits import Limit
from opsera_portal.tests.mails import delivered
from tokens import jwt
from tokens.leaks import finding, reporting
from tokens.mails import report_mail
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer
from tokens.tests.test_look_up_token import everything_in_the_database, signed

REPORT = "/api/v1/tokens/report"
WHERE = "https://git.example.com/acme/scripts/deploy.sh#L3"


@pytest.fixture
def token(owner):
    return TokenFactory(owner=owner, name="nightly build")


def report(api, *tokens, **extra):
    return api.post(REPORT, {"tokens": list(tokens), **extra})


@pytest.mark.each_database
def test_reported_token_is_expired_permanently(api, token):
    answer = report(api, signed(token), url=WHERE)

    assert (answer.status_code, answer.json()) == (202, {"status": "received"})
    token.refresh_from_db()
    assert token.revoked_at is not None
    assert (token.revoked_by, token.live_name_key) == (None, None)
    assert token.revoke_reason == f"Reported as leaked, found at {WHERE}"
    assert api.get("/api/v1/me", headers=bearer(token)).status_code == 401


def test_reason_without_a_url_is_shorter(api, token):
    report(api, signed(token))

    token.refresh_from_db()
    assert token.revoke_reason == "Reported as leaked."


def test_pending_token_is_expired_too(api, owner):
    pending = TokenFactory(owner=owner, revealed_at=None)

    report(api, signed(pending))

    pending.refresh_from_db()
    assert pending.revoked_at is not None


def test_text_around_a_token_is_ignored(api, owner, token):
    second = TokenFactory(owner=owner)

    report(api, f"TOKEN={signed(token)}; OTHER='{signed(second)}'", "nonsense", "eyJ.eyJ.x")

    assert not Token.objects.live().exists()


@pytest.mark.each_database
def test_tokens_of_several_organizations_expire_in_one_report(api, owner, stranger):
    tokens = [*TokenFactory.create_batch(3, owner=owner), TokenFactory(owner=stranger)]

    report(api, *map(signed, tokens))

    assert not Token.objects.live().exists()
    assert Activity.objects.filter(organization=owner.organization).count() == 3
    assert Activity.objects.filter(organization=stranger.organization).count() == 1


def test_activity_log_names_the_owner_the_url_and_the_reporters_address(api, owner, token):
    api.post(REPORT, {"tokens": [signed(token)], "url": WHERE}, REMOTE_ADDR="192.0.2.9")

    entry = Activity.objects.get()
    assert (entry.action, entry.actor, entry.target_id) == ("token.reported", owner, str(token.pk))
    assert (entry.ip, entry.details["found_at"]) == ("192.0.2.9", WHERE)
    assert entry.details["by"] == "someone who has the token"
    assert (entry.organization, entry.token) == (owner.organization, None)


@pytest.mark.parametrize("scope", ["pipeline tokens:rotate", "pipeline"])
def test_report_ends_the_successors_of_a_token_that_replaces_itself(api, owner, scope):
    newest = TokenFactory(owner=owner, name="weekly", scope=scope)
    past = {"owner": owner, "name": "weekly", "scope": scope, "replaced_at": timezone.now(), "live_name_key": None}
    middle = TokenFactory(replaced_by=newest, revoked_at=timezone.now(), **past)
    reported = TokenFactory(replaced_by=middle, revoked_at=timezone.now(), **past)
    TokenFactory(owner=owner, scope=scope)

    for _ in range(2):
        report(api, signed(reported), url=WHERE)

    ended = Token.objects.filter(revoked_at__gt=reported.revoked_at)
    if scope == "pipeline":
        # Only a person can replace it, so nobody who found the old one has the new one.
        assert not ended.exists()
        return
    assert [token.revoke_reason for token in ended] == ["A token of its family was reported as leaked."]
    entry = Activity.objects.get()
    assert (entry.action, entry.target_id) == ("token.reported", str(newest.pk))
    assert (entry.details["reported"], entry.details["found_at"]) == (str(reported.pk), WHERE)
    [message] = delivered()
    assert message.subject == "Your access token “weekly” was reported as leaked and has been expired"
    assert f"ID of that one: {reported.pk}" in message.body


# The answer is always the same


def test_answer_does_not_reveal_whether_a_token_is_genuine(api, owner, stranger, token):
    ended = TokenFactory(owner=owner, revoked_at=timezone.now())
    answers = [
        report(api, pasted)
        for pasted in (
            signed(token),
            signed(token),
            signed(ended),
            signed(TokenFactory(owner=stranger)),
            finding.example(),
            "hello",
            "x" * jwt.MAX_LENGTH,
        )
    ]

    assert len({(answer.status_code, answer.content, answer.headers["Content-Length"]) for answer in answers}) == 1
    assert len({frozenset(answer.headers) for answer in answers}) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "tokens"),
        ({"tokens": []}, "tokens"),
        ({"tokens": "text"}, "tokens"),
        ({"tokens": None}, "tokens"),
        ({"tokens": [""]}, "tokens.0"),
        ({"tokens": [1.5]}, "tokens.0"),
        ({"tokens": [None]}, "tokens.0"),
        ({"tokens": [["x"]]}, "tokens.0"),
        ({"tokens": ["x", "y" * 4097]}, "tokens.1"),
        ({"tokens": ["x"] * 101}, "tokens"),
        ({"tokens": ["x"], "url": ""}, "url"),
        ({"tokens": ["x"], "url": None}, "url"),
        ({"tokens": ["x"], "url": "javascript:alert(1)"}, "url"),
        ({"tokens": ["x"], "url": "ftp://example.com"}, "url"),
        ({"tokens": ["x"], "url": "https://"}, "url"),
        ({"tokens": ["x"], "url": "https://a b"}, "url"),
        ({"tokens": ["x"], "url": "https://a\n"}, "url"),
        ({"tokens": ["x"], "url": "https://a\nBcc: b@example.com"}, "url"),
        ({"tokens": ["x"], "url": f"https://{'a' * 493}"}, "url"),
        ({"tokens": ["x"], "note": "hello"}, "note"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_wrong_body_is_a_400_that_names_the_field(api, db, body, field):
    answer = api.post(REPORT, body)

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [field]


def test_wrong_body_expires_nothing(api, token):
    report(api, signed(token), url="nowhere")

    token.refresh_from_db()
    assert token.revoked_at is None


def test_answer_to_a_wrong_body_contains_no_token(api, token):
    encoded = signed(token)

    for body in ({"tokens": [f"{encoded}{'x' * 5000}"]}, {encoded: 1}, {"tokens": ["x"], "url": encoded}):
        answer = api.post(REPORT, body)

        assert answer.status_code == 400
        assert encoded[-40:] not in answer.content.decode()


# The mail


def test_owner_gets_one_mail_about_all_of_their_tokens(api, owner, stranger, token, django_capture_on_commit_callbacks):
    second = TokenFactory(owner=owner, name="weekly build")
    with django_capture_on_commit_callbacks(execute=True):
        report(api, signed(token), signed(second), signed(TokenFactory(owner=stranger)), url=WHERE)

    to_owner, to_stranger = sorted(delivered(), key=lambda message: message.to != [owner.email])

    assert (to_owner.to, to_stranger.to) == ([owner.email], [stranger.email])
    assert to_owner.subject == "2 of your access tokens were reported as leaked and have been expired"
    for told in ("nightly build", "weekly build", str(token.pk), f"/profile/tokens/{token.pk}/", WHERE, "127.0.0.1"):
        assert told in to_owner.body
    assert "weekly build" not in to_stranger.body


def test_mail_about_one_token_names_it(api, token, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        report(api, signed(token))

    [message] = delivered()
    assert message.subject == "Your access token “nightly build” was reported as leaked and has been expired"
    assert "Found at (according to the reporter)" not in message.body
    assert "/profile/tokens/\n" in message.body


def test_links_in_the_mail_open_pages_of_the_owner(
    api, client, owner, token, settings, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        report(api, signed(token))
    [message] = delivered()
    client.force_login(owner)

    paths = [word.removeprefix(settings.PORTAL_URL) for word in message.body.split() if "://" in word]

    assert len(paths) == 4
    assert [client.get(path).status_code for path in paths] == [200] * 4


def test_report_of_an_ended_token_sends_no_mail(api, owner, django_capture_on_commit_callbacks):
    ended = TokenFactory(owner=owner, revoked_at=timezone.now(), revoke_reason="lost laptop")
    with django_capture_on_commit_callbacks(execute=True):
        report(api, signed(ended))

    ended.refresh_from_db()
    assert ended.revoke_reason == "lost laptop"
    assert not Activity.objects.exists()
    assert not delivered()


def test_deactivated_owner_gets_no_mail(api, owner, token, django_capture_on_commit_callbacks):
    owner.is_active = False
    owner.save()
    with django_capture_on_commit_callbacks(execute=True):
        report(api, signed(token))

    token.refresh_from_db()
    assert token.revoked_at is not None
    assert not delivered()


def test_reported_text_is_not_stored(api, token, caplog, django_capture_on_commit_callbacks):
    caplog.set_level("DEBUG")
    encoded = signed(token)
    with django_capture_on_commit_callbacks(execute=True):
        answer = report(api, encoded, f"Bearer {encoded}", url=f"https://example.com/?token={encoded[:400]}")
    body = delivered()[0].body

    kept = [answer.content.decode(), everything_in_the_database(), caplog.text, body]
    assert not [text for text in kept if encoded[-60:] in text or encoded[20:90] in text]
    assert "https://example.com/?token=[token]" in body


# Open to everyone, with or without credentials


def test_signed_in_browser_needs_no_csrf_token(member, token):
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(member)

    assert report(client, signed(token)).status_code == 202
    token.refresh_from_db()
    assert token.revoked_at is not None
    assert Activity.objects.get(action="token.reported").actor == token.owner


@pytest.mark.parametrize("header", ["Bearer nonsense", "Basic eDp5", "", "Bearer"])
def test_invalid_credentials_do_not_prevent_a_report(api, token, header):
    answer = api.post(REPORT, {"tokens": [signed(token)]}, headers={"Authorization": header})

    assert answer.status_code == 202
    token.refresh_from_db()
    assert token.revoked_at is not None
    assert not TokenUse.objects.exists()


@pytest.mark.parametrize("reports", ["itself", "another one", "nothing"])
def test_use_of_a_genuine_token_in_the_header_is_logged(api, owner, token, reports):
    other = TokenFactory(owner=owner)
    found = {"itself": signed(token), "another one": signed(other), "nothing": "nothing"}[reports]

    answer = api.post(REPORT, {"tokens": [found]}, headers=bearer(token))

    assert answer.status_code == 202
    use = TokenUse.objects.get()
    assert (use.token_id, use.target, use.status) == (token.pk, REPORT, 202)
    assert Token.objects.live().count() == (2 if reports == "nothing" else 1)


def test_ended_token_in_the_header_does_not_prevent_a_report(api, owner, token):
    ended = TokenFactory(owner=owner, revoked_at=timezone.now())

    assert api.post(REPORT, {"tokens": [signed(token)]}, headers=bearer(ended)).status_code == 202
    token.refresh_from_db()
    assert token.revoked_at is not None


@pytest.mark.django_db(transaction=True)
def test_nothing_is_expired_if_the_use_cannot_be_logged(api, owner, token):
    other = TokenFactory(owner=owner)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE auditlog_tokenuse RENAME TO away")
    try:
        answer = api.post(REPORT, {"tokens": [signed(other)]}, headers=bearer(token))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE away RENAME TO auditlog_tokenuse")

    assert answer.status_code == 503
    assert Token.objects.live().count() == 2
    assert not Activity.objects.exists()


# Limits


def test_address_above_the_limit_has_to_wait(api, token):
    with time_machine.travel(timezone.now(), tick=False):
        for _ in range(reporting.REPORTS.amount):
            assert api.post(REPORT, {"tokens": ["x"]}, REMOTE_ADDR="192.0.2.30").status_code == 202

        answer = api.post(REPORT, {"tokens": [signed(token)]}, REMOTE_ADDR="192.0.2.30")

        assert (answer.status_code, answer.json()["code"]) == (429, "throttled")
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert Token.objects.live().exists()
        assert api.post(REPORT, {"tokens": [signed(token)]}, REMOTE_ADDR="192.0.2.31").status_code == 202


def test_other_limits_of_an_address_do_not_prevent_a_report(api, settings, token):
    settings.API_LIMIT_ADDRESS = one_a_minute()
    with time_machine.travel(timezone.now(), tick=False):
        statuses = [api.get("/api/v1/me", REMOTE_ADDR="192.0.2.32").status_code for _ in range(3)]
        assert statuses[-1] == 429

        assert api.post(REPORT, {"tokens": [signed(token)]}, REMOTE_ADDR="192.0.2.32").status_code == 202
    assert not Token.objects.live().exists()


def one_a_minute():
    return Limit("any", amount=1, seconds=60)


def test_too_large_body_is_refused(api, db):
    body = json.dumps({"tokens": ["x" * 4000] * 70})

    assert api.post(REPORT, body, content_type="application/json").status_code == 413


def test_queries_of_a_report_do_not_grow_with_its_tokens(api, owner):
    def queries(number):
        tokens = TokenFactory.create_batch(number, owner=owner)
        with CaptureQueriesContext(connection) as captured:
            report(api, *map(signed, tokens))
        return len(captured)

    assert queries(2) == queries(20)


def test_report_without_a_genuine_token_makes_no_query_for_tokens(api, db):
    with CaptureQueriesContext(connection) as captured:
        report(api, finding.example(), "x")

    assert not [query for query in captured if "tokens_token" in query["sql"]]


# Simultaneous requests


@pytest.mark.django_db(transaction=True)
def test_one_of_many_simultaneous_reports_expires_the_tokens_and_sends_the_mail():
    owner = UserFactory()
    tokens = TokenFactory.create_batch(5, owner=owner)
    encoded = [signed(token) for token in tokens]
    statuses = at_once(
        lambda number: report(APIClient(REMOTE_ADDR=f"192.0.2.{number}"), *encoded[:: 1 if number % 2 else -1]), 6
    )

    assert statuses == [202] * 6
    assert Activity.objects.count() == 5
    [row] = OutgoingMail.objects.all()
    assert row.person_id == owner.pk
    assert sorted(row.arguments["token_ids"]) == sorted(str(token.pk) for token in tokens)
    assert not Token.objects.live().exists()


@pytest.mark.django_db(transaction=True)
def test_token_used_during_its_report_is_refused_afterwards():
    token = TokenFactory()
    encoded, headers = signed(token), bearer(token)
    statuses = at_once(
        lambda number: APIClient().get("/api/v1/me", headers=headers) if number else report(APIClient(), encoded), 6
    )

    assert statuses[0] == 202
    assert set(statuses[1:]) <= {200, 401}
    assert TokenUse.objects.count() == 5
    assert APIClient().get("/api/v1/me", headers=headers).status_code == 401


def at_once(request, number):
    """The statuses of requests that start at the same time, in the order of their numbers."""
    statuses, start = [None] * number, threading.Barrier(number)

    def run(index):
        try:
            start.wait()
            statuses[index] = request(index).status_code
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[index]) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def test_mail_without_tokens_is_not_sent(owner):
    report_mail.put(owner.pk, str(owner.pk), [str(uuid.uuid4())])

    assert not delivered()
