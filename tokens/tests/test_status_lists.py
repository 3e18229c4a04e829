"""Status lists: which bit a token gets, and what the signed list says about it."""

import base64
import re
import secrets
import threading
import zlib
from datetime import timedelta

import jwt as pyjwt
import pytest
from django.db import IntegrityError
from django.utils import timezone

from accounts.tests.factories import GroupFactory
from core.api.audiences import audience_of
from gateway.models import Check, Service
from gateway.tests.factories import ServiceFactory, ServiceRuleFactory
from tokens import jwt, services
from tokens.leaks import finding
from tokens.models import Token
from tokens.status_lists import assigning, removing, signed
from tokens.status_lists.claims import claim_of
from tokens.status_lists.models import StatusList
from tokens.tests.factories import TokenFactory, now_in_seconds

# The first example of the draft: these statuses, packed and compressed, are this text.
EXAMPLE = [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]
EXAMPLE_LST = "eNrbuRgAAhcBXQ"


@pytest.fixture
def service(owner):
    return ServiceFactory(organization=owner.organization, slug="grafana", check_by=Check.STATUS_LIST)


@pytest.fixture
def token(owner, service):
    return listed(owner, service)


def listed(owner, service, **values):
    token = TokenFactory(owner=owner, service=service, scope=f"service:{service.slug}:read", **values)
    assigning.assign(token)
    return token


def fetched(api, token):
    """The claims of the list that the token names, after its signature is checked."""
    signed.forget_answers()
    claims = pyjwt.decode(jwt.encode(token)[0], options={"verify_signature": False})
    answer = api.get(claims["status"]["status_list"]["uri"])
    assert answer.status_code == 200
    return verified(api, answer.content.decode())


def verified(api, encoded, **options):
    header = pyjwt.get_unverified_header(encoded)
    [key] = [
        key
        for key in pyjwt.PyJWKSet(api.get("/.well-known/jwks.json").json()["keys"]).keys
        if key.key_id == header["kid"]
    ]
    return pyjwt.decode(encoded, key, algorithms=[header["alg"]], **options)


def bit(claims, index):
    """As a service reads it."""
    text = claims["status_list"]["lst"]
    bits = zlib.decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return bits[index // 8] >> index % 8 & 1


def is_refused(api, token):
    return bool(bit(fetched(api, token), token.status_index))


def test_bits_have_the_order_of_the_draft():
    ones = [index for index, status in enumerate(EXAMPLE) if status]

    assert signed.packed(ones, 16) == b"\xb9\xa3"
    assert signed.encoded(b"\xb9\xa3") == {"bits": 1, "lst": EXAMPLE_LST}


def test_service_verifies_the_token_and_finds_it_in_the_list(api, token, service):
    encoded, _ = jwt.encode(token)
    claims = verified(api, encoded, audience=audience_of(service.pk))
    named = claims["status"]["status_list"]

    answer = api.get(named["uri"])

    assert answer.headers["Content-Type"] == "application/statuslist+jwt"
    assert answer.headers["Cache-Control"] == "public, max-age=10"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert not answer.cookies
    assert pyjwt.get_unverified_header(answer.content)["typ"] == "statuslist+jwt"
    found = verified(api, answer.content.decode(), issuer=claims["iss"])
    assert (found["sub"], found["ttl"]) == (named["uri"], 10)
    assert found["iat"] <= timezone.now().timestamp() < found["exp"]
    assert bit(found, named["idx"]) == 0
    assert len(answer.content) < 1500


def test_secret_scanners_find_the_token(token):
    """Their pattern knows how the claims of a token end."""
    assert re.fullmatch(finding.PATTERN, jwt.encode(token)[0])


def test_list_is_not_taken_for_a_token(api, token):
    with pytest.raises(jwt.NotGenuine):
        jwt.decode(signed.sign(token.status_list))


def test_token_that_is_expired_early_is_refused_at_once(api, owner, token):
    assert not is_refused(api, token)

    services.revoke_token(actor=owner, token=token)

    assert is_refused(api, token)


def test_answer_is_kept_for_a_second_at_most(api, owner, token, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(signed.time, "monotonic", lambda: clock[0])
    signed.forget_answers()
    first = signed.signed_list(token.status_list_id)
    services.revoke_token(actor=owner, token=token)

    clock[0] = 100.9
    assert signed.signed_list(token.status_list_id) == first
    clock[0] = 101.1
    assert signed.signed_list(token.status_list_id) != first


@pytest.fixture
def session(api, owner):
    api.force_login(owner)
    return api


def create(session, service, **values):
    body = {"name": "x", "service": service and service.slug, "scopes": ["api"]}
    return session.post("/api/v1/tokens", body | ({"scopes": ["service:grafana:read"]} if service else {}) | values)


def place_in(answer):
    """The claim ``status`` of the token that the answer shows, and of its row."""
    assert answer.status_code == 201
    claims = pyjwt.decode(answer.json()["token"], options={"verify_signature": False})
    assert claims.get("status", {}) == claim_of(Token.objects.get(pk=claims["jti"])).get("status", {})
    return claims.get("status")


def change(owner, service, token, what):
    now = now_in_seconds()
    match what:
        case "owner deactivated":
            type(owner).objects.filter(pk=owner.pk).update(is_active=False)
        case "service switched off":
            Service.objects.update(is_enabled=False)
        case "role may not use it":
            Service.objects.update(site_roles="guest")
        case "blocked by policy":
            Token.objects.update(created_at=now - timedelta(days=200))
        case "limited to networks by policy":
            type(owner.organization).objects.update(token_networks="192.0.2.0/24")
        case "not shown":
            Token.objects.update(revealed_at=None)
        case "end of a replaced token":
            Token.objects.update(created_at=now - timedelta(days=2), expires_at=now, replaced_at=now)
        case "named by a rule":
            Service.objects.update(site_roles="guest")
            group = GroupFactory(organization=owner.organization)
            group.members.add(owner)
            ServiceRuleFactory(service=service, group=group)
        case "past its end":
            Token.objects.update(created_at=now - timedelta(days=2), expires_at=now, revoked_at=now, live_name_key=None)


@pytest.mark.parametrize(
    "what",
    [
        "owner deactivated",
        "service switched off",
        "role may not use it",
        "blocked by policy",
        "limited to networks by policy",
        "not shown",
        "end of a replaced token",
    ],
)
def test_token_that_the_portal_would_refuse_is_refused(api, owner, service, token, what):
    change(owner, service, token, what)

    assert is_refused(api, token)


@pytest.mark.parametrize("what", ["named by a rule", "past its end"])
def test_bit_stays_zero(api, owner, service, token, what):
    """Services see themselves that a token is past its end."""
    change(owner, service, token, what)

    assert not is_refused(api, token)


def test_only_the_ended_token_is_refused(api, owner, service, token):
    other = listed(owner, service)
    services.revoke_token(actor=owner, token=other)

    assert other.status_list_id == token.status_list_id
    assert (is_refused(api, token), is_refused(api, other)) == (False, True)


def test_unknown_list_is_not_found(api, db):
    answer = api.get("/status-lists/6f1e4ad0-0000-4000-8000-000000000000")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert api.post("/status-lists/6f1e4ad0-0000-4000-8000-000000000000").status_code == 405


@pytest.mark.parametrize("check", [Check.FORWARD_AUTH, Check.INTROSPECTION, None])
def test_other_tokens_are_in_no_list(owner, check):
    service = ServiceFactory(organization=owner.organization, check_by=check) if check else None
    token = TokenFactory(owner=owner, service=service)

    assigning.assign(token)

    assert token.status_list_id is None
    assert "status" not in pyjwt.decode(jwt.encode(token)[0], options={"verify_signature": False})


@pytest.mark.parametrize("limit", [{"networks": "192.0.2.0/24"}, {"max_uses": 3}])
def test_limit_that_the_service_cannot_check_is_refused(owner, service, limit):
    with pytest.raises(assigning.ValidationError) as refused:
        listed(owner, service, **limit)

    assert list(refused.value.message_dict) == list(limit)


def test_policy_that_the_service_cannot_check_is_no_less_strict(owner, service):
    owner.organization.token_networks = "192.0.2.0/24"
    owner.organization.save()

    with pytest.raises(assigning.ValidationError) as refused:
        listed(owner, service)
    assert list(refused.value.message_dict) == ["service"]


def test_taken_bit_is_never_given_twice(owner, service, token, monkeypatch):
    wanted = iter([token.status_index, token.status_index, 7])
    monkeypatch.setattr(secrets, "randbelow", lambda size: next(wanted))

    assert listed(owner, service).status_index == 7


def test_full_list_is_an_error_and_not_a_loop(owner, service, token, monkeypatch):
    monkeypatch.setattr(secrets, "randbelow", lambda size: token.status_index)

    with pytest.raises(IntegrityError):
        listed(owner, service)


def test_new_list_begins_when_half_of_the_bits_are_taken(owner, service, token):
    StatusList.objects.update(taken=signed.StatusList().size // 2)

    second, third = listed(owner, service), listed(owner, service)

    assert second.status_list_id == third.status_list_id != token.status_list_id


def test_list_is_removed_when_no_token_needs_it(owner, service, token):
    now = now_in_seconds()
    removing.remove_finished(threading.Event())
    assert StatusList.objects.exists()
    Token.objects.update(created_at=now - timedelta(days=2), expires_at=now, replaced_at=now)
    removing.remove_finished(threading.Event())
    assert StatusList.objects.exists()

    Token.objects.update(replaced_at=None)
    removing.remove_finished(threading.Event())

    assert not StatusList.objects.exists()
    token.refresh_from_db()
    assert (token.status_list_id, token.status_index) == (None, None)


def test_token_that_needs_its_bit_keeps_it(token):
    removing._release([token.pk])
    removing._remove(token.status_list_id)

    token.refresh_from_db()
    assert StatusList.objects.get() == token.status_list


def test_gateway_names_the_same_people_as_its_list_of_services(owner, service, stranger, member):
    for role in ("user", "power_user", "administrator"):
        Service.objects.update(site_roles=role)
        service.refresh_from_db()
        open_to = [person for person in (owner, stranger, member) if Service.objects.usable_by(person).exists()]
        assert list(service.people().order_by("pk")) == sorted(open_to, key=lambda person: person.pk)


# The tokens that people create


def test_token_that_a_person_creates_is_in_the_list_and_its_successor_elsewhere_in_it(session, service):
    created = create(session, service)
    successor = session.post(f"/api/v1/tokens/{created.json()['id']}/replace", {})

    first, second = (place_in(answer)["status_list"] for answer in (created, successor))

    assert first["uri"] == second["uri"] == StatusList.objects.get().uri
    assert first["idx"] != second["idx"]


@pytest.mark.parametrize("check", [Check.FORWARD_AUTH, Check.INTROSPECTION, None])
def test_token_that_a_person_creates_for_another_service_is_in_no_list(session, service, check):
    Service.objects.update(check_by=check or Check.STATUS_LIST)

    assert place_in(create(session, check and service)) is None


@pytest.mark.parametrize("limit", [{"networks": ["192.0.2.0/24"]}, {"max_uses": 3}])
def test_api_and_form_name_the_limit_that_the_service_cannot_check(session, client, owner, service, limit):
    client.force_login(owner)
    sent = {"name": "x", "lifetime": "1d", "service": "grafana", "scopes": ["service:grafana:read"], **limit}

    errors = create(session, service, **limit).json()["errors"]
    page = client.post("/profile/tokens/?service=grafana", sent)

    assert list(errors) == list(page.context["form"].errors) == list(limit)
    assert "checks tokens itself" in str(errors)
    assert "checks tokens itself" in str(page.context["form"].errors)
    assert not Token.objects.exists()
