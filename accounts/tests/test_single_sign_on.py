"""Single sign-on with a test provider that gives correct or wrong answers."""

import base64
import hashlib
import json
import re
import time
from dataclasses import replace
from datetime import timedelta
from html import unescape
from urllib.parse import parse_qs, parse_qsl, urlsplit

import jwt
import pytest
import time_machine
from allauth.socialaccount.models import SocialAccount, SocialToken
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.utils import timezone
from werkzeug.wrappers import Response

from accounts.models import User
from accounts.signin.single_sign_on.failures import SignInFailure
from accounts.signin.single_sign_on.links import Identity, connect
from accounts.signin.single_sign_on.openid import CheckedOpenIDConnect, _identity_of
from accounts.signin.single_sign_on.provider import provider_of_settings, providers_for
from accounts.signin.single_sign_on.views import STARTS
from accounts.tests import openid
from accounts.tests.factories import PASSWORD, OperatorFactory, UserFactory
from accounts.tests.factors import add_app, code_of
from accounts.tests.openid import CLIENT_ID, SUBJECT, changed, consent
from auditlog.models import Activity
from core.setting_readers import OpenIDProvider
from opsera_portal.environment import SigningIn
from opsera_portal.tests.mails import delivered

pytestmark = pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning")

START = "/login/single-sign-on/"
CALLBACK = "/login/single-sign-on/callback/"
CANCELLED = "/login/single-sign-on/cancelled/"
ASK_AGAIN = "/login/single-sign-on/again/"
CONNECTION = "/profile/security/single-sign-on/"
keys_read_once, running = openid.keys_read_once, openid.running
FOREIGN_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def provider(running, settings, db):
    """The provider that the portal uses. Its answers are correct unless a test changes them."""
    running.lies.clear()
    running.asked.clear()
    settings.OPENID_PROVIDER = OpenIDProvider(running.issuer, CLIENT_ID, "a secret", "Acme ID")
    return running


def authorization_address(client, **fields):
    page = client.post(START, fields).content.decode()
    return unescape(re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', page)[1])


def sign_in(client, subject=SUBJECT, **fields):
    return client.get(consent(authorization_address(client, **fields), subject))


def signed_in_as(client):
    return client.session.get("_auth_user_id")


def actions(name):
    return list(Activity.objects.filter(action=f"authentication.{name}").order_by("id"))


def assert_not_signed_in(client, answer):
    assert answer.status_code < 500
    assert signed_in_as(client) is None
    assert not SocialAccount.objects.exists()
    assert not actions("signed_in")


# Without a provider


@pytest.mark.parametrize("path", [START, CALLBACK, CANCELLED, CONNECTION, ASK_AGAIN])
@pytest.mark.parametrize("method", ["get", "post"])
def test_addresses_do_not_exist_without_a_provider(client, owner, settings, method, path):
    settings.OIDC_ORGANIZATION_HOSTS = ()
    client.force_login(owner)

    assert getattr(client, method)(path).status_code == 404


def test_button_is_hidden_without_a_provider(client, db):
    assert "sign-in-single-sign-on" not in client.get("/login/").content.decode()


# Starting the sign-in


def test_button_names_the_provider(client, provider):
    assert "Continue with Acme ID" in client.get("/login/").content.decode()


def test_request_to_the_provider_has_state_nonce_and_pkce(client, provider, settings):
    query = parse_qs(urlsplit(authorization_address(client)).query)

    assert query["response_type"] == ["code"]
    assert query["client_id"] == [CLIENT_ID]
    assert query["redirect_uri"] == [f"{settings.PORTAL_URL}{CALLBACK}"]
    assert set(query["scope"][0].split()) == {"openid", "email", "profile"}
    assert query["code_challenge_method"] == ["S256"]
    assert len(query["state"][0]) >= 16
    assert len(query["nonce"][0]) >= 32


def test_state_nonce_and_challenge_are_new_each_time(client, provider):
    first, second = (parse_qs(urlsplit(authorization_address(client)).query) for _ in range(2))

    for name in ("state", "nonce", "code_challenge"):
        assert first[name] != second[name]


def test_code_is_exchanged_with_the_pkce_verifier(client, provider, owner):
    provider.knows(email=owner.email, email_verified=True)
    address = authorization_address(client)
    client.get(consent(address))

    (form,) = [form for path, form in provider.asked if path == "/oauth2/token"]
    digest = hashlib.sha256(form["code_verifier"].encode()).digest()
    assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == dict(parse_qsl(address))["code_challenge"]


def test_time_zone_of_the_browser_is_kept_until_the_person_is_back(client, provider, owner):
    User.objects.filter(pk=owner.pk).update(time_zone="")
    provider.knows(email=owner.email, email_verified=True)

    page = client.get(sign_in(client, browser_time_zone="Asia/Tokyo", next="/profile/authentication-log/").url).text

    assert 'name="browser_time_zone"' in Client().get("/login/").text.partition("Continue with Acme ID")[0][-600:]
    assert "Times are in Asia/Tokyo (now UTC+9)." in page
    assert "browser_time_zone" not in client.session


def test_other_sites_and_links_cannot_start_the_sign_in(provider):
    client = Client(enforce_csrf_checks=True)

    assert client.post(START).status_code == 403
    assert client.get(START).url == "/login/"


def test_parameters_of_the_caller_do_not_reach_the_provider(client, provider):
    page = client.post(f"{START}?auth_params=redirect_uri%3Dhttps://evil.example&scope=admin").content.decode()

    assert "evil.example" not in page
    assert "admin" not in page


def test_unreachable_provider_shows_a_page_and_no_server_error(client, provider, settings):
    settings.OPENID_PROVIDER = replace(settings.OPENID_PROVIDER, issuer="http://localhost:9")

    answer = client.post(START)

    assert answer.status_code == 401
    assert "You are not signed in" in answer.content.decode()


def test_requests_to_the_provider_are_limited_per_address(client, provider):
    with time_machine.travel(timezone.now(), tick=False):
        for _ in range(60):
            STARTS.take("127.0.0.1")
        answer = client.post(START)

    assert (answer.status_code, "Retry-After" in answer) == (429, True)
    assert provider.asked == []
    assert client.post(START, REMOTE_ADDR="192.0.2.7").status_code == 200


def test_strangers_cannot_fill_the_server_log_or_hide_failures(client, provider, caplog):
    """Limits apply per logging statement (core/server_log.py), so real failures have their own."""
    client.get(CALLBACK, {"error": "x" * 300 + "\nfake line", "error_description": "a\nb" * 300})
    provider.lies[DISCOVERY] = broken(status=503)
    client.post(START, REMOTE_ADDR="192.0.2.9")

    strangers, real = failures(caplog)
    assert len(strangers.getMessage()) < 700
    assert "\n" not in strangers.getMessage()
    assert (strangers.pathname, strangers.lineno) != (real.pathname, real.lineno)


def failures(caplog):
    """The lines about failed sign-ins in the server's log. Checks that it has no other warnings."""
    found = [record for record in caplog.records if record.levelname in {"WARNING", "ERROR", "CRITICAL"}]
    assert all(record.getMessage().startswith("Single sign-on failed: ") for record in found)
    return found


def the_failure(caplog):
    [record] = failures(caplog)
    return record.getMessage()


# Who can sign in


def test_member_with_the_verified_address_signs_in_and_is_linked(client, provider, owner):
    provider.knows(email=owner.email, email_verified=True, name="Somebody else")

    answer = sign_in(client)

    assert (answer.status_code, answer.url) == (302, "/")
    assert signed_in_as(client) == str(owner.pk)
    link = SocialAccount.objects.get()
    assert (link.user, link.uid, link.extra_data) == (owner, SUBJECT, {})
    # The same first sign-in at the same time, such as after a double click.
    assert connect(provider=provider_of_settings(), identity=Identity(SUBJECT, owner.email), request=None) == link
    assert [entry.actor for entry in actions("provider_connected")] == [owner]
    assert actions("signed_in")[0].details == {"methods": ["single sign-on"]}


def test_provider_for_one_organization_signs_in_only_its_people(client, provider, owner, stranger, settings, caplog):
    provider.knows(email=stranger.email, email_verified=True)
    sign_in(client)
    assert signed_in_as(client) == str(stranger.pk)
    client.logout()
    settings.OPENID_PROVIDER = replace(settings.OPENID_PROVIDER, organization=owner.organization.slug)

    for _ in ("connected before", "not connected"):
        assert sign_in(client).status_code == 302
        assert signed_in_as(client) is None
        SocialAccount.objects.all().delete()
    assert "is not of the provider's organization" in caplog.text
    assert f"in the organization {owner.organization.slug}" in caplog.text
    assert (len(providers_for(stranger)), len(providers_for(owner))) == (0, 1)

    provider.knows(email=owner.email, email_verified=True)
    sign_in(client)
    assert signed_in_as(client) == str(owner.pk)


def test_sign_in_changes_nothing_and_stores_no_token_of_the_provider(client, provider, owner):
    before = User.objects.values().get(pk=owner.pk)
    provider.knows(email=owner.email, email_verified=True, name="Somebody else")

    sign_in(client)

    assert User.objects.values().get(pk=owner.pk) == {**before, "last_login": User.objects.get(pk=owner.pk).last_login}
    assert not SocialToken.objects.exists()


@pytest.mark.parametrize("verified", [True, "true"])
def test_address_of_a_member_ignores_case(client, provider, owner, verified):
    provider.knows(email=owner.email.upper(), email_verified=verified)

    sign_in(client)

    assert signed_in_as(client) == str(owner.pk)


@pytest.mark.parametrize("verified", [False, None, "false", "yes", 1, 1.0, "", "True", [True], {"a": 1}])
def test_unverified_address_does_not_sign_in(client, provider, owner, verified):
    provider.knows(email=owner.email, email_verified=verified)

    answer = sign_in(client)

    assert answer.url == "/login/"
    assert_not_signed_in(client, answer)


@pytest.mark.parametrize("verified", [False, None, "false", "missing"])
def test_operator_can_accept_unverified_addresses(client, provider, owner, settings, verified):
    settings.OPENID_PROVIDER = replace(settings.OPENID_PROVIDER, trusts_email=True)
    provider.knows(email=owner.email, **({} if verified == "missing" else {"email_verified": verified}))

    sign_in(client)

    assert signed_in_as(client) == str(owner.pk)


def test_unverified_addresses_do_not_sign_in_operators_or_linked_people(client, provider, owner, settings):
    settings.OPENID_PROVIDER = replace(settings.OPENID_PROVIDER, trusts_email=True)
    operator = OperatorFactory()
    provider.knows(email=operator.email)
    assert_not_signed_in(client, sign_in(client))
    provider.knows(email=owner.email)
    sign_in(client)
    provider.knows("subject-2", email=owner.email)

    successor = Client()
    sign_in(successor, "subject-2")

    assert signed_in_as(successor) is None


def test_unverified_address_is_logged_and_explained(client, provider, owner, caplog):
    provider.knows(email=owner.email, email_verified=False)

    answer = sign_in(client)

    assert "email_verified is missing or false" in the_failure(caplog)
    assert "OIDC_EMAIL_VERIFIED" in the_failure(caplog)
    page = client.get(answer.url).content.decode()
    assert f"Acme ID does not confirm that the address {owner.email} is yours. Trying again does not help" in page


def test_message_names_the_account_of_the_provider(client, provider, owner, caplog):
    provider.knows(email="nobody@acme.example", email_verified=True)

    page = client.get(sign_in(client).url).content.decode()

    assert "at Acme ID you are signed in as nobody@acme.example" in page
    assert 'no active member has the address "nobody@acme.example"' in the_failure(caplog)


def test_unknown_and_deactivated_people_see_the_same_message(client, provider, owner):
    User.objects.update(is_active=False)
    pages = []
    for email in (owner.email, "nobody@acme.example"):
        provider.knows(email=email, email_verified=True)
        browser = Client()
        text = browser.get(sign_in(browser).url).content.decode()
        pages.append(re.search(r"No account here uses this address.*?</", text, re.S)[0].replace(email, "x"))

    assert pages[0] == pages[1]


def test_sign_in_of_a_deactivated_linked_person_is_logged(client, provider, owner, caplog):
    provider.knows(email=owner.email, email_verified=True)
    sign_in(client)
    User.objects.update(is_active=False)

    sign_in(Client())

    assert f"person {owner.pk} is deactivated" in the_failure(caplog)


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"email_verified": True},
        {"email": None, "email_verified": True},
        {"email": ["owner@acme.example"], "email_verified": True},
        {"email": "nobody@acme.example", "email_verified": True},
        {"email": "owner@acme.example\x00", "email_verified": True},
        {"email": "", "email_verified": True},
    ],
)
def test_non_member_cannot_sign_in_and_no_account_is_created(client, provider, owner, claims):
    provider.knows(**claims)

    answer = sign_in(client)

    assert_not_signed_in(client, answer)
    assert User.objects.count() == 1
    page = client.get(answer.url).content.decode()
    if claims.get("email") == "nobody@acme.example":
        assert "No account here uses this address" in page
    else:
        assert "Acme ID does not send this portal your e-mail address. Trying again does not help" in page


def test_address_that_no_database_stores_is_none(provider):
    for email in ("\ud800@acme.example", "a\x00@acme.example"):
        claims = {"sub": SUBJECT, "email": email, "email_verified": True}
        assert _identity_of(provider_of_settings(), claims, {}).email is None
    with pytest.raises(SignInFailure):
        _identity_of(provider_of_settings(), {"sub": "\ud800"}, {})


def test_rules_read_only_the_verified_address(provider):
    token, userinfo = (
        {"sub": SUBJECT, "email": "boss@acme.example"},
        {"email": "a@acme.example", "email_verified": True},
    )

    assert _identity_of(provider_of_settings(), token, {}).claims == {"sub": SUBJECT}
    assert _identity_of(provider_of_settings(), token, userinfo).claims == {"sub": SUBJECT, **userinfo}


def test_client_uses_basic_auth_unless_the_provider_lists_another_way():
    adapter = CheckedOpenIDConnect.__new__(CheckedOpenIDConnect)
    for methods, is_basic in ((None, True), (5, True), (["client_secret_post"], False)):
        adapter.openid_config = {"token_endpoint_auth_methods_supported": methods}
        assert adapter.basic_auth is is_basic


def test_non_ascii_letters_are_not_folded_to_ascii(client, provider, organization):
    UserFactory(organization=organization, email="kay@acme.example")
    provider.knows(email="\u212aay@acme.example", email_verified=True)

    assert_not_signed_in(client, sign_in(client))


def test_invited_person_joins_by_single_sign_on(client, provider, organization):
    invited = UserFactory(organization=organization, password="!", joined_at=None)
    provider.knows(email=invited.email, email_verified=True)

    sign_in(client)

    assert signed_in_as(client) == str(invited.pk)
    assert not User.objects.get(pk=invited.pk).is_invited


def test_deactivated_person_cannot_sign_in(client, provider, owner):
    User.objects.update(is_active=False)
    provider.knows(email=owner.email, email_verified=True)

    assert_not_signed_in(client, sign_in(client))


def test_deactivated_linked_person_cannot_sign_in(client, provider, owner):
    provider.knows(email=owner.email, email_verified=True)
    sign_in(client)
    User.objects.update(is_active=False)
    again = Client()

    assert sign_in(again).url == "/login/inactive/"
    assert signed_in_as(again) is None


def test_operator_cannot_sign_in_by_single_sign_on(client, provider):
    operator = OperatorFactory()
    provider.knows(email=operator.email, email_verified=True)

    assert_not_signed_in(client, sign_in(client))


def test_linked_person_is_found_by_the_providers_id(client, provider, owner, member):
    provider.knows(email=owner.email, email_verified=True)
    sign_in(client)
    provider.knows(email=member.email, email_verified=True)

    again = Client()
    sign_in(again)

    assert signed_in_as(again) == str(owner.pk)
    assert SocialAccount.objects.count() == 1


def test_reassigned_address_does_not_sign_in(client, provider, owner):
    provider.knows(email=owner.email, email_verified=True)
    sign_in(client)
    provider.knows("subject-2", email=owner.email, email_verified=True)

    successor = Client()
    answer = sign_in(successor, "subject-2")

    assert answer.url == "/login/"
    assert signed_in_as(successor) is None
    assert SocialAccount.objects.count() == 1
    (tried,) = actions("failed")
    assert (tried.actor, tried.details) == (owner, {"method": "single sign-on"})


def test_same_id_at_another_provider_is_another_person(client, provider, owner):
    SocialAccount.objects.create(user=owner, provider="oidc-of-another-issuer", uid=SUBJECT)
    provider.knows(email="nobody@acme.example", email_verified=True)

    sign_in(client)

    assert signed_in_as(client) is None


def test_two_factor_is_required_after_single_sign_on(client, provider, owner):
    secret = add_app(owner)
    provider.knows(email=owner.email, email_verified=True)

    answer = sign_in(client)

    assert answer.url == "/login/two-factor/"
    assert signed_in_as(client) is None
    client.post(answer.url, {"code": code_of(secret)})
    assert signed_in_as(client) == str(owner.pk)
    assert actions("signed_in")[0].details == {"methods": ["single sign-on", "authenticator app"]}


def test_requested_page_opens_after_single_sign_on(client, provider, owner):
    provider.knows(email=owner.email, email_verified=True)

    assert sign_in(client, next="/profile/tokens/").url == "/profile/tokens/"


@pytest.mark.parametrize("address", ["https://evil.example/", "//evil.example/", "/\\evil.example/"])
def test_next_cannot_redirect_to_another_site(client, provider, owner, address):
    provider.knows(email=owner.email, email_verified=True)

    assert sign_in(client, next=address).url == "/"


def test_sign_in_as_another_person_starts_a_new_session(client, provider, owner, member):
    client.force_login(member)
    provider.knows(email=owner.email, email_verified=True)

    sign_in(client)

    assert signed_in_as(client) == str(owner.pk)


# Wrong answers


def test_refusal_at_the_provider_shows_a_page(client, provider, owner):
    state = parse_qs(urlsplit(authorization_address(client)).query)["state"][0]

    answer = client.get(CALLBACK, {"error": "access_denied", "state": state}, follow=True)

    assert answer.redirect_chain == [(CANCELLED, 302)]
    assert_not_signed_in(client, answer)


@pytest.mark.parametrize("change", [{"state": "another"}, {"state": ""}, {"code": "another"}, {"code": "\x00"}])
def test_callback_with_another_state_or_code_is_refused(client, provider, owner, change):
    provider.knows(email=owner.email, email_verified=True)
    query = dict(parse_qsl(urlsplit(consent(authorization_address(client))).query))

    answer = client.get(CALLBACK, {**query, **change})

    assert answer.status_code == 401
    assert_not_signed_in(client, answer)


@pytest.mark.parametrize("query", [{}, {"code": "x"}, {"state": "x"}, {"error": "x"}])
def test_unexpected_callback_is_refused(client, provider, query):
    assert client.get(CALLBACK, query).status_code == 401


def test_callback_in_another_browser_is_refused(client, provider, owner):
    """Otherwise a link could sign its reader in to an attacker's account."""
    provider.knows(email=owner.email, email_verified=True)
    address = consent(authorization_address(client))
    victim = Client()

    assert victim.get(address).status_code == 401
    assert_not_signed_in(victim, victim.get(address))


def test_callback_works_only_once(client, provider, owner):
    provider.knows(email=owner.email, email_verified=True)
    address = consent(authorization_address(client))
    client.get(address)
    client.post("/logout/")

    assert client.get(address).status_code == 401
    assert signed_in_as(client) is None


def signed(key=None, algorithm="RS256", header=(), without=(), **claims):
    """Changes the claims of the ID token, and signs it with another key."""

    def edit(body):
        before = body["id_token"]
        content = {**jwt.decode(before, options={"verify_signature": False}), **claims}
        for name in without:
            content.pop(name, None)
        headers = {**jwt.get_unverified_header(before), **dict(header)}
        headers.pop("alg")
        body["id_token"] = jwt.encode(content, key or FOREIGN_KEY, algorithm=algorithm, headers=headers)

    return changed(edit)


def unsigned(body):
    _, payload, _ = body["id_token"].split(".")
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    body["id_token"] = f"{head}.{payload}."


def broken(status=200, content=b"<html>"):
    return lambda answer: Response(content, status=status, content_type="application/json")


def replaced(name, value):
    return changed(lambda body: body.update({name: value}))


TOKEN, USERINFO, JWKS = "/oauth2/token", "/userinfo", "/jwks"
LIES = {
    "an ID token of a foreign key": (TOKEN, signed()),
    "an ID token of a foreign key under another id": (TOKEN, signed(header={"kid": "another"})),
    "an ID token of a foreign key that it brings along": (
        TOKEN,
        signed(header={"jwk": json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(FOREIGN_KEY.public_key()))}),
    ),
    "an ID token of a shared secret": (TOKEN, signed(key="a secret of at least 32 characters", algorithm="HS256")),
    "an ID token without a signature": (TOKEN, changed(unsigned)),
    "an ID token that is none": (TOKEN, replaced("id_token", "x.y.z")),
    "an ID token that is a number": (TOKEN, replaced("id_token", 1)),
    "no ID token": (TOKEN, changed(lambda body: body.pop("id_token"))),
    "no access token": (TOKEN, changed(lambda body: body.pop("access_token"))),
    "an access token that is a list": (TOKEN, replaced("access_token", ["\n"])),
    "a token answer that is a list": (TOKEN, broken(content=b"[]")),
    "a token answer that is no JSON": (TOKEN, broken()),
    "an error of the token address": (TOKEN, broken(status=500)),
    "user info of somebody else": (USERINFO, replaced("sub", "subject-2")),
    "user info without a subject": (USERINFO, changed(lambda body: body.pop("sub"))),
    "user info that is a list": (USERINFO, broken(content=b"[]")),
    "user info that is no JSON": (USERINFO, broken()),
    "an error of the user info address": (USERINFO, broken(status=500)),
    "no keys": (JWKS, broken(content=b'{"keys": []}')),
    "keys that are none": (JWKS, broken(content=b'{"keys": [{"kty": "x"}, 1]}')),
    "keys that are a list": (JWKS, broken(content=b"[]")),
    "an error of the keys' address": (JWKS, broken(status=500)),
}


@pytest.mark.once
@pytest.mark.parametrize(("path", "lie"), LIES.values(), ids=LIES)
def test_wrong_answer_of_the_provider_does_not_sign_in(client, provider, owner, path, lie):
    provider.knows(email=owner.email, email_verified=True)
    address = consent(authorization_address(client))
    provider.lies[path] = lie

    answer = client.get(address)

    assert answer.status_code == 401
    assert "You are not signed in" in answer.content.decode()
    assert_not_signed_in(client, answer)


OAUTH_ERROR = b'{"error": "invalid_client", "error_description": "Client secret\\nexpired", "s": "s3cret"}'
HTML = Response("<html>", content_type="text/html")
AGAIN, AWAY, OPERATOR = "Sign in again", "Try again in a few minutes", "Trying again does not help"
CAUSES = {
    "an OAuth error": (
        TOKEN,
        broken(status=401, content=OAUTH_ERROR),
        ['answers 401: error "invalid_client", error_description "Client secret\\nexpired"'],
        OPERATOR,
    ),
    "a token answer without JSON": (TOKEN, lambda answer: HTML, ['a JSON object, but with "text/html'], OPERATOR),
    "a provider that is down": (TOKEN, broken(status=503), ["the token address", "answers 503"], AWAY),
    "a provider that is asked too often": (USERINFO, broken(status=429), ["user info address", "429"], AWAY),
    "a key that is not published": (TOKEN, signed(header={"kid": "new"}), ['signed with the key "new"'], OPERATOR),
    "no keys at all": (JWKS, broken(content=b'{"keys": []}'), ["keys cannot be read"], OPERATOR),
    "an algorithm": (
        TOKEN,
        signed(key="a secret of at least 32 characters", algorithm="HS256"),
        ['the algorithm "HS256", which is not accepted'],
        OPERATOR,
    ),
    "user info of another": (USERINFO, replaced("sub", "other"), ['subject "other"', f'"{SUBJECT}"'], OPERATOR),
    "no ID token": (TOKEN, changed(lambda body: body.pop("id_token")), ["answers no ID token"], OPERATOR),
}


@pytest.mark.parametrize(("path", "lie", "words", "advice"), CAUSES.values(), ids=CAUSES)
def test_failure_is_logged_in_one_line_and_explained(client, provider, owner, caplog, path, lie, words, advice):
    provider.knows(email=owner.email, email_verified=True)
    address = consent(authorization_address(client))
    provider.lies[path] = lie

    page = client.get(address).content.decode()

    line = the_failure(caplog)
    assert all(word in line for word in words), line
    assert "s3cret" not in line
    assert "a secret" not in line
    assert advice in page
    request_id = line.rpartition("request ")[2]
    assert request_id in page


CLAIM_CAUSES = {
    "issuer": (
        {"iss": "https://evil.example"},
        ['its issuer is "https://evil.example", and OIDC_ISSUER is "http://loc'],
    ),
    "audience": ({"aud": "another"}, ['its audience is "another", and OIDC_CLIENT_ID is "portal"']),
    "end": ({"exp": int(time.time()) - 3600}, ["exp 20", "this machine's clock says 20", "leeway 60 s"]),
    "beginning": ({"iat": int(time.time()) + 3600}, ["iat 20", "this machine's clock says 20"]),
    "not before": ({"nbf": int(time.time()) + 3600}, ["nbf 20", "this machine's clock says 20"]),
    "nonce": ({"nonce": "another"}, ["another nonce than this sign-in"]),
}


@pytest.mark.parametrize(("claims", "words"), CLAIM_CAUSES.values(), ids=CLAIM_CAUSES)
def test_refused_claim_is_logged_with_the_expected_value(client, provider, owner, caplog, claims, words):
    provider.knows(email=owner.email, email_verified=True)
    address = consent(authorization_address(client))
    sign_with_own_key(provider, **claims)

    client.get(address)

    assert all(word in the_failure(caplog) for word in words), the_failure(caplog)


@pytest.mark.parametrize("claims", [{"iat": 50}, {"nbf": 50}, {"exp": -50}])
def test_clocks_may_differ_by_less_than_a_minute(client, provider, owner, claims):
    provider.knows(email=owner.email, email_verified=True)
    address = consent(authorization_address(client))
    sign_with_own_key(provider, **{name: int(time.time()) + seconds for name, seconds in claims.items()})

    client.get(address)

    assert signed_in_as(client) == str(owner.pk)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("server_error", AWAY),
        ("login_required", AGAIN),
        ("invalid_scope", OPERATOR),
        ("unauthorized_client", OPERATOR),
    ],
)
def test_error_in_the_callback_is_logged_with_code_and_description(client, provider, caplog, code, advice):
    state = parse_qs(urlsplit(authorization_address(client)).query)["state"][0]

    answer = client.get(CALLBACK, {"error": code, "error_description": "AADSTS50105: not\nassigned", "state": state})

    assert f'error "{code}", error_description "AADSTS50105: not\\nassigned"' in the_failure(caplog)
    assert advice in answer.content.decode()


def test_refusal_at_the_provider_is_logged_in_one_line(client, provider, caplog):
    state = parse_qs(urlsplit(authorization_address(client)).query)["state"][0]

    client.get(CALLBACK, {"error": "access_denied", "state": state}, follow=True)

    assert 'error "access_denied"' in the_failure(caplog)


def test_sign_in_that_took_too_long_is_explained(client, provider, owner, caplog):
    address = consent(authorization_address(client))
    with time_machine.travel(timezone.now() + timedelta(minutes=11)):
        page = client.get(address).content.decode()

    assert "the state is unknown: too old, used, or of another session" in the_failure(caplog)
    assert "The sign-in took longer than 10 minutes" in page


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (
            changed(lambda body: body.update(issuer="https://evil.example")),
            ['of the issuer "https://evil.example", and OIDC_ISSUER is "http://localhost'],
        ),
        (changed(lambda body: body.pop("token_endpoint")), ['no usable token_endpoint, but "None"']),
        (broken(status=404), ["the discovery document", "openid-configuration", "answers 404"]),
    ],
)
def test_wrong_discovery_document_is_logged_with_the_expected_value(client, provider, caplog, lie, words):
    provider.lies["/.well-known/openid-configuration"] = lie

    client.post(START)

    assert all(word in the_failure(caplog) for word in words), the_failure(caplog)


def test_unreachable_provider_is_logged_in_one_line_with_the_reason(client, provider, settings, caplog):
    settings.OPENID_PROVIDER = replace(settings.OPENID_PROVIDER, issuer="http://localhost:9")

    page = client.post(START).content.decode()

    assert "Connection refused" in the_failure(caplog)
    assert AWAY in page


NOW = int(time.time())
CLAIMS = {
    "another issuer": {"iss": "https://evil.example"},
    "another audience": {"aud": "another-client"},
    "another authorized party": {"aud": [CLIENT_ID, "another"], "azp": "another"},
    "another audience beside ours": {"aud": [CLIENT_ID, "another"]},
    "an end in the past": {"exp": NOW - 3600},
    "a beginning in the future": {"iat": NOW + 3600},
    "another nonce": {"nonce": "another"},
    "no nonce": {"without": ["nonce"]},
    "no subject": {"without": ["sub"]},
    "no end": {"without": ["exp"]},
    "no issuer": {"without": ["iss"]},
    "no audience": {"without": ["aud"]},
    "a subject that is a number": {"sub": 1},
    "a subject that is empty": {"sub": ""},
    "a subject that is too long": {"sub": "x" * 192},
}


@pytest.mark.once
@pytest.mark.parametrize("claims", CLAIMS.values(), ids=CLAIMS)
def test_id_token_with_wrong_claims_does_not_sign_in(client, provider, owner, claims):
    provider.knows(email=owner.email, email_verified=True)
    address = consent(authorization_address(client))
    sign_with_own_key(provider, **claims)

    answer = client.get(address)

    assert answer.status_code == 401
    assert_not_signed_in(client, answer)


def test_id_token_signed_by_the_provider_is_accepted(client, provider, owner):
    """Proves that the table above tests the claims and not the signature."""
    provider.knows(email=owner.email, email_verified=True)
    address = consent(authorization_address(client))
    sign_with_own_key(provider)

    client.get(address)

    assert signed_in_as(client) == str(owner.pk)


@pytest.mark.parametrize(
    ("in_id_token", "in_user_info"),
    [
        ({"email": "somebody@acme.example", "email_verified": True}, {"email": "owner@acme.example"}),
        ({"email_verified": True}, {"email": "owner@acme.example"}),
        ({"email": "owner@acme.example"}, {"email_verified": True}),
        ({"email": "owner@acme.example", "email_verified": True}, {"email": "somebody@acme.example"}),
    ],
)
def test_email_verified_must_come_from_the_source_of_the_address(client, provider, owner, in_id_token, in_user_info):
    provider.knows()
    address = consent(authorization_address(client))
    sign_with_own_key(provider, **in_id_token)
    provider.lies[USERINFO] = changed(lambda body: body.update(in_user_info))

    assert_not_signed_in(client, client.get(address))


def test_address_in_the_id_token_is_enough(client, provider, owner):
    provider.knows()
    address = consent(authorization_address(client))
    sign_with_own_key(provider, email=owner.email, email_verified=True)

    client.get(address)

    assert signed_in_as(client) == str(owner.pk)


def sign_with_own_key(provider, **claims):
    """Publishes the test's key as one of the provider's keys, and signs the ID token with it."""
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(FOREIGN_KEY.public_key()))
    provider.lies[JWKS] = broken(content=json.dumps({"keys": [{**jwk, "kid": "own", "use": "sig"}]}).encode())
    provider.lies[TOKEN] = signed(header={"kid": "own"}, **claims)
    if "sub" in claims:
        provider.lies[USERINFO] = replaced("sub", claims["sub"])


DISCOVERY = "/.well-known/openid-configuration"
DISCOVERED = {
    "another issuer": changed(lambda body: body.update(issuer="https://evil.example")),
    "addresses that are none": changed(lambda body: body.update(authorization_endpoint="javascript:alert(1)")),
    "addresses that are numbers": changed(lambda body: body.update(token_endpoint=1)),
    "addresses without TLS": changed(lambda body: body.update(token_endpoint="ftp://localhost/")),
    "no addresses": changed(lambda body: body.pop("authorization_endpoint")),
    "a list": broken(content=b"[]"),
    "no JSON": broken(),
    "an error": broken(status=503),
}


@pytest.mark.once
@pytest.mark.parametrize("lie", DISCOVERED.values(), ids=DISCOVERED)
def test_wrong_discovery_document_does_not_redirect_to_the_provider(client, provider, lie):
    provider.lies[DISCOVERY] = lie

    answer = client.post(START)

    assert answer.status_code == 401
    assert "http-equiv" not in answer.content.decode()


@pytest.mark.once
@pytest.mark.parametrize(
    "lie",
    [
        *DISCOVERED.values(),
        changed(lambda body: body.pop("token_endpoint")),
        changed(lambda body: body.pop("jwks_uri")),
    ],
    ids=[*DISCOVERED, "no token address", "no address of keys"],
)
def test_wrong_discovery_document_at_the_callback_does_not_sign_in(client, provider, owner, lie):
    provider.knows(email=owner.email, email_verified=True)
    address = consent(authorization_address(client))
    provider.lies[DISCOVERY] = lie

    answer = client.get(address)

    assert answer.status_code == 401
    assert_not_signed_in(client, answer)


# Asked again


@pytest.mark.parametrize("has_password", [True, False])
def test_person_asked_again_signs_in_at_the_provider_again(client, provider, owner, has_password):
    """Only a new sign-in of the same identity counts, and the provider must say when it was."""
    provider.knows(email=owner.email, email_verified=True)
    sign_in(client)
    if not has_password:
        owner.set_unusable_password()
        User.objects.filter(pk=owner.pk).update(password=owner.password)
        client.cookies.clear()
        sign_in(client)
    session = client.session.session_key
    with time_machine.travel(timezone.now() + timedelta(minutes=16), tick=False):
        asked = client.post(CONNECTION)
        assert asked.url.startswith("/login/again/")
        page = client.get(asked.url).text
        assert ("Sign in again with Acme ID" in page, 'id="confirm-password"' in page) == (True, has_password)

        def again(subject=SUBJECT, path=ASK_AGAIN, **claims):
            page = client.post(path, {"next": CONNECTION}).text
            address = unescape(re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', page)[1])
            query = parse_qs(urlsplit(address).query)
            assert (query["prompt"], query["max_age"]) == (["login"], ["0"])
            address = consent(address, subject)
            sign_with_own_key(provider, **claims)
            return client.get(address).url, client.post(CONNECTION).url == CONNECTION

        refused = (f"/login/again/?next={CONNECTION.replace('/', '%2F')}", False)
        now = int(time.time())
        provider.knows("subject-2", email=owner.email, email_verified=True)
        assert again(without=["auth_time"]) == refused
        assert again(auth_time=now - 3600) == refused
        assert again(auth_time=str(now)) == refused
        assert again(auth_time=True) == refused
        assert again("subject-2", auth_time=now) == refused
        # Neither does the usual start give a proof to a person who is signed in.
        assert again(path=START, auth_time=now - 3600) == refused
        assert signed_in_as(client) == str(owner.pk)
        assert [entry.details for entry in actions("failed")] == [{"method": "single sign-on"}] * 6
        assert "did not ask you to sign in again" in client.get("/profile/").text
        assert again(auth_time=now) == (CONNECTION, True)
        assert client.session.session_key != session


def test_answer_for_a_person_who_is_no_longer_signed_in_is_no_sign_in(client, provider, owner, member):
    provider.knows(email=owner.email, email_verified=True)
    sign_in(client)
    page = client.post(ASK_AGAIN, {"provider": SocialAccount.objects.get().provider}).text
    address = consent(unescape(re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', page)[1]))
    session = client.session
    session.pop("_auth_user_id")
    session.save()

    assert client.get(address).url.startswith("/login/?next=")
    assert signed_in_as(client) is None
    assert client.post(ASK_AGAIN).url.startswith("/login/?next=")
    client.force_login(member)
    assert client.post(ASK_AGAIN).status_code == 404


def test_old_sign_in_at_the_provider_is_no_fresh_proof(client, provider, owner):
    """At a browser that was left open, signing out and in again asks nobody anything."""
    provider.knows(email=owner.email, email_verified=True)
    address = consent(authorization_address(client))
    sign_with_own_key(provider, auth_time=int(time.time()) - 3600)
    client.get(address)

    assert signed_in_as(client) == str(owner.pk)
    assert client.post(CONNECTION).url.startswith("/login/again/")


# Disconnecting


@pytest.fixture
def linked(provider, owner, client):
    client.post("/login/", {"login": owner.email, "password": PASSWORD})
    provider.knows(email=owner.email, email_verified=True)
    sign_in(client)
    return SocialAccount.objects.get()


def test_person_with_a_password_can_disconnect(client, owner, linked):
    assert 'id="disconnect"' in client.get(CONNECTION).content.decode()

    client.post(CONNECTION)

    assert not SocialAccount.objects.exists()
    assert [entry.actor for entry in actions("provider_disconnected")] == [owner]


def test_disconnecting_requires_reauthentication(client, owner, linked):
    with time_machine.travel(timezone.now() + timedelta(minutes=26), tick=False):
        assert client.get(CONNECTION).status_code == 200
        answer = client.post(CONNECTION)

    assert answer.url.startswith(f"/login/again/?next={CONNECTION}")
    assert SocialAccount.objects.get() == linked


def test_person_gets_mails_about_connecting_and_disconnecting(
    client, provider, owner, settings, django_capture_on_commit_callbacks
):
    provider.knows(email=owner.email, email_verified=True)

    with django_capture_on_commit_callbacks(execute=True):
        sign_in(client)
        client.post(CONNECTION)
        sign_in(Client())

    assert [(sent.to, sent.subject) for sent in delivered()] == [
        ([owner.email], "Single sign-on was connected to your account"),
        ([owner.email], "Single sign-on was disconnected from your account"),
        ([owner.email], "Single sign-on was connected to your account"),
    ]


def test_person_without_a_password_cannot_disconnect(client, owner, linked):
    owner.set_unusable_password()
    User.objects.filter(pk=owner.pk).update(password=owner.password)
    again = Client()
    sign_in(again)

    answer = again.post(CONNECTION, follow=True)

    assert "Set a password first" in answer.content.decode()
    assert SocialAccount.objects.exists()


def test_disconnecting_without_a_connection_is_not_logged(client, provider, owner):
    client.post("/login/", {"login": owner.email, "password": PASSWORD})

    client.post(CONNECTION)

    assert not actions("provider_disconnected")


# The settings


@pytest.fixture
def variables(monkeypatch):
    def give(**values):
        for name in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET", "NAME", "EMAIL_VERIFIED"):
            monkeypatch.delenv(f"OIDC_{name}", raising=False)
        for name, value in values.items():
            monkeypatch.setenv(f"OIDC_{name}", value)

    return give


GOOD = {"ISSUER": "https://id.example.com/realms/acme", "CLIENT_ID": "portal", "CLIENT_SECRET": "s3cret-of-the-client"}


def test_single_sign_on_is_off_without_its_variables(variables):
    variables()

    assert SigningIn().openid_provider() is None


def test_provider_is_read_from_its_variables(variables):
    variables(**GOOD, NAME=" Acme  ID ")

    found = SigningIn().openid_provider()

    assert found == OpenIDProvider(GOOD["ISSUER"], "portal", GOOD["CLIENT_SECRET"], "Acme ID")
    assert GOOD["CLIENT_SECRET"] not in repr(found)


@pytest.mark.parametrize("missing", GOOD)
def test_missing_variable_prevents_startup(variables, missing):
    variables(**{**GOOD, missing: ""})

    with pytest.raises(ImproperlyConfigured, match=f"OIDC_{missing} is missing"):
        SigningIn().openid_provider()


@pytest.mark.parametrize(
    "issuer",
    [
        "id.example.com",
        "http://id.example.com",
        "ftp://id.example.com",
        "https://",
        "https://id.example.com?a=b",
        "https://id.example.com#a",
        "https://id.example.com?",
        "https://someone@id.example.com",
        "https://id.example.com:port",
        "https://id.example.com\n",
        "https://id example.com",
    ],
)
def test_wrong_issuer_prevents_startup(variables, issuer):
    variables(**{**GOOD, "ISSUER": issuer})

    with pytest.raises(ImproperlyConfigured, match="OIDC_ISSUER must be") as error:
        SigningIn().openid_provider()
    assert "\n" not in str(error.value)
    assert GOOD["CLIENT_SECRET"] not in str(error.value)


@pytest.mark.parametrize("issuer", ["https://id.example.com", "https://id.example.com/", "http://localhost:9000"])
def test_valid_issuer_is_kept_as_written(variables, issuer):
    variables(**{**GOOD, "ISSUER": issuer})

    assert SigningIn().openid_provider().issuer == issuer


@pytest.mark.parametrize(("raw", "trusts"), [("", False), ("required", False), ("trust-provider", True)])
def test_addresses_must_be_verified_by_default(variables, raw, trusts):
    variables(**GOOD, **({"EMAIL_VERIFIED": raw} if raw else {}))

    assert SigningIn().openid_provider().trusts_email is trusts


@pytest.mark.parametrize("raw", ["yes", "off", "Required", "trust-provider "])
def test_wrong_value_of_email_verified_prevents_startup(variables, raw):
    variables(**GOOD, EMAIL_VERIFIED=raw)

    with pytest.raises(ImproperlyConfigured, match="OIDC_EMAIL_VERIFIED must be one of required, trust-provider"):
        SigningIn().openid_provider()


# Networks of the policy


def test_person_outside_of_the_organizations_networks_is_not_signed_in(client, provider, owner):
    owner.organization.sign_in_networks, owner.organization.sign_in_network_roles = "192.0.2.0/24", "user"
    owner.organization.save()
    provider.knows(email=owner.email, email_verified=True)

    answer = sign_in(client)

    assert (answer.url, signed_in_as(client)) == ("/login/", None)
    assert "You are at 127.0.0.1." in client.get("/login/").text
    assert [entry.details for entry in actions("refused")] == [{"methods": ["single sign-on"]}]
