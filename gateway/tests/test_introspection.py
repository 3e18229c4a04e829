"""Introspection: which services may ask, what they are told about a token, and what is logged."""

import base64
from datetime import timedelta
from urllib.parse import urlencode

import jwt as pyjwt
import pytest
from django.db import DatabaseError
from django.utils import timezone

from accounts.tests.factories import GroupFactory
from auditlog.models import TokenUse
from core.setting_readers import Rate
from gateway.models import Check, Service, ServiceCredential
from gateway.secrets import PATTERN
from gateway.tests.clients import basic, oauth_error, send
from gateway.tests.factories import ServiceFactory, secret_of
from tokens import jwt, services
from tokens.keys.ring import key_ring
from tokens.tests.factories import TokenFactory, bearer

ADDRESS = "/oauth/introspect"
INACTIVE = {"active": False}
AS_JWT = {"Accept": "application/token-introspection+jwt"}


@pytest.fixture
def service(owner):
    return ServiceFactory(organization=owner.organization, slug="grafana", check_by=Check.INTROSPECTION)


@pytest.fixture
def secret(service):
    return secret_of(service)


@pytest.fixture
def token(owner, service):
    return token_for(service, owner)


def token_for(service, owner, **values):
    return TokenFactory(owner=owner, service=service, scope=f"service:{service.slug}:read", **values)


def encoded(token):
    return bearer(token)["Authorization"].removeprefix("Bearer ")


def ask(api, service, secret, token, headers=None, **more):
    sent = {"token": token if isinstance(token, str) else encoded(token), **more}
    return send(api, ADDRESS, sent, {**basic(service, secret), **(headers or {})})


def logged():
    return [(entry.service_id, entry.status, entry.reason) for entry in TokenUse.objects.order_by("id")]


def test_scope_that_the_service_has_lost_is_not_said(api, service, secret, token):
    Service.objects.update(scopes=[])

    assert ask(api, service, secret, token).json()["scope"] == ""


def test_good_token_is_described_and_logged(api, owner, service, secret, token, settings):
    group = GroupFactory(organization=owner.organization, name="Ops, Zürich")
    group.members.add(owner)

    answer = ask(api, service, secret, token, token_type_hint="access_token")

    claims = jwt.claims_of(token)
    assert answer.json() == {
        "active": True,
        "scope": "service:grafana:read",
        "client_id": str(service.pk),
        "username": owner.email,
        "token_type": "Bearer",
        **{name: claims[name] for name in ("exp", "iat", "nbf")},
        "sub": str(owner.pk),
        "aud": service.audience,
        "iss": settings.TOKEN_ISSUER,
        "jti": str(token.pk),
        "account": owner.organization.slug,
        "name": owner.name,
        "site_role": owner.site_role,
        "groups": ["Ops, Zürich"],
    }
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert not {"RateLimit", "Sunset"} & set(answer.headers)
    entry = TokenUse.objects.get()
    assert (entry.token, entry.service, entry.method, entry.target) == (token, service, "POST", ADDRESS)
    assert (entry.status, entry.reason, entry.ip) == (200, "ok", "127.0.0.1")


def test_secret_can_be_in_the_body(api, service, secret, token):
    form = {"token": encoded(token), "client_id": str(service.pk), "client_secret": secret}

    assert send(api, ADDRESS, form).json()["active"] is True
    assert logged() == [(service.pk, 200, "ok")]


@pytest.mark.parametrize("check_by", [Check.STATUS_LIST, Check.FORWARD_AUTH])
def test_services_of_other_kinds(api, service, secret, token, check_by):
    Service.objects.update(check_by=check_by)
    answer = ask(api, service, secret, token)

    if check_by == Check.STATUS_LIST:
        assert answer.json()["active"] is True
    else:
        assert oauth_error(answer) == (400, "unauthorized_client")
        assert not TokenUse.objects.exists()


# Who may ask


WRONG = {
    "wrong secret": lambda service, secret: basic(service, secret[:-1] + "!"),
    "secret of another service": lambda service, secret: basic(service, secret_of(ServiceFactory())),
    "unknown service": lambda service, secret: basic(ServiceFactory.build(), secret),
    "no id": lambda service, secret: {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"},
    "not base64": lambda service, secret: {"Authorization": "Basic ä:ö"},
    "not UTF-8": lambda service, secret: {"Authorization": "Basic /////w=="},
    "NUL": lambda service, secret: {"Authorization": f"Basic {base64.b64encode(b'a:b' + bytes(1)).decode()}"},
    "token": lambda service, secret: {"Authorization": f"Bearer {secret}"},
    "nothing": lambda service, secret: {},
}


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
def test_strangers_all_get_the_same(api, service, secret, token, headers):
    answer = send(api, ADDRESS, {"token": encoded(token)}, headers(service, secret))

    assert oauth_error(answer) == (401, "invalid_client")
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert answer.json()["error_description"] == "The client id or the client secret is wrong."
    assert not TokenUse.objects.exists()
    assert ServiceCredential.objects.get(service=service).last_used_at is None


def test_service_that_is_switched_off_is_a_stranger(api, service, secret, token):
    Service.objects.update(is_enabled=False)

    assert oauth_error(ask(api, service, secret, token)) == (401, "invalid_client")


def test_replaced_secret_works_until_it_ends(api, service, token):
    now = timezone.now()
    overlapping = secret_of(service, ends_at=now + timedelta(hours=1))
    ended = secret_of(service, ends_at=now)
    current = secret_of(service)

    assert ask(api, service, current, token).json()["active"] is True
    assert ask(api, service, overlapping, token).json()["active"] is True
    assert oauth_error(ask(api, service, ended, token)) == (401, "invalid_client")


def test_strangers_are_counted_by_address_and_services_are_not(api, service, secret, token, settings):
    settings.API_LIMIT_ADDRESS = Rate(2, 60)
    answers = [ask(api, service, "opc_guess", token) for _ in range(3)]

    assert [oauth_error(answer)[0] for answer in answers] == [401, 401, 429]
    assert oauth_error(answers[-1])[1] == "temporarily_unavailable"
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert ask(api, service, secret, token).json()["active"] is True


def test_tokens_that_are_not_genuine_do_not_lock_the_service_out(api, service, secret, token, settings):
    settings.API_LIMIT_ADDRESS = Rate(2, 60)
    assert [ask(api, service, secret, "a.b.c").json() for _ in range(4)] == [INACTIVE] * 4

    assert ask(api, service, secret, token).json()["active"] is True


def test_use_of_the_secret_is_noted_once_a_minute(api, service, secret, token):
    ask(api, service, secret, token)
    first = ServiceCredential.objects.get().last_used_at
    ask(api, service, secret, token)

    assert ServiceCredential.objects.get().last_used_at == first is not None


def test_secret_and_token_are_not_logged(api, service, secret, token, caplog):
    ask(api, service, secret, token, client_secret=secret)
    ask(api, service, secret + "x", token)
    ask(api, service, secret, encoded(token) + "x")

    assert PATTERN.fullmatch(secret)
    assert "could not prove who it is" in caplog.text
    assert not any(part in caplog.text for part in (secret, encoded(token)[:40], "Basic"))


def test_token_in_the_header_is_refused_and_logged(api, service, secret, token):
    answer = send(api, ADDRESS, {"token": "x", "client_id": str(service.pk)}, bearer(token))

    assert oauth_error(answer) == (401, "invalid_client")
    assert logged() == [(None, 401, "forbidden")]


# Which tokens are good


BAD = {
    "revoked": {"revoked_at": timezone.now()},
    "expired": {"created_at": timezone.now() - timedelta(days=40)},
    "not_revealed": {"revealed_at": None},
    "not_started": {"not_before": timezone.now() + timedelta(hours=1)},
}


@pytest.mark.parametrize(("reason", "values"), BAD.items(), ids=BAD)
def test_token_that_does_not_work_is_inactive(api, owner, service, secret, reason, values):
    answer = ask(api, service, secret, token_for(service, owner, **values))

    assert (answer.status_code, answer.json()) == (200, INACTIVE)
    assert not {"RateLimit", "Sunset"} & set(answer.headers)
    assert logged() == [(service.pk, 401, reason)]


def test_early_end_acts_at_once(api, owner, service, secret, token):
    assert ask(api, service, secret, token).json()["active"] is True
    services.revoke_token(actor=owner, token=token)

    assert ask(api, service, secret, token).json() == INACTIVE


def test_token_of_the_portal_or_another_service_is_inactive(api, owner, service, secret, stranger):
    foreign = ServiceFactory(organization=stranger.organization, check_by=Check.INTROSPECTION)
    tokens = [
        TokenFactory(owner=owner),
        token_for(ServiceFactory(organization=owner.organization), owner),
        token_for(foreign, stranger),
    ]

    assert [ask(api, service, secret, token, client_ip="192.0.2.1").json() for token in tokens] == [INACTIVE] * 3
    assert logged() == [(None, 401, "wrong_audience")] * 3
    assert set(TokenUse.objects.values_list("ip", flat=True)) == {"127.0.0.1"}


@pytest.mark.parametrize("sent", ["a.b.c", "x" * 5000, "ä", "Bearer a.b.c", "null"])
def test_text_that_is_no_token_is_inactive(api, service, secret, sent):
    assert ask(api, service, secret, sent).json() == INACTIVE
    assert not TokenUse.objects.exists()


def test_owner_who_lost_access_is_inactive(api, service, secret, token):
    Service.objects.update(site_roles="guest")

    assert ask(api, service, secret, token).json() == INACTIVE
    assert logged() == [(service.pk, 403, "forbidden")]


def test_counted_use_is_taken_once_and_the_last_one_has_not_expired(api, owner, service, secret):
    token = token_for(service, owner, max_uses=1)
    answer = ask(api, service, secret, token).json()

    assert answer["active"] is True
    assert answer["exp"] > timezone.now().timestamp()
    assert ask(api, service, secret, token).json() == INACTIVE
    token.refresh_from_db()
    assert token.use_count == 1


@pytest.mark.parametrize(("told", "is_active"), [({}, False), ({"client_ip": "10.0.0.9"}, True)])
def test_network_of_a_token_counts_where_the_service_was_sent_it(api, owner, service, secret, told, is_active):
    token = token_for(service, owner, networks="10.0.0.0/8 127.0.0.0/8")

    assert ask(api, service, secret, token, **told).json()["active"] is is_active
    assert logged() == [(service.pk, *((200, "ok") if is_active else (401, "network_not_allowed")))]
    assert TokenUse.objects.get().ip == told.get("client_ip", "127.0.0.1")


# JWT answers


@pytest.mark.parametrize("is_good", [True, False])
def test_answer_can_be_a_signed_jwt(api, service, secret, token, is_good, settings):
    sent = encoded(token) if is_good else "a.b.c"
    plain = ask(api, service, secret, sent).json()
    answer = ask(api, service, secret, sent, AS_JWT)

    assert answer.headers["Content-Type"] == "application/token-introspection+jwt"
    signed = answer.content.decode()
    [jwk] = api.get("/.well-known/jwks.json").json()["keys"]
    header = pyjwt.get_unverified_header(signed)
    assert header == {"typ": "token-introspection+jwt", "alg": jwk["alg"], "kid": jwk["kid"]}
    key = pyjwt.PyJWK(jwk)
    claims = pyjwt.decode(signed, key, audience=str(service.pk), issuer=settings.TOKEN_ISSUER, algorithms=["ES256"])
    assert set(claims) == {"iss", "aud", "iat", "token_introspection"}
    assert claims["token_introspection"] == plain


def test_jwt_answer_is_no_token(api, service, secret, token):
    signed = ask(api, service, secret, token, AS_JWT).content.decode()

    with pytest.raises(jwt.NotGenuine):
        jwt.decode(signed)
    assert ask(api, service, secret, signed).json() == INACTIVE
    assert api.get("/api/v1/me", headers={"Authorization": f"Bearer {signed}"}).status_code == 401


def test_own_type_alone_keeps_an_answer_from_being_a_token(token):
    """Even if it had all claims of a token."""
    key = key_ring().current
    headers = {"typ": jwt.INTROSPECTION_TYPE, "kid": key.id}
    signed = pyjwt.encode(jwt.claims_of(token), key.private_key, algorithm=key.algorithm, headers=headers)

    with pytest.raises(jwt.NotGenuine):
        jwt.decode(signed)


# Requests that are wrong


BODIES = {
    "no token": {"x": "1"},
    "empty token": {"token": ""},
    "token twice": "token=a&token=b",
    "other parameter twice": "token=a&x=1&x=2",
    "NUL": "token=a%00b",
    "client_ip": {"token": "a", "client_ip": "grafana"},
    "other client_id": {"token": "a", "client_id": "x"},
    "too many parameters": "&".join(f"a{number}=1" for number in range(2000)),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_wrong_form_is_an_error_of_oauth(api, service, secret, body):
    assert oauth_error(send(api, ADDRESS, body, basic(service, secret))) == (400, "invalid_request")


def test_both_ways_at_once_are_refused(api, service, secret, token):
    assert oauth_error(ask(api, service, secret, token, client_secret=secret)) == (400, "invalid_request")
    assert not TokenUse.objects.exists()


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "text/plain", ""])
def test_only_forms_are_read(api, service, secret, token, kind):
    body = urlencode({"token": encoded(token)})
    answer = api.generic("POST", ADDRESS, body, content_type=kind, headers=basic(service, secret))

    assert oauth_error(answer) == (400, "invalid_request")


def test_charset_other_than_utf_8_is_refused(api, service, secret):
    kind = "application/x-www-form-urlencoded; charset=utf-16"
    answer = api.generic("POST", ADDRESS, "token=a", content_type=kind, headers=basic(service, secret))

    assert oauth_error(answer) == (400, "invalid_request")


def test_too_large_body_is_an_error_of_oauth(api, service, secret):
    answer = send(api, ADDRESS, "token=" + "a" * 300_000, basic(service, secret))

    assert oauth_error(answer) == (413, "invalid_request")


@pytest.mark.parametrize("method", ["get", "head", "put", "delete"])
def test_only_post_is_answered(api, service, secret, method):
    answer = getattr(api, method)(f"{ADDRESS}?token=a", headers=basic(service, secret))

    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


def test_unknown_address_is_an_error_of_oauth(api):
    assert oauth_error(api.post("/oauth/authorize")) == (404, "invalid_request")


def test_secret_that_came_without_encryption_is_refused(api, service, secret, token, settings):
    settings.SECURE_SSL_REDIRECT = True

    assert oauth_error(ask(api, service, secret, token)) == (400, "invalid_request")
    assert not TokenUse.objects.exists()


def test_session_is_not_looked_at(client, owner, service, secret, token):
    client.force_login(owner)

    assert oauth_error(send(client, ADDRESS, {"token": encoded(token)})) == (401, "invalid_client")
    assert ask(client, service, secret, token).json()["active"] is True


def test_check_makes_four_queries(api, service, secret, token, django_assert_num_queries):
    ask(api, service, secret, token)
    with django_assert_num_queries(4):
        ask(api, service, secret, token)


@pytest.mark.parametrize("accept", ["", "nonsense", ";q=x", "a/b;q=ä", "*/*", "text/html", f"{AS_JWT['Accept']};q=0"])
def test_other_types_get_json(api, service, secret, token, accept):
    answer = ask(api, service, secret, token, {"Accept": accept})

    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["active"] is True


def test_use_is_logged_before_the_answer(api, service, secret, token, monkeypatch):
    def fail(*args, **kwargs):
        raise DatabaseError("no space left")

    monkeypatch.setattr("auditlog.journal.commit", fail)

    assert oauth_error(ask(api, service, secret, token)) == (503, "temporarily_unavailable")
