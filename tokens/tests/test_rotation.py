"""A token that replaces itself, and a replaced token that tries it again."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from rest_framework.test import APIClient

from accounts.models import Notification
from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog.models import Activity, TokenUse
from core.api.operations import routes
from core.api.scopes import ROTATE as ROTATE_SCOPE
from core.models import OutgoingMail
from opsera_portal.tests.mails import delivered
from pipelines.models import TokenPipeline
from pipelines.tests.factories import PipelineFactory
from tokens import replacement, services
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer, now_in_seconds

ROTATE, ME = "/api/v1/tokens/current/rotate", "/api/v1/me"
HERE, ELSEWHERE = "203.0.113.7", "198.51.100.9"


@pytest.fixture
def token(owner):
    return TokenFactory(owner=owner, name="weekly", description="For CI", scope="pipeline tokens:rotate")


def rotate(headers, *, ip=HERE, key=None, **body):
    extra = {"HTTP_IDEMPOTENCY_KEY": key} if key else {}
    return APIClient().post(ROTATE, body, format="json", headers=headers, REMOTE_ADDR=ip, **extra)


def ask(headers):
    """The code of the refusal, or none."""
    return APIClient().get(ME, headers=headers, REMOTE_ADDR=HERE).json().get("code")


def of(answer):
    """The headers of a request with the token that the answer shows."""
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def actions():
    return list(Activity.objects.order_by("id").values_list("action", flat=True))


# Rotating


def test_scope_opens_one_operation_and_no_other_scope_opens_it():
    opened = [route for route in routes() if ROTATE_SCOPE in route.operation.scopes]

    assert [(route.method, route.path, route.operation.scopes) for route in opened] == [
        ("POST", ROTATE, (ROTATE_SCOPE,))
    ]


@pytest.mark.each_database
def test_token_replaces_itself_by_one_that_can_do_the_same_for_as_long(owner):
    pipeline = PipelineFactory(owner=owner)
    start = now_in_seconds() - timedelta(days=6)
    token = TokenFactory(
        owner=owner,
        name="weekly",
        description="For CI",
        scope="pipeline tokens:rotate",
        networks="203.0.113.0/24",
        is_limited=True,
        created_at=start,
        expires_at=start + timedelta(days=7),
    )
    TokenPipeline.objects.create(token=token, pipeline=pipeline)
    headers = bearer(token)

    answer = rotate(headers)

    body = answer.json()
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    token.refresh_from_db()
    new = Token.objects.get(pk=body["id"])
    copied = ("owner", "name", "description", "scope", "networks", "is_limited", "pipeline_ids", "max_uses", "lifetime")
    assert [getattr(new, field) for field in copied] == [getattr(token, field) for field in copied]
    assert (token.replaced_by, token.replaced_at is not None) == (new, True)
    # Without an overlap, the old one has ended, and the answer says so.
    assert (ask(headers), ask(of(answer))) == ("revoked", None)
    assert f'{new.pk}/>; rel="successor-version"' in answer.headers["Link"]
    assert actions() == ["token.issued", "token.replaced", "token.revoked", "token.revealed"]
    assert set(Activity.objects.values_list("token_id", flat=True)) == {token.pk}
    assert TokenUse.objects.order_by("id").first().status == 201
    # The chosen pipelines and networks still bind, also the next successor.
    assert rotate(of(answer), ip=ELSEWHERE).json()["code"] == "network_not_allowed"
    again = rotate(of(answer))
    assert Token.objects.get(pk=again.json()["id"]).pipeline_ids == [pipeline.pk]


def test_lifetime_stays_the_same_when_a_second_ends_meanwhile(owner, monkeypatch):
    token = TokenFactory(owner=owner, scope="pipeline tokens:rotate")
    monkeypatch.setattr(services, "now_in_seconds", lambda: now_in_seconds() + timedelta(seconds=1))

    new = Token.objects.get(pk=rotate(bearer(token)).json()["id"])

    assert new.lifetime == token.lifetime


def test_overlap_is_chosen_and_at_most_what_the_policy_allows(organization, token):
    organization.max_replacement_overlap_hours, organization.max_token_lifetime_days = 2, 30
    organization.save()
    Token.objects.filter(pk=token.pk).update(expires_at=token.created_at + timedelta(days=30))
    headers = bearer(token)

    for hours in (3, 169, -1, "x", None, 1.5, True, []):
        refused = rotate(headers, overlap_hours=hours)
        assert (refused.status_code, list(refused.json()["errors"])) == (400, ["overlap_hours"])
    assert rotate(headers, overlap_hours=3).json()["errors"]["overlap_hours"] == [
        "Your organization allows 2 hours at most: choose 0 to 2."
    ]
    assert rotate(headers, unknown=1).status_code == 400
    assert Token.objects.count() == 1

    organization.max_token_lifetime_days = 31
    organization.save()
    answer = rotate(headers, overlap_hours=2)

    token.refresh_from_db()
    assert token.expires_at - now_in_seconds() <= timedelta(hours=2)
    assert Token.objects.get(pk=answer.json()["id"]).lifetime == timedelta(days=30)
    # An ordinary call in the overlap is no reuse.
    assert (ask(headers), ask(of(answer))) == (None, None)


@pytest.mark.parametrize("role", SiteRole.values)
def test_every_role_rotates_and_no_other_scope_includes_it(organization, client, role):
    person = UserFactory(organization=organization, site_role=role)
    others = "api api-readonly pipeline pipeline-readonly security-logs"

    refused = rotate(bearer(TokenFactory(owner=person, scope=others)))
    answer = rotate(bearer(TokenFactory(owner=person, scope="tokens:rotate")))

    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert "tokens:rotate" in refused.json()["detail"]
    assert answer.status_code == 201
    # It opens nothing else, and no other way to a token.
    assert APIClient().get("/api/v1/tokens", headers=of(answer)).status_code == 403
    for route in ("/api/v1/tokens", f"/api/v1/tokens/{answer.json()['id']}/replace"):
        assert APIClient().post(route, {}, format="json", headers=of(answer)).status_code == 403
    client.force_login(person)
    assert client.post(ROTATE, {}, "application/json").status_code == 403


def test_what_the_owner_could_not_replace_is_not_rotated(organization, owner):
    used_up = rotate(bearer(TokenFactory(owner=owner, scope="tokens:rotate", max_uses=9)))
    assert (used_up.status_code, used_up.json()["code"]) == (409, "limited_uses")
    nowhere = rotate(bearer(TokenFactory(owner=owner, scope="tokens:rotate", is_limited=True)))
    assert list(nowhere.json()["errors"]) == ["pipelines"]
    ended = TokenFactory(owner=owner, scope="tokens:rotate")
    services.revoke_token(actor=owner, token=ended)
    assert rotate(bearer(ended)).json()["code"] == "revoked"
    organization.allowed_scopes = "api"
    organization.save()
    assert rotate(bearer(TokenFactory(owner=owner, scope="api tokens:rotate"))).json()["code"] == "blocked_by_policy"

    assert not Token.objects.filter(replaced_at__isnull=False).exists()
    assert "token.ended_by_reuse" not in actions()


# Reuse


@pytest.mark.each_database
@pytest.mark.parametrize("overlap", [0, 24], ids=["ended", "in its overlap"])
def test_reuse_ends_the_whole_family_and_tells_the_owner(token, overlap):
    first = bearer(token)
    answers = [rotate(first, overlap_hours=overlap)]
    answers += [rotate(of(answers[0]), overlap_hours=24)]
    neighbor = TokenFactory(owner=token.owner, scope="tokens:rotate")
    second, third = map(of, answers)
    if overlap:
        # With an overlap, the reused token is the last but one: replacing the new one has ended the first.
        first = second

    refused = rotate(first, ip=ELSEWHERE)

    expected = (409, "token_reused") if overlap else (401, "token_reused")
    assert (refused.status_code, refused.json()["code"]) == expected
    assert (ask(second), ask(third), ask(bearer(neighbor))) == ("revoked", "revoked", None)
    last = TokenUse.objects.filter(reason="token_reused").get()
    assert (last.status, last.ip, last.outcome) == (expected[0], ELSEWHERE, "refused")
    entries = Activity.objects.filter(action="token.ended_by_reuse")
    assert {entry.target_id for entry in entries} == {answer.json()["id"] for answer in answers}
    assert {(entry.actor, entry.ip) for entry in entries} == {(token.owner, ELSEWHERE)}
    (mail,) = delivered()
    assert mail.to == [token.owner.email]
    assert all(text in mail.body for text in (ELSEWHERE, "weekly", "What to do"))
    # The portal tells nothing about each replacement by the script.
    told = Notification.objects.filter(person=token.owner)
    assert sorted(told.values_list("kind", flat=True)) == ["reused", "reused"]
    # Once more: still the same answer, and nothing happens.
    assert rotate(first).json()["code"] == "token_reused"
    assert OutgoingMail.objects.count() == 1
    assert entries.count() == 2


def test_token_that_its_owner_replaced_is_reused_too_but_only_with_the_scope(owner, token):
    plain = TokenFactory(owner=owner, scope="api")
    for each in (token, plain):
        new = replacement.replace_token(actor=owner, token=each, overlap_hours=24)
        services.reveal_token(actor=owner, token=new)

    assert rotate(bearer(plain)).json()["code"] == "insufficient_scope"
    assert rotate(bearer(token)).json()["code"] == "token_reused"

    live = set(Token.objects.live().values_list("name", flat=True))
    assert live == {plain.name}


def test_request_that_is_repeated_with_its_key_is_refused_without_consequences(token):
    headers = bearer(token)
    answer = rotate(headers, key="k1")

    assert rotate(headers, key="k1").json()["code"] == "revoked"
    assert ask(of(answer)) is None

    in_overlap = rotate(of(answer), key="k2", overlap_hours=1)
    assert rotate(of(answer), key="k2", overlap_hours=1).json()["code"] == "already_shown"
    assert ask(of(in_overlap)) is None

    # Another key, or none that can be read, is another request.
    assert rotate(headers, key="k 3").json()["code"] == "token_reused"
    assert ask(of(in_overlap)) == "revoked"


def test_key_of_another_request_does_not_hide_a_reuse(owner, token):
    limited = TokenFactory(owner=owner, scope="pipeline tokens:rotate", is_limited=True)
    TokenPipeline.objects.create(token=limited, pipeline=PipelineFactory(owner=owner))
    first = of(rotate(bearer(limited), key="k0"))
    assert rotate(bearer(limited), key="k0").json()["code"] == "revoked"
    assert ask(first) is None

    body = {"name": "Created"}
    creator = bearer(TokenFactory(owner=owner)) | {"Idempotency-Key": "k1"}
    assert APIClient().post("/api/v1/pipelines", body, format="json", headers=creator).status_code == 201
    new = of(rotate(bearer(token)))
    assert rotate(bearer(token), key="k1").json()["code"] == "token_reused"
    assert ask(new) == "revoked"


def test_reuse_long_after_the_end_still_counts(token):
    first = bearer(token)
    answer = rotate(first)
    for _ in range(3):
        answer = rotate(of(answer))

    with time_machine.travel(now_in_seconds() + timedelta(days=29), tick=False):
        assert rotate(first).json()["code"] == "token_reused"
        assert ask(of(answer)) == "revoked"


@pytest.mark.django_db(transaction=True)
@pytest.mark.each_database
def test_of_two_requests_at_once_one_rotates_and_the_other_ends_the_family(token):
    headers = bearer(token)

    def attempt(_):
        try:
            return rotate(headers, overlap_hours=1)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        answers = sorted(threads.map(attempt, range(2)), key=lambda answer: answer.status_code)

    assert [answer.status_code for answer in answers] == [201, 409]
    assert answers[1].json()["code"] == "token_reused"
    assert not Token.objects.live().exists()
    assert Token.objects.count() == 2
    assert sorted(TokenUse.objects.values_list("reason", flat=True)) == ["ok", "token_reused"]
    assert (ask(headers), ask(of(answers[0]))) == ("revoked", "revoked")


@pytest.mark.django_db(transaction=True)
@pytest.mark.each_database
def test_successor_that_rotates_while_the_family_ends_does_not_escape(token):
    first = bearer(token)
    second = of(rotate(first, overlap_hours=1))

    def attempt(headers):
        try:
            return rotate(headers, overlap_hours=1)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        reuse, last = threads.map(attempt, [first, second])

    # Either the successor was ended before it could rotate, or what it created was ended too. If the successor was
    # first, replacing it had ended the reused token already.
    assert (reuse.json()["code"], last.status_code in {201, 401, 409}) == ("token_reused", True)
    assert not Token.objects.live().exists()
