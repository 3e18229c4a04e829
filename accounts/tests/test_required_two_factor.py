"""Required two-factor: by an organization for site roles, and by the installation for operators."""

from datetime import timedelta
from urllib.parse import unquote

import pytest
import time_machine
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.roles import SiteRole
from accounts.tests.factories import PASSWORD, OperatorFactory, UserFactory
from accounts.tests.factors import add_app, add_passkey, add_recovery_codes, code_of
from core import setting_readers
from core.tests.test_setting_readers import settings_with

INDEX = "/profile/security/two-factor/"
ADD_APP = "/profile/security/two-factor/app/add/"
SHOW = "/login/two-factor/again/"


@pytest.fixture
def required(organization):
    """Requires two-factor of Users and Administrators only."""
    organization.two_factor_roles = f"{SiteRole.USER} {SiteRole.ADMINISTRATOR}"
    organization.save()


def sign_in(client, user, code=None):
    client.post("/login/", {"login": user.email, "password": PASSWORD})
    if code is not None:
        client.post("/login/two-factor/", {"code": code})


@pytest.mark.parametrize(
    "path", ["/", "/profile/", "/profile/tokens/", "/pipelines/", "/who-may-do-what/", "/api/docs/"]
)
def test_person_without_two_factor_is_redirected_to_the_setup(client, owner, required, path):
    sign_in(client, owner)

    answer = client.get(path)

    assert (answer.status_code, answer.url) == (302, INDEX)


def test_person_without_two_factor_cannot_create_a_token(client, owner, required):
    sign_in(client, owner)

    answer = client.post("/profile/tokens/", {"name": "sneaky", "scopes": "api", "lifetime": "1d"})

    assert answer.url == INDEX
    assert not owner.tokens.exists()


@pytest.mark.parametrize(
    ("method", "path"), [("get", "/api/v1/me"), ("get", "/api/v1/pipelines"), ("post", "/api/v1/tokens")]
)
def test_api_refuses_a_session_without_two_factor(client, owner, required, method, path):
    sign_in(client, owner)

    answer = getattr(client, method)(path)

    assert (answer.status_code, answer["Content-Type"]) == (403, "application/problem+json")
    assert answer.json()["code"] == "two_factor_required"


@pytest.mark.parametrize("path", [INDEX, ADD_APP, "/profile/security/passkeys/add/", "/logout/", "/healthz"])
def test_pages_for_setup_and_sign_out_stay_open(client, owner, required, path):
    sign_in(client, owner)

    assert client.get(path).status_code == 200


def test_page_says_that_two_factor_is_required(client, owner, required):
    sign_in(client, owner)

    assert "Set up two-factor to continue." in client.get(INDEX).content.decode()


def test_pages_and_api_open_after_the_setup(client, owner, required):
    sign_in(client, owner)
    secret = client.get(ADD_APP).context["form"].secret

    client.post(ADD_APP, {"code": code_of(secret)})

    assert client.get("/profile/").status_code == 200
    assert client.get("/api/v1/me").status_code == 200


def test_person_who_signs_in_with_two_factor_continues(client, owner, required):
    secret = add_app(owner)
    sign_in(client, owner, code_of(secret))

    assert client.get("/").status_code == 200


def test_session_from_before_the_setup_must_prove_two_factor(owner, required):
    older = Client()
    sign_in(older, owner)
    secret = add_app(owner)

    asked = older.get("/profile/tokens/?q=a")

    assert asked.url == f"{SHOW}?next=/profile/tokens/%3Fq%3Da"
    assert older.get("/api/v1/me").json()["code"] == "two_factor_required"
    assert older.post(asked.url, {"code": code_of(secret)}).url == "/profile/tokens/?q=a"
    assert older.get("/profile/tokens/").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        INDEX,
        ADD_APP,
        "/profile/security/passkeys/add/",
        "/profile/security/recovery-codes/",
        "/profile/security/password/",
    ],
)
def test_session_without_the_second_factor_cannot_add_another(owner, required, path):
    older = Client()
    sign_in(older, owner)
    add_app(owner)

    assert older.get(path).url == f"{SHOW}?next={path}"
    assert older.post(path, {"code": "000000"}).url.startswith(f"{SHOW}?next={path}%3Fkept%3D")


@pytest.mark.parametrize("method", ["head", "options", "put", "delete", "patch"])
def test_requirement_applies_to_every_method(client, owner, required, method):
    sign_in(client, owner)

    assert getattr(client, method)("/profile/").url == INDEX
    assert getattr(client, method)("/api/v1/me").status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"HX-Request": "true"},
        {"X-HTTP-Method-Override": "GET"},
        {"X-Original-URL": "/healthz"},
        {"X-Rewrite-URL": "/healthz"},
        {"X-Forwarded-Prefix": "/healthz"},
        {"Accept": "application/json"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_headers_cannot_bypass_the_requirement(client, owner, required, headers):
    sign_in(client, owner)

    assert client.get("/profile/tokens/", headers=headers).url == INDEX
    assert client.get("/api/v1/me", headers=headers).status_code == 403


@pytest.mark.parametrize("authorization", ["", "Basic b3duZXI6eA==", "Bearer", "Session x"])
def test_authorization_header_cannot_bypass_the_requirement(client, owner, required, authorization):
    sign_in(client, owner)

    assert client.get("/api/v1/me", headers={"Authorization": authorization}).status_code in {401, 403}


def test_recovery_codes_alone_do_not_satisfy_the_requirement(client, owner, required):
    add_recovery_codes(owner)
    sign_in(client, owner)

    assert client.get("/").url == INDEX


@pytest.mark.parametrize("role", [SiteRole.GUEST, SiteRole.AUDITOR])
def test_other_roles_need_no_two_factor(client, organization, required, role):
    person = UserFactory(organization=organization, site_role=role)
    sign_in(client, person)

    assert client.get("/").status_code == 200


def test_other_organizations_need_no_two_factor(client, stranger, required):
    sign_in(client, stranger)

    assert client.get("/").status_code == 200


def test_new_requirement_applies_from_the_next_request(client, owner, organization):
    sign_in(client, owner)
    assert client.get("/").status_code == 200
    organization.two_factor_roles = SiteRole.USER
    organization.save()

    assert client.get("/").url == INDEX


def test_administrator_without_two_factor_cannot_open_django_admin(client, administrator, required):
    sign_in(client, administrator)

    assert client.get("/admin/").url == INDEX


def test_requirement_costs_no_query_if_it_is_off(client, owner, django_assert_num_queries):
    client.force_login(owner)
    client.get("/logout/")

    with django_assert_num_queries(2) as asked:
        client.get("/logout/")

    assert not any("mfa_authenticator" in query["sql"] for query in asked)


def test_signed_out_person_is_redirected_to_sign_in(client, owner, required):
    assert client.get("/login/").status_code == 200
    assert client.get("/profile/").url.startswith("/login/")


# Operators


@pytest.fixture
def operator(db):
    return OperatorFactory()


def test_operator_without_two_factor_cannot_open_django_admin(client, operator, settings):
    settings.OPERATOR_TWO_FACTOR = True
    sign_in(client, operator)

    assert client.get("/admin/").url == INDEX
    assert client.get("/admin/accounts/user/").url == INDEX
    assert client.get(INDEX).status_code == 200


def test_operator_with_two_factor_opens_django_admin(client, operator, settings):
    settings.OPERATOR_TWO_FACTOR = True
    sign_in(client, operator, code_of(add_app(operator)))

    assert client.get("/admin/").status_code == 200


def test_operator_whose_session_lacks_two_factor_must_prove_it(client, operator, settings):
    settings.OPERATOR_TWO_FACTOR = True
    sign_in(client, operator)
    add_passkey(operator)

    assert client.get("/admin/").url == f"{SHOW}?next=/admin/"


def test_requirement_for_operators_does_not_apply_to_members(client, administrator, settings):
    settings.OPERATOR_TWO_FACTOR = True
    sign_in(client, administrator)

    assert client.get("/admin/").status_code == 200


# Reauthentication in Django admin


@pytest.mark.parametrize("path", ["user/{user}/change/", "user/add/", "organization/{organization}/change/"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_django_admin_requires_reauthentication_to_change_people_and_organizations(
    client, administrator, owner, method, path
):
    sign_in(client, administrator)
    address = "/admin/accounts/" + path.format(user=owner.pk, organization=owner.organization_id)

    with time_machine.travel(timezone.now() + timedelta(minutes=16), tick=False):
        answer = getattr(client, method)(address, {"name": "Changed", "new_password": "a password of somebody"})

    assert answer.status_code == 302
    assert unquote(answer.url).startswith(f"/login/again/?next={address}")
    assert "a password of somebody" not in str(dict(client.session))
    assert not User.objects.filter(name="Changed").exists()


def test_reading_in_django_admin_needs_no_reauthentication(client, administrator):
    sign_in(client, administrator)

    with time_machine.travel(timezone.now() + timedelta(minutes=16), tick=False):
        assert client.get("/admin/accounts/user/").status_code == 200


# The setting


@pytest.mark.parametrize(
    ("variables", "needed"),
    [
        ({}, False),
        ({"PORTAL_URL": "https://portal.example.com", "TRUSTED_PROXIES": "127.0.0.1"}, True),
        (
            {
                "PORTAL_URL": "https://portal.example.com",
                "TRUSTED_PROXIES": "127.0.0.1",
                "OPERATOR_TWO_FACTOR": "off",
            },
            False,
        ),
        ({"OPERATOR_TWO_FACTOR": "on"}, True),
    ],
)
def test_operators_need_two_factor_with_https_by_default(tmp_path, variables, needed):
    assert settings_with(tmp_path, **variables)["OPERATOR_TWO_FACTOR"] is needed


@pytest.mark.parametrize("raw", ["yes", "1", "ON", "true", ""])
def test_value_other_than_on_or_off_prevents_startup(raw):
    with pytest.raises(ImproperlyConfigured, match="OPERATOR_TWO_FACTOR must be one of on, off"):
        setting_readers.on_off("OPERATOR_TWO_FACTOR", raw)
