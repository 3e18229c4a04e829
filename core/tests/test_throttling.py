"""Rate limits of the API: 429 with ``Retry-After``, separately for each token, each person and each address."""

import re
from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from auditlog.models import TokenUse
from core import rate_limits
from core.models import RateCount
from core.setting_readers import Rate
from pipelines.models import Run
from pipelines.tests.factories import PipelineFactory
from tokens.tests.factories import TokenFactory, bearer

ME = "/api/v1/me"
RUN = "/api/v1/pipeline/run"
JUNK = {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30.e30"}

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def window(monkeypatch):
    """Simulates a process that has just started, 18 seconds before the end of a minute."""
    monkeypatch.setattr(rate_limits, "_here", {})
    with time_machine.travel(timezone.now().replace(second=42, microsecond=0), tick=False):
        yield


def statuses(ask, times):
    return [ask().status_code for _ in range(times)]


def test_token_over_its_limit_gets_429_with_retry_after(api, owner, settings):
    settings.API_LIMIT_TOKEN = Rate(2, 60)
    headers = bearer(TokenFactory(owner=owner))
    assert statuses(lambda: api.get(ME, headers=headers), 2) == [200, 200]

    answer = api.get(ME, headers=headers)

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "18")
    assert answer.headers["Content-Type"] == "application/problem+json"
    document = answer.json()
    assert (document["title"], document["code"]) == ("Too Many Requests", "throttled")
    assert document["detail"].startswith("This token has made more than 2 requests within 60 seconds.")


def test_throttled_use_is_logged(api, owner, settings):
    settings.API_LIMIT_TOKEN = Rate(1, 60)
    token = TokenFactory(owner=owner)

    answers = [api.get(ME, headers=bearer(token)) for _ in range(2)]

    entry = TokenUse.objects.get(request_id=answers[1].headers["X-Request-ID"])
    assert (entry.token, entry.owner) == (token, owner)
    assert (entry.status, entry.outcome, entry.reason) == (429, "refused", "throttled")


def test_request_after_the_wait_is_answered(api, owner, settings):
    settings.API_LIMIT_TOKEN = Rate(1, 60)
    headers = bearer(TokenFactory(owner=owner))
    assert statuses(lambda: api.get(ME, headers=headers), 2) == [200, 429]

    with time_machine.travel(timezone.now() + timedelta(seconds=18), tick=False):
        assert api.get(ME, headers=headers).status_code == 200


def test_token_over_its_limit_does_not_stop_other_tokens_of_its_owner(api, owner, settings):
    settings.API_LIMIT_TOKEN = Rate(1, 60)
    first, second = bearer(TokenFactory(owner=owner)), bearer(TokenFactory(owner=owner))

    assert statuses(lambda: api.get(ME, headers=first), 2) == [200, 429]
    assert api.get(ME, headers=second).status_code == 200


def test_tokens_and_session_of_a_person_count_together(api, owner, settings):
    settings.API_LIMIT_USER = Rate(3, 60)
    for _ in range(2):
        assert api.get(ME, headers=bearer(TokenFactory(owner=owner))).status_code == 200
    api.force_login(owner)

    assert statuses(lambda: api.get(ME), 2) == [200, 429]
    assert api.get(ME, headers=bearer(TokenFactory(owner=owner))).status_code == 429


def test_person_over_their_limit_does_not_stop_others(api, owner, member, settings):
    settings.API_LIMIT_USER = Rate(1, 60)
    headers = bearer(TokenFactory(owner=owner))

    assert statuses(lambda: api.get(ME, headers=headers), 2) == [200, 429]
    assert api.get(ME, headers=bearer(TokenFactory(owner=member))).status_code == 200


@pytest.mark.parametrize("headers", [{}, JUNK, {"Authorization": "Basic YTpi"}], ids=["nothing", "junk", "Basic"])
def test_address_without_genuine_credentials_is_throttled(api, headers, settings):
    settings.API_LIMIT_ADDRESS = Rate(2, 60)

    answers = [api.get(ME, headers=headers) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert (answers[2].headers["Retry-After"], answers[2].json()["code"]) == ("18", "throttled")


def test_token_without_a_record_counts_toward_the_address(api, owner, settings):
    settings.API_LIMIT_ADDRESS = Rate(1, 60)
    token = TokenFactory(owner=owner)
    headers = bearer(token)
    token.delete()

    assert statuses(lambda: api.get(ME, headers=headers), 2) == [401, 429]


ENDED = {
    "expired": {"created_at": timezone.now().replace(microsecond=0) - timedelta(days=40)},
    "revoked": {"revoked_at": timezone.now()},
    "not_revealed": {"revealed_at": None},
}


@pytest.mark.parametrize(("reason", "metadata"), ENDED.items(), ids=ENDED)
def test_ended_token_does_not_count_toward_the_address(api, owner, settings, reason, metadata):
    settings.API_LIMIT_ADDRESS = Rate(1, 60)
    headers = bearer(TokenFactory(owner=owner, **metadata))

    answers = [api.get(ME, headers=headers) for _ in range(5)]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(401, reason)}
    assert api.get(ME).status_code == 401


def test_ended_token_does_not_count_toward_its_owner(api, owner, settings):
    settings.API_LIMIT_USER = Rate(1, 60)
    headers = bearer(TokenFactory(owner=owner, revoked_at=timezone.now()))

    assert statuses(lambda: api.get(ME, headers=headers), 5) == [401] * 5
    assert api.get(ME, headers=bearer(TokenFactory(owner=owner))).status_code == 200


def test_throttled_address_does_not_stop_genuine_tokens(api, owner, settings):
    settings.API_LIMIT_ADDRESS = Rate(1, 60)
    assert statuses(lambda: api.get(ME, headers=JUNK), 2) == [401, 429]

    assert api.get(ME, headers=bearer(TokenFactory(owner=owner))).status_code == 200


def test_throttled_address_does_not_stop_sessions(api, owner, settings):
    settings.API_LIMIT_ADDRESS = Rate(1, 60)
    assert statuses(lambda: api.get(ME), 2) == [401, 429]
    api.force_login(owner)

    assert api.get(ME).status_code == 200


def test_genuine_token_does_not_count_toward_the_address(api, owner, settings):
    settings.API_LIMIT_ADDRESS = Rate(1, 60)
    headers = bearer(TokenFactory(owner=owner))

    assert statuses(lambda: api.get(ME, headers=headers), 5) == [200] * 5
    assert api.get(ME).status_code == 401


@pytest.mark.parametrize(
    ("address", "neighbor", "is_counted_together"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("", "", True),
    ],
)
def test_address_counts_as_an_ipv4_address_or_an_ipv6_network(api, settings, address, neighbor, is_counted_together):
    settings.API_LIMIT_ADDRESS = Rate(1, 60)
    assert api.get(ME, REMOTE_ADDR=address).status_code == 401

    assert api.get(ME, REMOTE_ADDR=neighbor).status_code == (429 if is_counted_together else 401)


def test_throttled_address_does_not_fill_the_log(api, settings, caplog):
    settings.API_LIMIT_ADDRESS = Rate(1, 60)

    assert statuses(lambda: api.get(ME, headers=JUNK), 20) == [401] + [429] * 19

    assert caplog.text.count("not genuine") == 1
    assert not TokenUse.objects.exists()


def test_invalid_tokens_cost_a_write_per_batch_and_none_when_throttled(api, settings, django_assert_num_queries):
    settings.API_LIMIT_ADDRESS = Rate(40, 60)

    with django_assert_num_queries(20):
        assert statuses(lambda: api.get(ME, headers=JUNK), 200) == [401] * 40 + [429] * 160
    assert RateCount.objects.get().count == 40


def test_limits_cost_no_query_between_two_batches(api, owner, settings, django_assert_num_queries):
    settings.API_LIMIT_TOKEN = settings.API_LIMIT_USER = Rate(1200, 60)
    token = TokenFactory(owner=owner, last_used_at=timezone.now())
    headers = bearer(token)

    with django_assert_num_queries(2 * 59):  # the token's record and its log entry
        assert statuses(lambda: api.get(ME, headers=headers), 59) == [200] * 59


def test_throttled_request_changes_nothing_and_holds_no_lock(api, owner, settings, django_assert_num_queries):
    settings.API_LIMIT_TOKEN = Rate(1, 60)
    pipeline = PipelineFactory(owner=owner)
    headers = bearer(TokenFactory(owner=owner, last_used_at=timezone.now()))
    assert statuses(lambda: api.get(ME, headers=headers), 2) == [200, 429]

    with django_assert_num_queries(2):  # the token's record and the log entry, no savepoint
        answer = api.post(RUN, {"pipelineId": str(pipeline.pk)}, headers=headers)

    assert answer.status_code == 429
    assert not Run.objects.exists()


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1/logs/user/tokens", "/api/v1/pipelines?color=red"])
def test_refused_request_counts(api, owner, settings, path):
    settings.API_LIMIT_TOKEN = Rate(2, 60)
    headers = bearer(TokenFactory(owner=owner))

    refused = statuses(lambda: api.get(path, headers=headers), 2)

    assert set(refused) <= {400, 403, 404}
    assert api.get(ME, headers=headers).status_code == 429


def test_limit_that_is_off_has_no_effect(api, owner, settings):
    settings.API_LIMIT_TOKEN = settings.API_LIMIT_USER = settings.API_LIMIT_ADDRESS = None
    headers = bearer(TokenFactory(owner=owner))

    assert statuses(lambda: api.get(ME, headers=headers), 30) == [200] * 30
    assert not RateCount.objects.exists()


# RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers)


def told(answer):
    return answer.headers["RateLimit-Policy"], answer.headers["RateLimit"]


def test_answer_to_a_token_has_the_remaining_requests(api, owner, settings):
    settings.API_LIMIT_TOKEN, settings.API_LIMIT_USER = Rate(3, 60), Rate(1000, 3600)
    first, second = bearer(TokenFactory(owner=owner)), bearer(TokenFactory(owner=owner))
    until_hour = 3600 - int(timezone.now().timestamp()) % 3600

    answers = [api.get(ME, headers=headers) for headers in (first, first, second, first, first, first)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 429, 429]
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"token";q=3;w=60, "user";q=1000;w=3600'}
    # A request that the token's limit refuses does not count toward its owner's limit.
    left = [(2, 999), (1, 998), (2, 997), (0, 996), (0, 996), (0, 996)]
    assert [answer.headers["RateLimit"] for answer in answers] == [
        f'"token";r={token};t=18, "user";r={user};t={until_hour}' for token, user in left
    ]
    assert answers[-1].headers["Retry-After"] == "18"


def test_new_window_starts_with_the_whole_limit(api, owner, settings):
    settings.API_LIMIT_TOKEN = Rate(2, 60)
    headers = bearer(TokenFactory(owner=owner))
    for _ in range(3):
        api.get(ME, headers=headers)

    with time_machine.travel(timezone.now() + timedelta(seconds=18), tick=False):
        assert told(api.get(ME, headers=headers)) == ('"token";q=2;w=60', '"token";r=1;t=60')


def test_requests_left_include_other_processes_and_are_never_negative(api, owner, settings, monkeypatch):
    settings.API_LIMIT_TOKEN = Rate(40, 60)
    headers = bearer(TokenFactory(owner=owner))
    for _ in range(30):
        api.get(ME, headers=headers)
    monkeypatch.setattr(rate_limits, "_here", {})

    answers = [api.get(ME, headers=headers).headers["RateLimit"] for _ in range(14)]

    left = [int(re.search(r"r=(-?\d+)", answer)[1]) for answer in answers]
    assert left == [39, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/v1/nothing", 404), ("GET", "/api/v1/organization/tokens", 403), ("PUT", ME, 405)],
)
def test_refusal_has_the_remaining_requests(api, owner, settings, method, path, status):
    settings.API_LIMIT_TOKEN = Rate(10, 60)

    answer = api.generic(method, path, headers=bearer(TokenFactory(owner=owner)))

    assert answer.status_code == status
    assert told(answer) == ('"token";q=10;w=60', '"token";r=9;t=18')


def test_answer_to_an_ended_token_has_its_limits(api, owner, settings):
    settings.API_LIMIT_TOKEN = Rate(10, 60)
    token = TokenFactory(owner=owner, revoked_at=timezone.now())

    answers = [api.get(ME, headers=bearer(token)) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [401, 401]
    assert told(answers[1]) == ('"token";q=10;w=60', '"token";r=10;t=18')


def test_limits_are_not_sent_without_a_genuine_token_or_with_limits_off(api, owner, settings):
    assert "RateLimit" not in api.get(ME, headers=bearer(TokenFactory(owner=owner))).headers
    settings.API_LIMIT_TOKEN = settings.API_LIMIT_USER = settings.API_LIMIT_ADDRESS = Rate(10, 60)

    refused = [api.get(ME), api.get(ME, headers=JUNK)]
    api.force_login(owner)

    for answer in (*refused, api.get(ME)):
        assert not {"RateLimit", "RateLimit-Policy"} & set(answer.headers)


def test_rate_limit_headers_cost_no_query(api, owner, settings, django_assert_num_queries):
    token = TokenFactory(owner=owner, last_used_at=timezone.now())
    headers = bearer(token)
    with CaptureQueriesContext(connection) as without:
        api.get(ME, headers=headers)
    settings.API_LIMIT_TOKEN, settings.API_LIMIT_USER = Rate(1200, 60), Rate(3000, 60)

    with django_assert_num_queries(len(without)):
        assert "RateLimit" in api.get(ME, headers=headers).headers
