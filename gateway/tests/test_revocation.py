"""Revocation: a service ends its own tokens, anyone a token that they have, and nobody learns which tokens exist."""

import pytest

from accounts.models import Notification
from auditlog.actions import Action
from auditlog.models import Activity, TokenUse
from gateway.models import Check, Service
from gateway.tests.clients import basic, oauth_error, send
from gateway.tests.factories import ServiceFactory, secret_of
from opsera_portal.tests.mails import delivered
from tokens.leaks.reporting import REPORTS
from tokens.tests.factories import TokenFactory, bearer

ADDRESS = "/oauth/revoke"


@pytest.fixture
def service(owner):
    return ServiceFactory(organization=owner.organization, name="Grafana", slug="grafana", check_by=Check.INTROSPECTION)


@pytest.fixture
def token(owner, service):
    return TokenFactory(owner=owner, service=service, scope="service:grafana:read")


def encoded(token):
    return bearer(token)["Authorization"].removeprefix("Bearer ")


def is_revoked(token):
    token.refresh_from_db()
    return token.revoked_at is not None


def assert_received(answer):
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("way", ["basic", "post"])
def test_service_ends_its_token(api, owner, service, token, way):
    secret = secret_of(service)
    credentials = {"client_id": str(service.pk), "client_secret": secret} if way == "post" else {}

    form = {"token": encoded(token), "token_type_hint": "refresh_token", **credentials}
    assert_received(send(api, ADDRESS, form, {} if credentials else basic(service, secret)))

    assert is_revoked(token)
    entry = Activity.objects.get(action=Action.TOKEN_REVOKED_BY_SERVICE)
    assert (entry.target_id, entry.actor, entry.details["by"]) == (str(token.pk), owner, "Grafana")
    assert Notification.objects.get(person=owner).details["actor"] == "Grafana"
    [mail] = delivered()
    assert mail.to == [owner.email]
    assert "the service “Grafana” expired one of your access tokens early" in mail.body


def test_service_can_end_its_token_however_it_checks_tokens(api, service, token):
    Service.objects.update(check_by=Check.FORWARD_AUTH)

    assert_received(send(api, ADDRESS, {"token": encoded(token)}, basic(service, secret_of(service))))
    assert is_revoked(token)


def test_service_ends_no_other_token_and_learns_nothing(api, owner, service, token, stranger):
    foreign = ServiceFactory(organization=stranger.organization)
    others = [
        TokenFactory(owner=owner),
        TokenFactory(owner=stranger, service=foreign, scope=f"service:{foreign.slug}:read"),
    ]
    secret = secret_of(service)

    for sent in (*map(encoded, others), "a.b.c", "x"):
        assert_received(send(api, ADDRESS, {"token": sent}, basic(service, secret)))
    assert_received(send(api, ADDRESS, {"token": encoded(token)}, basic(foreign, secret_of(foreign))))

    assert not any(map(is_revoked, [token, *others]))
    assert not TokenUse.objects.exists()


def test_ended_token_is_not_ended_again(api, service, token):
    secret = secret_of(service)
    for _ in range(2):
        assert_received(send(api, ADDRESS, {"token": encoded(token)}, basic(service, secret)))

    assert Activity.objects.filter(action=Action.TOKEN_REVOKED_BY_SERVICE).count() == 1


@pytest.mark.parametrize("headers", [{"Authorization": "Basic eDp5"}, {"Authorization": "Bearer x"}])
def test_wrong_credentials_end_nothing(api, token, headers):
    answer = send(api, ADDRESS, {"token": encoded(token)}, headers)

    assert oauth_error(answer) == (401, "invalid_client")
    assert not is_revoked(token)


def test_holder_ends_a_token_without_credentials(api, owner, service, token):
    portal_token = TokenFactory(owner=owner)
    for sent in (encoded(token), encoded(portal_token), "a.b.c"):
        assert_received(send(api, ADDRESS, {"token": sent, "client_id": str(service.pk)}))

    assert all(map(is_revoked, [token, portal_token]))
    assert Activity.objects.filter(action=Action.TOKEN_REPORTED).count() == 2
    assert all("was reported as leaked" in mail.subject for mail in delivered())


def test_token_in_the_header_ends_nothing_and_is_logged(api, owner, token):
    answer = send(api, ADDRESS, {"token": encoded(token)}, bearer(TokenFactory(owner=owner)))

    assert oauth_error(answer) == (401, "invalid_client")
    assert TokenUse.objects.get().status == 401
    assert not is_revoked(token)


def test_reports_of_an_address_are_limited(api, db, time_machine):
    time_machine.move_to("2026-12-01T12:00:01Z", tick=False)
    answers = [send(api, ADDRESS, {"token": "x"}) for _ in range(REPORTS.amount + 1)]

    assert {answer.status_code for answer in answers[:-1]} == {200}
    assert oauth_error(answers[-1]) == (429, "temporarily_unavailable")
    assert int(answers[-1].headers["Retry-After"]) > 0


def test_missing_token_is_an_error(api, service):
    assert oauth_error(send(api, ADDRESS, "")) == (400, "invalid_request")
    assert oauth_error(send(api, ADDRESS, "", basic(service, secret_of(service)))) == (400, "invalid_request")
    assert oauth_error(api.get(ADDRESS)) == (405, "invalid_request")
