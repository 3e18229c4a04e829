"""The test of a service: a call without a token and one with a token that lives for the call, and what each hop did."""

import httpx
import pytest
from django.urls import reverse
from django.utils import timezone

from auditlog.models import TokenUse
from core.db.uuid7 import uuid7
from core.http.fenced_call import CallFailed
from gateway import trial_calls
from gateway.models import Service
from gateway.tests.factories import ServiceFactory
from tokens import jwt
from tokens.models import Token


@pytest.fixture
def service(administrator):
    return ServiceFactory(organization=administrator.organization, name="Grafana", slug="grafana")


@pytest.fixture
def answers(monkeypatch):
    """What the service answers: without a token, and with one. The proxy asks the portal if ``asks`` is true."""
    told = {"without": 401, "with": 200, "asks": True, "sent": []}

    def send(request, *, limit, caller):
        told["sent"].append(request)
        authorization = request.headers.get("Authorization", "")
        if isinstance(told["with"], Exception):
            raise told["with"]
        if authorization and told["asks"]:
            _log(Token.objects.get(pk=jwt.decode(authorization.removeprefix("Bearer ")).token_id))
        return httpx.Response(told["with" if authorization else "without"]), b""

    monkeypatch.setattr(trial_calls.fenced_call, "send", send)
    return told


def _log(token):
    TokenUse.objects.create(
        request_id=uuid7(), at=timezone.now(), token=token, token_name=token.name, scope=token.scope,
        owner=token.owner, owner_email=token.owner.email, organization=token.organization, account="a",
        method="GET", target="/api/x", status=200, outcome="allowed", reason="ok", duration_ms=1, service=token.service,
    )  # fmt: skip


def run(client, person, service, **sent):
    client.force_login(person)
    address = reverse("gateway:organization_service_test", args=[service.pk])
    return client.post(address, {"method": "GET", "path": "/api/x", **sent})


def verdicts(answer):
    return [hop.is_good for hop in answer.context["hops"]]


def test_good_service_is_shown_hop_by_hop_and_the_token_ends(client, administrator, service, answers):
    answer = run(client, administrator, service)

    assert verdicts(answer) == [True] * 5
    token = Token.objects.get()
    assert (token.service, token.scope) == (service, "service:grafana:read service:grafana:write")
    assert token.revoked_at is not None
    assert [str(request.url) for request in answers["sent"]] == ["https://grafana.example.com/api/x"] * 2
    assert answers["sent"][1].headers["Authorization"].removeprefix("Bearer ") not in answer.content.decode()


@pytest.mark.parametrize(
    ("told", "bad", "says"),
    [
        ({"without": 200}, 1, "answers everybody"),
        ({"with": 403}, 2, "403"),
        ({"asks": False}, 3, "Nobody asked the portal"),
        ({"with": CallFailed("No connection.")}, 1, "No connection."),
    ],
)
def test_what_is_wrong_is_said_where_it_happens(client, administrator, service, answers, told, bad, says):
    answers.update(told)

    answer = run(client, administrator, service)

    assert verdicts(answer)[bad] is False
    assert says in answer.content.decode()
    assert Token.objects.get().revoked_at is not None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"address": ""}, "no address"),
        ({"site_roles": ""}, "Give yourself access first"),
        ({"is_enabled": False}, "Give yourself access first"),
        ({"needs_approval": True}, "need approval"),
        ({"scopes": []}, "scope"),
    ],
)
def test_service_that_cannot_be_tested_makes_no_token(client, administrator, service, answers, changes, says):
    Service.objects.update(**changes)

    answer = run(client, administrator, service)

    assert answer.status_code == 400
    assert says in answer.content.decode()
    assert not Token.objects.exists()
    assert answers["sent"] == []


@pytest.mark.parametrize("path", ["", "api", "/" + "a" * 3000, "/a\x00b", "//evil.example/"])
def test_wrong_path_is_refused_or_stays_on_the_host(client, administrator, service, answers, path):
    run(client, administrator, service, path=path)

    assert {request.url.host for request in answers["sent"]} <= {"grafana.example.com"}


def test_only_administrators_test(client, member, stranger, service, answers):
    assert run(client, member, service).status_code == 403
    assert run(client, stranger, service).status_code in (403, 404)
    assert answers["sent"] == []
