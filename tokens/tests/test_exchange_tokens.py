"""CI jobs exchange their identity for a short token."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from ipaddress import ip_network
from urllib.parse import urlencode

import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.tests.factories import OrganizationFactory, ServiceAccountFactory
from auditlog.models import Activity
from pipelines.tests.factories import PipelineFactory
from tokens.models import Token, TrustRefusals
from tokens.tests.factories import TrustRuleFactory
from tokens.tests.issuers import github, gitlab, key_of, running_issuer
from tokens.trust import exchange, keys
from tokens.trust.patterns import clean_patterns, is_pattern, matches

FORM = "application/x-www-form-urlencoded"
EXCHANGE = "/api/v1/token-exchange"
BODY = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
}


@pytest.fixture(scope="module")
def running():
    with running_issuer() as found:
        yield found


@pytest.fixture
def issuer(running, settings, db):
    settings.HTTP_STEP_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32"), ip_network("::1/128")]
    settings.OIDC_ORGANIZATION_HOSTS = ()
    running.asked.clear()
    running.config, running.kids = {}, ["RS256", "PS256", "ES256", "EdDSA"]
    cache.clear()
    return running


@pytest.fixture
def account(db):
    return ServiceAccountFactory(name="Deployer", site_role="user")


@pytest.fixture
def rule(issuer, account):
    claims = {"repository": "acme/shop", "ref": "refs/heads/*"}
    return TrustRuleFactory(account=account, issuer=issuer.issuer, name="shop", claims=claims, scope="api pipeline")


def send(api, subject_token, **extra):
    return api.post(EXCHANGE, {**BODY, "subject_token": subject_token, **extra})


def refusal(api, subject_token, **extra):
    answer = send(api, subject_token, **extra)
    assert answer.headers["Cache-Control"] == "no-store"
    assert not Token.objects.exists()
    return answer.status_code, answer.json()["error"], answer.json()["error_description"]


def entries(action="token.exchange_refused"):
    return list(Activity.objects.filter(action=action).order_by("id"))


@pytest.mark.each_database
def test_job_of_github_gets_a_short_token_of_the_service_account(api, client, issuer, rule):
    subject_token = issuer.sign(github())
    answer = send(api, subject_token, scope="pipeline")

    body = answer.json()
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    assert {**body, "access_token": "", "expires_in": 0} == {
        "access_token": "",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "token_type": "Bearer",
        "expires_in": 0,
        "scope": "pipeline",
    }
    assert 890 <= body["expires_in"] <= 900
    me = api.get("/api/v1/me", headers={"Authorization": f"Bearer {body['access_token']}"})
    token = Token.objects.get()
    assert me.status_code == 200
    assert (token.owner, token.name, token.scope) == (rule.account, "shop 9231", "pipeline")
    listed = api.get("/api/v1/pipelines", headers={"Authorization": f"Bearer {body['access_token']}"})
    assert listed.status_code == 200
    (entry,) = entries("token.exchanged")
    assert (entry.actor, entry.organization) == (rule.account, rule.organization)
    assert entry.details["claims"]["repository"] == ["acme/shop"]
    assert entry.details["claims"]["sub"] == ["repo:acme/shop:ref:refs/heads/main"]
    assert subject_token not in str(entry.details)

    # Exchanged again, it is refused. The next run's token has another name, also from a form.
    assert send(api, subject_token).json()["error_description"] == exchange.TEXTS[exchange.REPLAYED]
    form = {**BODY, "subject_token": issuer.sign(github()), "audience": rule.organization.slug, "unknown": "ignored"}
    answer = client.post(EXCHANGE, urlencode(form), content_type=FORM)
    assert (answer.status_code, answer.json()["scope"]) == (200, "api pipeline")
    assert sorted(Token.objects.values_list("name", flat=True)) == ["shop 9231", "shop 9231 2"]
    # One call for discovery and one for the keys serve all of them.
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


def test_job_of_gitlab_gets_a_token_with_each_accepted_algorithm(api, issuer, account):
    pipeline = PipelineFactory(owner=account)
    TrustRuleFactory(
        account=account,
        issuer=issuer.issuer,
        claims={"project_path": "acme/*", "ref_protected": "true"},
        # One of them was deleted.
        pipeline_ids=[str(pipeline.pk), "0190a1b2-0000-7000-8000-000000000000"],
    )
    for algorithm in ("RS256", "PS256", "ES256", "EdDSA"):
        answer = send(api, issuer.sign(gitlab(jti=None), algorithm=algorithm))
        assert answer.status_code == 200, answer.json()
    assert [token.pipeline_ids for token in Token.objects.all()] == [[pipeline.pk]] * 4


def test_forged_and_wrong_subject_tokens_are_refused(api, issuer, rule):
    now = int(time.time())
    public = key_of("RS256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    claims = jwt.decode(issuer.sign(github()), options={"verify_signature": False})
    none = jwt.encode(claims, None, algorithm="none", headers={"kid": "RS256"})
    # PyJWT refuses to sign with a public key.
    hs256 = jwt.encode(claims, public.hex(), algorithm="HS256", headers={"kid": "RS256"})
    unknown = exchange._UNKNOWN
    texts = exchange.TEXTS
    for subject_token, expected in (
        (none, texts["algorithm"]),
        (hs256, texts["algorithm"]),
        (issuer.sign(github(), headers={"crit": ["x"], "x": 1}), texts["algorithm"]),
        (issuer.sign(github(), key=stranger), unknown),
        # The key of another algorithm.
        (issuer.sign(github(), algorithm="PS256", kid="RS256"), unknown),
        (issuer.sign(github(), algorithm="RS256", kid="ES256"), unknown),
        (issuer.sign(github(iss="https://token.actions.githubusercontent.com")), unknown),
        (issuer.sign(github(aud="https://other.example.com")), texts["audience"]),
        (issuer.sign(github(exp=now - 120)), texts["expired"]),
        (issuer.sign(github(nbf=now + 120)), texts["not_yet"]),
        (issuer.sign(github(iat=now - 3700)), texts["too_old"]),
        (issuer.sign(github(iat=None)), texts["malformed"]),
        (issuer.sign(github(exp=None)), texts["malformed"]),
        (issuer.sign(github(sub=None)), texts["malformed"]),
        (issuer.sign(github(repository="acme/shop-2")), texts["claims"]),
        (issuer.sign(github(ref="refs/heads/main/x")), texts["claims"]),
        (issuer.sign(github(ref="refs/tags/main")), texts["claims"]),
        ("a.b.c", texts["malformed"]),
        ("\x00", "subject_token: Null characters are not allowed."),
    ):
        status, error, text = refusal(api, subject_token)
        assert (status, error, text) == (400, "invalid_request", expected)
    # An unknown key id is looked up once a minute.
    before = len(issuer.asked)
    refusal(api, issuer.sign(github(), kid="unknown"))
    assert len(issuer.asked) == before
    with time_machine.travel(timezone.now() + timedelta(seconds=61), tick=False):
        refusal(api, issuer.sign(github(), kid="unknown"))
        refusal(api, issuer.sign(github(), kid="unknown too"))
    assert len(issuer.asked) == before + 2
    # An issuer whose discovery document names another one is not trusted.
    cache.clear()
    issuer.config = {"issuer": "https://other.example.com"}
    assert refusal(api, issuer.sign(github()))[:2] == (503, "temporarily_unavailable")


def test_rule_service_account_policy_and_scope_limit_the_exchange(api, issuer, rule, account):
    texts, sign = exchange.TEXTS, issuer.sign
    assert refusal(api, sign(github()), scope="api-readonly") == (400, "invalid_scope", texts["scope"])
    assert refusal(api, sign(github()), audience="other")[2] == exchange._UNKNOWN
    home = rule.organization
    home.allowed_scopes = "api-readonly"
    home.save()
    assert refusal(api, sign(github())) == (400, "invalid_scope", texts["policy"])
    home.allowed_scopes = "pipeline"
    home.save()
    home.orphaned_service_tokens_end_after_days = 7
    home.save()
    account.orphaned_at = timezone.now() - timedelta(days=8)
    account.save()
    assert refusal(api, sign(github()))[2] == texts["orphaned"]
    account.orphaned_at = None
    account.is_active = False
    account.save()
    assert refusal(api, sign(github()))[2] == texts["service_account"]
    account.is_active = True
    account.save()
    rule.is_enabled = False
    rule.save()
    assert refusal(api, sign(github()))[2] == exchange._UNKNOWN
    rule.is_enabled = True
    rule.save()
    # The same rule of another organization doesn't decide by itself, and its token is never given to these jobs.
    other = ServiceAccountFactory(organization=OrganizationFactory())
    TrustRuleFactory(account=other, issuer=issuer.issuer, claims={"repository": "acme/*"})
    assert refusal(api, sign(github()))[2] == texts["several"]
    answer = send(api, sign(github()), audience=home.slug)
    assert (answer.status_code, answer.json()["scope"]) == (200, "pipeline")
    assert Token.objects.get().owner == account


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_shared", [False, True], ids=["one organization", "two organizations"])
def test_of_two_exchanges_of_a_subject_token_at_once_one_is_refused(issuer, rule, is_shared):
    """Two organizations share no lock: only the constraint decides between them."""
    homes = [rule.organization] * 2
    if is_shared:
        homes[1] = OrganizationFactory(slug="second")
        TrustRuleFactory(account=ServiceAccountFactory(organization=homes[1]), issuer=issuer.issuer)
    # The issuer's keys are fetched before.
    keys.find_key(issuer.issuer, "RS256")
    subject_token, together = issuer.sign(github()), threading.Barrier(2)

    def attempt(home):
        try:
            together.wait()
            return send(APIClient(), subject_token, audience=home.slug)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(attempt, homes))

    assert sorted(answer.status_code for answer in answers) == [200, 400]
    [(won, by), (lost, refused)] = sorted(zip(answers, homes, strict=True), key=lambda pair: pair[0].status_code)
    assert lost.json()["error_description"] == exchange.TEXTS[exchange.REPLAYED]
    assert Token.objects.get().organization == by
    assert "access_token" in won.json()
    assert [entry.organization for entry in entries("token.exchanged")] == [by]
    assert [(entry.organization, entry.details["count"]) for entry in entries()] == [(refused, 1)]


def test_refusals_have_one_entry_a_minute_with_their_number(api, issuer, rule):
    for _ in range(3):
        send(api, issuer.sign(github(repository="acme/other")))
    send(api, issuer.sign(github(), key=rsa.generate_private_key(public_exponent=65537, key_size=2048)))

    first, second = entries()
    assert (first.details["count"], first.details["reason"]) == (1, exchange.TEXTS["claims"])
    assert (first.details["claim"], first.details["claims"]["repository"]) == ("repository", ["acme/other"])
    assert (second.organization, second.details["claims"]) == (rule.organization, {})
    with time_machine.travel(timezone.now() + timedelta(seconds=61), tick=False):
        exchange.log_waiting_refusals()
    assert [entry.details["count"] for entry in entries()] == [1, 1, 2]
    assert not TrustRefusals.objects.filter(count__gt=0).exists()


def test_requests_are_checked_and_limited(api, client, issuer, rule, monkeypatch):
    good = issuer.sign(github())
    answer = api.post(EXCHANGE, {**BODY, "subject_token": good, "grant_type": "password"})
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")
    for body in ({}, {**BODY, "subject_token": "x" * 9000}, {**BODY, "subject_token": good, "subject_token_type": "x"}):
        assert api.post(EXCHANGE, body).json()["error"] == "invalid_request"
    twice = client.post(EXCHANGE, urlencode({**BODY, "subject_token": [good, good]}, doseq=True), content_type=FORM)
    assert (twice.status_code, twice.json()["error"]) == (400, "invalid_request")
    assert good not in twice.content.decode()
    assert api.post(EXCHANGE, "x", content_type="text/plain").json()["error"] == "invalid_request"
    assert issuer.asked == []
    monkeypatch.setattr(exchange, "MOST_LIVE", 0)
    assert refusal(api, good)[1] == "temporarily_unavailable"
    monkeypatch.setattr(exchange, "FROM_ADDRESS", exchange.Limit("test-exchange", amount=0, seconds=60))
    answer = send(api, good)
    assert (answer.status_code, answer.json()["error"]) == (429, "temporarily_unavailable")
    assert answer.headers["Retry-After"]


def test_fence_and_the_operators_hosts_decide_which_issuers_are_asked(api, issuer, rule, settings):
    settings.HTTP_STEP_ALLOWED_NETWORKS = []
    assert refusal(api, issuer.sign(github()))[:2] == (503, "temporarily_unavailable")
    assert issuer.asked == []
    settings.OIDC_ORGANIZATION_HOSTS = ("id.example.com",)
    assert not keys.may_ask("https://token.actions.githubusercontent.com")
    assert keys.may_ask("https://id.example.com/keys")
    assert not keys.may_ask("http://id.example.com/keys")


def test_wildcards_stay_within_their_segment():
    assert matches("repo:acme/*:ref:refs/heads/*", "repo:acme/shop:ref:refs/heads/main")
    assert matches("release-*", "release-1.0")
    for pattern, value in (
        ("repo:acme/*", "repo:acme/shop:ref:refs/heads/main"),
        ("refs/heads/*", "refs/heads/a/b"),
        ("acme/*", "acme/"),
        ("acme/*", "acme-evil/shop"),
        ("acme/shop", "acme/shop\n"),
        ("a.c", "abc"),
        ("Main", "main"),
    ):
        assert not matches(pattern, value)
    assert not any(map(is_pattern, ("*main", "re*o:acme", "**", "a/*b/c")))
    for wrong in ({}, {"ref": "*main"}, {"ref": "*"}, {"": "x"}, {"ref": "\x00"}, {"ref": "x" * 201}):
        with pytest.raises(ValidationError):
            clean_patterns(wrong)
