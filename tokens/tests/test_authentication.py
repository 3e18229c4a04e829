"""Each check of a token, with the log entry that it causes (docs/product.md#how-a-token-is-checked)."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from accounts.roles import SiteRole
from auditlog.models import TokenUse
from pipelines.tests.factories import PipelineFactory
from tokens.tests.factories import TokenFactory, bearer

ME = "/api/v1/me"


def only_entry():
    return TokenUse.objects.get()


def refusal(answer):
    return answer.status_code, answer.json()["code"]


def test_valid_token_is_accepted_and_logged(api, owner):
    token = TokenFactory(owner=owner, name="nightly", scope="api")

    answer = api.get(ME, headers=bearer(token) | {"User-Agent": "curl/8"})

    assert answer.status_code == 200
    entry = only_entry()
    assert (entry.token, entry.owner, entry.organization) == (token, owner, owner.organization)
    assert (entry.token_name, entry.owner_email, entry.scope) == ("nightly", owner.email, "api")
    assert (entry.method, entry.target, entry.status) == ("GET", ME, 200)
    assert (entry.outcome, entry.reason) == ("allowed", "ok")
    assert (entry.ip, entry.user_agent) == ("127.0.0.1", "curl/8")
    assert str(entry.request_id) == answer.headers["X-Request-ID"]


def test_query_string_is_not_logged(api, owner):
    api.get("/api/v1/pipelines?q=secret", headers=bearer(TokenFactory(owner=owner)))

    assert only_entry().target == "/api/v1/pipelines"


def test_check_1_token_that_is_not_genuine_adds_no_log_entry(api, owner, caplog):
    headers = bearer(TokenFactory(owner=owner))
    headers["Authorization"] = headers["Authorization"][:-4] + "AAAA"

    answer = api.get(ME, headers=headers)

    assert refusal(answer) == (401, "invalid_token")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert not TokenUse.objects.exists()
    assert "not genuine" in caplog.text
    assert headers["Authorization"].removeprefix("Bearer ") not in caplog.text


def test_check_1_expired_token_is_refused_and_logged(api, owner):
    token = TokenFactory(owner=owner)
    headers = bearer(token)

    with time_machine.travel(token.expires_at, tick=False):
        answer = api.get(ME, headers=headers)

    assert refusal(answer) == (401, "expired")
    assert "expired" in answer.headers["WWW-Authenticate"]
    assert only_entry().reason == "expired"


def test_check_1_token_is_accepted_until_its_last_second(api, owner):
    token = TokenFactory(owner=owner)
    headers = bearer(token)

    with time_machine.travel(token.expires_at - timedelta(seconds=1), tick=False):
        assert api.get(ME, headers=headers).status_code == 200


def test_check_1_token_before_its_start_is_refused_and_logged(api, owner):
    later = timezone.now().replace(microsecond=0) + timedelta(hours=1)
    token = TokenFactory(owner=owner, created_at=later)

    assert api.get(ME, headers=bearer(token)).status_code == 401
    assert only_entry().reason == "invalid_request"


def test_check_1_token_without_a_record_is_not_genuine(api, owner):
    token = TokenFactory(owner=owner)
    headers = bearer(token)
    token.delete()

    assert refusal(api.get(ME, headers=headers)) == (401, "invalid_token")
    assert not TokenUse.objects.exists()


def test_check_1_token_with_another_owner_than_its_record_is_not_genuine(api, owner, member):
    token = TokenFactory(owner=owner)
    headers = bearer(token)
    token.owner = member
    token.save()

    assert refusal(api.get(ME, headers=headers)) == (401, "invalid_token")


def test_check_2_tokens_of_a_deactivated_owner_are_refused_from_the_next_request(api, owner):
    headers = bearer(TokenFactory(owner=owner))
    assert api.get(ME, headers=headers).status_code == 200
    owner.is_active = False
    owner.save()

    assert refusal(api.get(ME, headers=headers)) == (401, "owner_deactivated")
    assert TokenUse.objects.first().reason == "owner_deactivated"


def test_check_2_token_of_an_owner_in_another_organization_is_refused(api, owner, stranger):
    headers = bearer(TokenFactory(owner=owner))
    owner.organization = stranger.organization
    owner.save()

    assert refusal(api.get(ME, headers=headers)) == (401, "owner_deactivated")


def test_check_3_token_that_was_never_shown_is_refused_and_logged(api, owner):
    token = TokenFactory(owner=owner, revealed_at=None)

    assert refusal(api.get(ME, headers=bearer(token))) == (401, "not_revealed")
    assert only_entry().reason == "not_revealed"


def test_check_3_token_expired_early_is_refused_and_logged(api, owner):
    token = TokenFactory(owner=owner, revoked_at=timezone.now(), revoked_by=owner)

    assert refusal(api.get(ME, headers=bearer(token))) == (401, "revoked")
    assert only_entry().reason == "revoked"


def test_check_3_shorter_maximum_lifetime_blocks_longer_tokens(api, owner):
    token = TokenFactory(owner=owner)
    owner.organization.max_token_lifetime_days = 29
    owner.organization.save()

    assert refusal(api.get(ME, headers=bearer(token))) == (401, "blocked_by_policy")
    assert only_entry().reason == "blocked_by_policy"


def test_check_4_missing_scope_is_refused_and_sufficient_scopes_are_named(api, owner):
    pipeline = PipelineFactory(owner=owner)
    token = TokenFactory(owner=owner, scope="pipeline-readonly")

    answer = api.post("/api/v1/pipeline/run", {"pipelineId": str(pipeline.pk)}, headers=bearer(token))

    assert refusal(answer) == (403, "insufficient_scope")
    assert answer.json()["title"] == "Forbidden"
    assert "api, pipeline" in answer.json()["detail"]
    assert 'scope="api pipeline"' in answer.headers["WWW-Authenticate"]
    assert only_entry().reason == "insufficient_scope"


@pytest.mark.parametrize("scope", ["registry", "API", "api,pipeline", "apipipeline"])
def test_check_4_unknown_scope_allows_nothing(api, owner, scope):
    token = TokenFactory(owner=owner, scope=scope)

    assert refusal(api.get("/api/v1/pipelines", headers=bearer(token))) == (403, "insufficient_scope")


def test_check_5_token_is_limited_by_its_owners_role(api, owner):
    owner.site_role = SiteRole.GUEST
    owner.save()
    pipeline = PipelineFactory(owner=owner)

    answer = api.post(
        "/api/v1/pipeline/run", {"pipelineId": str(pipeline.pk)}, headers=bearer(TokenFactory(owner=owner))
    )

    assert refusal(answer) == (403, "forbidden")
    assert only_entry().reason == "forbidden"


def test_check_5_foreign_and_missing_objects_get_the_same_answer(api, owner, stranger):
    foreign = PipelineFactory(owner=stranger)
    headers = bearer(TokenFactory(owner=owner))
    answers = []
    for pipeline_id in (foreign.pk, "6f1e4ad0-0000-4000-8000-000000000000"):
        answer = api.post("/api/v1/pipeline/summary", {"pipelineId": str(pipeline_id)}, headers=headers)
        body = answer.json()
        del body["request_id"]
        answers.append((answer.status_code, body))

    assert answers[0] == answers[1]
    assert answers[0][0] == 403


def test_role_change_applies_to_the_token_from_the_next_request(api, owner):
    headers = bearer(TokenFactory(owner=owner))
    assert api.get("/api/v1/logs/user/tokens", headers=headers).status_code == 403
    owner.site_role = SiteRole.AUDITOR
    owner.save()

    assert api.get("/api/v1/logs/user/tokens", headers=headers).status_code == 200


def test_one_query_loads_token_owner_and_organization(api, owner, django_assert_num_queries):
    token = TokenFactory(owner=owner, last_used_at=timezone.now(), last_used_ip="127.0.0.1")
    headers = bearer(token)

    # The token with owner and organization, and the log entry.
    with django_assert_num_queries(2):
        assert api.get(ME, headers=headers).status_code == 200
