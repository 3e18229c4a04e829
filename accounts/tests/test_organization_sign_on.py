"""An organization's own single sign-on: signing in with it, people that it creates, and its rules."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from html import unescape
from io import BytesIO

import pytest
import requests
from allauth.socialaccount.models import SocialAccount
from django.db import connection
from django.test import Client
from django.urls import reverse
from urllib3 import HTTPResponse

from accounts.models import Group, OrganizationProvider, User
from accounts.provider_rules import deciding_claims
from accounts.provider_secrets import open_secret, seal_secret
from accounts.roles import SiteRole
from accounts.signin.single_sign_on.failures import _read_some
from accounts.tests import openid
from accounts.tests.factories import GroupFactory, OperatorFactory, OrganizationFactory, UserFactory
from accounts.tests.openid import CLIENT_ID, SUBJECT, consent
from auditlog.models import Activity
from core.encryption import SecretUnreadable
from core.setting_readers import OpenIDProvider

pytestmark = pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning")

START = "/login/single-sign-on/organization/"
PAGE = "/organization/single-sign-on/"
API = "/api/v1/organization/single-sign-on"
keys_read_once, running = openid.keys_read_once, openid.running


@pytest.fixture
def provider(running, settings, db):
    running.lies.clear()
    running.asked.clear()
    settings.OIDC_ORGANIZATION_HOSTS = (running.issuer.removeprefix("http://"),)
    return running


@pytest.fixture
def row(provider, organization):
    return own_provider(organization, provider)


def own_provider(organization, provider, **fields):
    row = OrganizationProvider(
        organization=organization, name="Acme ID", issuer=provider.issuer, client_id=CLIENT_ID, **fields
    )
    row.sealed_secret, row.connection = seal_secret("a secret", row), row.connection_name()
    row.save()
    row.managed_groups.set([rule["group"] for rule in row.group_rules])
    return row


def change(row, **fields):
    for name, value in fields.items():
        setattr(row, name, value)
    row.save()
    row.managed_groups.set([rule["group"] for rule in row.group_rules])


def leave(client, slug, **fields):
    page = client.post(START, {"organization": slug, **fields}).content.decode()
    return unescape(re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', page)[1])


def sign_in(row, subject=SUBJECT, client=None):
    """Returns the browser after the sign-in."""
    browser = client or Client()
    browser.last = browser.get(consent(leave(browser, row.organization.slug), subject))
    return browser


def person_of(browser):
    return User.objects.filter(pk=browser.session.get("_auth_user_id")).first()


def details(action):
    return [entry.details for entry in Activity.objects.filter(action=action).order_by("id")]


# Signing in


@pytest.mark.each_database
def test_people_of_the_organization_sign_in_with_its_provider(row, provider, owner, client):
    provider.knows(email=owner.email, email_verified=True)

    sign_in(row, client=client)

    assert person_of(client) == owner
    link = SocialAccount.objects.get()
    assert (link.provider, link.user) == (row.connection, owner)
    address = reverse("organization_sign_on_callback", args=[row.pk])
    [form] = [form for path, form in provider.asked if path == "/oauth2/token"]
    assert form["redirect_uri"].endswith(address)
    assert "Acme ID" in client.get("/profile/security/single-sign-on/").text
    # The same identity again, whatever its address is now.
    provider.knows(email="other@acme.example", email_verified=True)
    assert person_of(sign_in(row)) == owner


@pytest.mark.each_database
def test_people_of_another_organization_never_get_in_with_it(row, provider, owner, organization, caplog):
    """The other organization has a provider with the same issuer, client and subject, and knows the address."""
    other = own_provider(OrganizationFactory(), provider)
    stranger = UserFactory(organization=other.organization, site_role=SiteRole.ADMINISTRATOR)
    operator = OperatorFactory()
    provider.knows(email=owner.email, email_verified=True)
    assert person_of(sign_in(row)) == owner
    for person in (owner, operator):
        provider.knows(email=person.email, email_verified=True)
        assert person_of(sign_in(other)) is None
    change(other, creates_people=True, domains="acme.example example.com")
    assert person_of(sign_in(other)) is None
    assert "somebody has this address" in caplog.text

    provider.knows(email=stranger.email, email_verified=True)
    assert person_of(sign_in(other)) == stranger
    assert {link.user: link.provider for link in SocialAccount.objects.all()} == {
        owner: row.connection,
        stranger: other.connection,
    }
    # Even a link that somebody wrote into the database under the other provider does not work.
    SocialAccount.objects.filter(user=stranger).update(user=owner)
    assert person_of(sign_in(other)) is None


def test_answer_of_one_provider_is_not_accepted_at_the_address_of_another(row, provider, owner, settings):
    other = own_provider(OrganizationFactory(), provider)
    settings.OPENID_PROVIDER = OpenIDProvider(provider.issuer, CLIENT_ID, "a secret", "Portal ID")
    provider.knows(email=owner.email, email_verified=True)
    browser = Client()
    address = consent(leave(browser, row.organization.slug))

    for elsewhere in (str(other.pk), None):
        path = f"/login/single-sign-on/{f'{elsewhere}/' if elsewhere else ''}callback/"
        assert browser.get(f"{path}?{address.partition('?')[2]}").status_code == 401

    assert person_of(browser) is None
    assert not SocialAccount.objects.exists()


def test_another_issuer_of_the_organization_knows_other_people(row, provider, owner):
    provider.knows(email=owner.email, email_verified=True)
    sign_in(row)
    before = row.connection
    row.issuer += "/"

    assert row.connection_name() != before
    with pytest.raises(SecretUnreadable):
        open_secret(row)


def test_unknown_and_unprepared_organizations_get_the_same_answer(row, provider, settings, client):
    OrganizationFactory(slug="unprepared")
    change(row, is_enabled=False)
    pages = {
        re.search(r"<ul>.*?</ul>", client.post(START, {"organization": slug}).text, re.S)[0]
        for slug in ("unprepared", "unknown", row.organization.slug)
    }
    assert len(pages) == 1
    assert "No organization with this short name" in pages.pop()
    assert client.get(reverse("organization_sign_on_callback", args=[row.pk])).status_code == 404
    assert "Sign in with your organization" in client.get("/login/").text
    assert 'value="acme"' in client.get(f"{START}?organization=acme&next=/profile/").text

    settings.OIDC_ORGANIZATION_HOSTS = ()
    assert client.get(START).status_code == 404
    assert "Sign in with your organization" not in client.get("/login/").text


def test_only_allowed_hosts_are_reached(row, provider, owner, settings):
    """Each address of the discovery document is checked, redirects are not followed, and long answers are not read."""
    provider.knows(email=owner.email, email_verified=True)
    discovery = "/.well-known/openid-configuration"
    away = "http://localhost:9/keys"
    browser = Client()
    address = consent(leave(browser, row.organization.slug))
    provider.lies[discovery] = openid.changed(lambda body: body.update(jwks_uri=away))
    assert browser.get(address).status_code == 401
    row.refresh_from_db()
    assert "OIDC_ORGANIZATION_HOSTS does not allow" in row.last_failure

    provider.lies[discovery] = lambda answer: openid.Response("", status=302, headers={"Location": away})
    assert browser.post(START, {"organization": row.organization.slug}).status_code == 401
    row.refresh_from_db()
    assert "answers 302" in row.last_failure

    provider.lies[discovery] = lambda answer: openid.Response(b" " * 2_000_000 + answer.data)
    page = browser.post(START, {"organization": row.organization.slug})
    assert page.status_code == 401
    assert "tell an Administrator of your organization" in page.text
    settings.OIDC_ORGANIZATION_HOSTS = ("id.example.com",)
    assert browser.post(START, {"organization": row.organization.slug}).status_code == 400


# People made at the first sign-in


@pytest.mark.each_database
def test_person_is_created_at_the_first_sign_in_if_the_organization_wants_it(row, provider, settings, caplog):
    groups = ["dev", "\x00"]
    known = {"email": "New@ACME.example", "email_verified": True, "name": "New  Person", "groups": groups}
    provider.knows(**known)
    assert person_of(sign_in(row)) is None
    change(row, creates_people=True, domains="acme.example", default_role=SiteRole.AUDITOR)
    change(
        row,
        group_rules=[{"claim": "groups", "value": "x", "group": str(GroupFactory(organization=row.organization).pk)}],
    )
    for wrong in (
        {"email": "new@sub.acme.example"},
        {"email": "new@acme.example.evil.example"},
        {"email": "new@evil.example@acme.example"},
        {"email": "\u212aay@acme.example"},
        {"email_verified": False},
        {"email_verified": None},
    ):
        provider.knows(**{**known, **wrong})
        assert person_of(sign_in(row)) is None, wrong
    change(row, trusts_email=True)
    provider.knows(**{**known, "email_verified": False})
    assert person_of(sign_in(row)) is None
    assert not User.objects.exists()

    provider.knows(**known)
    created = person_of(sign_in(row))

    assert (created.email, created.name, created.site_role) == ("new@acme.example", "New Person", "auditor")
    assert (created.organization, created.has_usable_password(), created.is_invited) == (row.organization, False, False)
    [entry] = details("user.created")
    assert entry == {
        "address": "new@acme.example",
        "site_role": "auditor",
        "by": "single sign-on",
        "issuer": provider.issuer,
        "subject": SUBJECT,
        "claims": {"groups": ["dev", "?"]},
    }
    # A deactivated person stays out, also as a new identity.
    User.objects.update(is_active=False)
    assert person_of(sign_in(row)) is None
    assert person_of(sign_in(row, "subject-2")) is None
    assert User.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_first_sign_ins_at_once_one_creates_the_person_and_both_get_in(row, provider):
    change(row, creates_people=True, domains="acme.example")
    provider.knows(email="new@acme.example", email_verified=True)
    browsers = [Client(), Client()]
    addresses = [consent(leave(browser, row.organization.slug)) for browser in browsers]
    together = threading.Barrier(2, timeout=10)

    def answer_together(answer):
        together.wait()
        return answer

    def attempt(browser, address):
        try:
            return browser.get(address).status_code
        finally:
            connection.close()

    # The user info is the last that the portal reads before it looks for the person.
    provider.lies["/userinfo"] = answer_together
    with ThreadPoolExecutor(2) as threads:
        statuses = list(threads.map(attempt, browsers, addresses))

    created = User.objects.get()
    assert (statuses, list(map(person_of, browsers))) == ([302, 302], [created, created])
    assert SocialAccount.objects.get().user == created
    assert len(details("user.created")) == 1


def test_log_shows_claims_that_no_database_stores_with_question_marks():
    assert deciding_claims({"groups": ["\ud800", "a\x00"], "n": {}}, ["groups", "n"]) == {"groups": ["?", "a?"]}


def test_answer_that_never_ends_is_given_up():
    for seconds, expected in ((60, nullcontext()), (-1, pytest.raises(requests.Timeout))):
        answer = requests.Response()
        answer.raw = HTTPResponse(BytesIO(b"{}"), preload_content=False)
        with expected:
            _read_some(answer, until=time.monotonic() + seconds)
            assert answer.json() == {}


def test_number_of_new_people_per_hour_is_limited(row, provider):
    change(row, creates_people=True, domains="acme.example", people_per_hour=1)
    browsers = []
    for number in (1, 2):
        provider.knows(f"subject-{number}", email=f"new{number}@acme.example", email_verified=True)
        browsers.append(sign_in(row, f"subject-{number}"))

    assert [person_of(browser) is None for browser in browsers] == [False, True]
    assert "Too many people signed in for the first time" in browsers[1].get("/login/").text


# Site role and groups


@pytest.mark.each_database
def test_rules_give_site_role_and_groups_at_each_sign_in(row, provider, administrator, organization):
    person = UserFactory(organization=organization, email="dev@acme.example", site_role=SiteRole.USER)
    dev, ops, by_hand = (GroupFactory(organization=organization, name=name) for name in ("Dev", "Ops", "By hand"))
    by_hand.members.add(person)
    ops.members.add(person)
    change(
        row,
        role_rules=[
            {"claim": "realm.roles", "value": "boss", "site_role": "administrator"},
            {"claim": "groups", "value": "dev", "site_role": "power_user"},
            {"claim": "groups", "value": "ops", "site_role": "auditor"},
        ],
        group_rules=[
            {"claim": "groups", "value": "dev", "group": str(dev.pk)},
            {"claim": "groups", "value": "ops", "group": str(ops.pk)},
        ],
    )

    def now(**claims):
        provider.knows(email=person.email, email_verified=True, **claims)
        signed_in = person_of(sign_in(row))
        groups = person.member_groups.order_by("name")
        return signed_in and (signed_in.site_role, [group.name for group in groups])

    assert now(groups=["ops", "dev"]) == ("power_user", ["By hand", "Dev", "Ops"])
    assert now(groups="ops", realm={"roles": ["boss"]}) == ("administrator", ["By hand", "Ops"])
    assert now(groups=["Dev"]) == ("guest", ["By hand"])
    assert now(groups=["ops"]) == ("auditor", ["By hand", "Ops"])
    # The provider says that it left out the claim: nothing is known, so nothing changes.
    assert now(_claim_names={"groups": "src1"}) == ("auditor", ["By hand", "Ops"])
    assert now(_claim_names={"realm": "src1"}, groups=["dev"])[0] == "auditor"
    assert now(groups=["ops"]) == ("auditor", ["By hand", "Ops"])
    [first, *_rest] = details("user.role_changed")
    assert (first["from"], first["to"], first["rule"]) == ("user", "power_user", 2)
    assert first["claims"] == {"groups": ["ops", "dev"]}
    assert {"added": [person.email]}.items() <= details("group.changed")[0].items()
    change(row, refuses_unmapped=True)
    assert now(groups=[]) is None
    assert User.objects.get(pk=person.pk).site_role == "auditor"
    provider.knows("subject-3", email="third@acme.example", email_verified=True)
    change(row, creates_people=True, domains="acme.example")
    assert person_of(sign_in(row, "subject-3")) is None
    assert not User.objects.filter(email="third@acme.example").exists()


@pytest.mark.parametrize("refuses", [False, True])
def test_last_administrator_keeps_the_role_and_gets_in(row, provider, organization, refuses):
    last = UserFactory(organization=organization, site_role=SiteRole.ADMINISTRATOR)
    change(row, role_rules=[{"claim": "groups", "value": "x", "site_role": "user"}], refuses_unmapped=refuses)
    provider.knows(email=last.email, email_verified=True)

    assert person_of(sign_in(row)).site_role == "administrator"

    [entry] = details("user.role_kept")
    assert (entry["to"], entry["reason"]) == ("guest", "last Administrator")


def test_what_the_provider_manages_cannot_be_changed_by_hand(row, provider, administrator, member, client):
    managed = GroupFactory(organization=row.organization, name="Managed")
    managed.members.add(member)
    change(
        row,
        role_rules=[{"claim": "groups", "value": "x", "site_role": "user"}],
        group_rules=[{"claim": "groups", "value": "x", "group": str(managed.pk)}],
    )
    SocialAccount.objects.create(user=member, provider=row.connection, uid=SUBJECT)
    client.force_login(administrator)
    person, group = f"/api/v1/users/{member.pk}", f"/api/v1/groups/{managed.pk}"
    json = {"content_type": "application/json"}

    refused = [
        client.patch(person, {"site_role": "auditor"}, **json),
        client.patch(group, {"members": []}, **json),
        client.delete(group),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(409, "managed_by_provider")] * 3
    assert (client.get(person).json()["site_role_is_managed"], client.get(group).json()["is_managed"]) == (True, True)
    rows = {row["email"]: row for row in client.get("/api/v1/users").json()["data"]}
    assert [rows[row.email]["site_role_is_managed"] for row in (administrator, member)] == [False, True]
    page = client.get(f"/organization/users/{member.pk}/").text
    assert ('id="role-managed"' in page, 'id="change-role"' in page) == (True, False)
    page = client.get(f"/organization/groups/{managed.pk}/").text
    assert ('id="members-managed"' in page, 'id="add-member"' in page) == (True, False)
    assert "from single sign-on" in client.get("/organization/groups/").text
    for path, body in (
        (f"/organization/groups/{managed.pk}/members/", {"email": administrator.email}),
        (f"/organization/groups/{managed.pk}/members/{member.pk}/remove/", {}),
        (f"/organization/users/{member.pk}/role/", {"site_role": "auditor"}),
    ):
        assert client.post(path, body).status_code == 302
    answer = client.post("/api/v1/users", {"email": "x@acme.example", "name": "X", "groups": [str(managed.pk)]}, **json)
    assert answer.status_code == 409
    assert list(managed.members.all()) == [member]
    assert User.objects.get(pk=member.pk).site_role != "auditor"
    # The name is the portal's, deactivation always works, and so does everything once the provider is off.
    assert client.patch(group, {"name": "Renamed", "members": [str(member.pk)]}, **json).status_code == 200
    change(row, is_enabled=False)
    assert client.patch(person, {"site_role": "auditor"}, **json).status_code == 200
    assert client.delete(group).status_code == 204
    assert Group.objects.count() == 0


# The configuration


GOOD = {"name": "Acme ID", "client_id": CLIENT_ID, "is_enabled": "on", "default_role": "guest", "people_per_hour": "5"}


def test_administrator_sets_it_up_on_the_page(provider, administrator, client):
    dev = GroupFactory(organization=administrator.organization, name="Dev")
    client.force_login(administrator)
    form = {**GOOD, "issuer": provider.issuer, "client_secret": "s3cret-of-client"}
    rules = {"role_rules": " groups = a=b -> Power User\n\ngroups = ops -> auditor", "group_rules": "groups = d -> dev"}

    answer = client.post(PAGE, {**form, **rules, "domains": "ACME.example, b.example"})

    assert answer.status_code == 302
    row = OrganizationProvider.objects.get()
    assert (row.organization, open_secret(row), row.domains) == (
        administrator.organization,
        "s3cret-of-client",
        "acme.example b.example",
    )
    assert row.role_rules[0] == {"claim": "groups", "value": "a=b", "site_role": "power_user"}
    assert row.group_rules == [{"claim": "groups", "value": "d", "group": str(dev.pk)}]
    assert list(row.managed_groups.all()) == [dev]
    page = client.get(PAGE).text
    assert f"/login/single-sign-on/{row.pk}/callback/" in page.replace("<wbr>", "")
    assert "groups = a=b -&gt; power_user" in page
    [entry] = details("policy.single_sign_on_changed")
    assert entry["client_secret"] == "set"
    assert "s3cret-of-client" not in page + str(entry) + row.sealed_secret + client.get(API).text

    # Another issuer or client needs the secret again: the stored one is never sent there.
    elsewhere = client.post(PAGE, {**form, "client_id": "other", "client_secret": ""})
    assert "Enter the client secret: the stored one" in elsewhere.text
    assert client.post(PAGE, {**form, "client_secret": "", "name": "New name"}).status_code == 302
    assert "You have no password yourself" not in client.get(f"{PAGE}remove/").text
    User.objects.filter(pk=administrator.pk).update(password="!")
    client.force_login(User.objects.get(pk=administrator.pk))
    assert "You have no password yourself" in client.get(f"{PAGE}remove/").text
    SocialAccount.objects.create(user=administrator, provider=row.connection, uid=SUBJECT)
    client.post(f"{PAGE}remove/")
    assert not OrganizationProvider.objects.exists()
    assert not SocialAccount.objects.exists()
    assert len(details("policy.single_sign_on_removed")) == 1


def test_wrong_settings_are_refused_beside_their_fields(provider, administrator, client, settings):
    foreign = GroupFactory(name="Foreign")
    client.force_login(administrator)
    form = {**GOOD, "issuer": provider.issuer, "client_secret": "x"}
    for wrong, said in (
        ({"issuer": "https://evil.example"}, "The operator allows only these hosts"),
        ({"issuer": "http://169.254.169.254/"}, "Enter an address like"),
        ({"issuer": "https://a@localhost"}, "Enter an address like"),
        ({"issuer": "\x00"}, "Null characters"),
        ({"client_secret": ""}, "Enter the client secret."),
        ({"creates_people": "on"}, "Enter the domains"),
        ({"domains": "@acme"}, "Not a domain: @acme"),
        ({"domains": "münchen.example"}, "Not a domain"),
        ({"default_role": "administrator"}, "Select a valid choice"),
        ({"people_per_hour": "0"}, "greater than or equal to 1"),
        ({"role_rules": "groups -> user"}, "Line 1: write it like"),
        ({"role_rules": "a = b -> user\na = b -> king"}, "Line 2: no such site role"),
        ({"group_rules": "a = b -> Foreign"}, "your organization has no group “Foreign”"),
        ({"role_rules": "a = b -> user\n" * 101}, "at most 100 rules"),
        ({"seen": "other"}, "Someone else changed this"),
    ):
        answer = client.post(PAGE, {**form, **wrong})
        assert answer.status_code in {400, 409}, wrong
        assert said in unescape(answer.text), wrong
        assert 'value="x"' not in answer.text
    body = {**form, "is_enabled": True, "people_per_hour": 5}
    for wrong in (
        {"group_rules": [{"claim": "a", "value": "b", "group": str(foreign.pk)}]},
        {"role_rules": [{"claim": "a", "value": "\u202e", "site_role": "user"}]},
        {"default_role": "administrator"},
        {"domains": "acme.example"},
    ):
        assert client.patch(API, {**body, **wrong}, content_type="application/json").status_code == 400, wrong
    assert not OrganizationProvider.objects.exists()

    settings.OIDC_ORGANIZATION_HOSTS = ()
    assert client.patch(API, body, content_type="application/json").json()["code"] == "no_own_providers"
    assert "OIDC_ORGANIZATION_HOSTS" in client.get(PAGE).text


def test_api_sets_up_shows_and_removes_it(provider, administrator, client):
    dev = GroupFactory(organization=administrator.organization)
    client.force_login(administrator)
    assert (client.get(API).json()["is_set_up"], client.get(API).json()["is_enabled"]) == (False, False)
    body = {
        "name": "Acme ID",
        "issuer": provider.issuer,
        "client_id": CLIENT_ID,
        "client_secret": "s3cret",
        "domains": ["acme.example"],
        "group_rules": [{"claim": "groups", "value": "dev", "group": str(dev.pk)}],
    }

    shown = client.patch(API, body, content_type="application/json")

    assert shown.status_code == 200, shown.text
    assert {**shown.json(), **body, "client_secret": None} == {**shown.json(), "client_secret": None}
    stale = client.patch(API, {"name": "X"}, content_type="application/json", headers={"If-Match": '"0000"'})
    assert stale.status_code == 412
    assert (
        client.patch(API, {"name": "X"}, content_type="application/json").json()["group_rules"] == body["group_rules"]
    )
    assert client.delete(API).status_code == client.delete(API).status_code == 204


def test_claims_can_be_tried_without_keeping_anything(row, administrator, client):
    dev = GroupFactory(organization=administrator.organization, name="Dev")
    client.force_login(administrator)
    trying = f"{PAGE}try/"

    def preview(body):
        return client.post(f"{API}/preview", body, content_type="application/json")

    nothing = {"is_refused": False, "site_role": None, "role_rule": None, "groups": [], "left_out": []}
    assert preview({"claims": {"groups": ["ops"]}}).json() == nothing
    assert "there are no lines for site roles" in client.post(trying, {"claims": "{}"}).text
    change(
        row,
        role_rules=[{"claim": "groups", "value": "ops", "site_role": "auditor"}],
        group_rules=[{"claim": "groups", "value": "dev", "group": str(dev.pk)}],
    )
    before = Activity.objects.count()

    page = client.post(trying, {"claims": '{"groups": ["ops", "dev"]}'}).text

    assert "Site role Auditor: line 1 applies, groups = ops." in page
    assert "line 1 applies, groups = dev." in page
    assert preview({"claims": {"groups": ["ops", "dev"]}}).json() == nothing | {
        "site_role": "auditor",
        "role_rule": 1,
        "groups": [{"id": str(dev.pk), "name": "Dev", "rule": 1}],
    }
    assert preview({"claims": {"_claim_names": {"groups": "x"}}}).json() == nothing | {"left_out": ["groups"]}
    assert "no line applies, so it is the one by default" in client.post(trying, {"claims": "{}"}).text
    left_out = client.post(trying, {"claims": '{"_claim_names": {"groups": "x"}}'}).text
    assert "The provider has left out these claims" in left_out
    change(row, refuses_unmapped=True)
    assert "The sign-in is refused" in client.post(trying, {"claims": "{}"}).text
    assert preview({"claims": {}}).json() == nothing | {"is_refused": True}
    for body in ({}, {"claims": None}, {"claims": []}, {"claims": "{}"}, {"claims": {}, "more": 1}, []):
        assert preview(body).status_code == 400
    assert preview({"claims": {"\x00": "\x00", "groups": [{"x": [None]}]}}).status_code == 200
    for wrong in ("", "[]", "x.y.z", '"a"', "[" * 50_000, "\x00"):
        assert client.post(trying, {"claims": wrong}).status_code == 400
    assert Activity.objects.count() == before


def test_operators_see_and_remove_it_in_django_admin(row, client):
    client.force_login(OperatorFactory())
    page = client.get(f"/admin/accounts/organizationprovider/{row.pk}/change/").text

    assert row.issuer in page
    assert row.sealed_secret not in page
    client.post(f"/admin/accounts/organizationprovider/{row.pk}/delete/", {"post": "yes"})
    assert not OrganizationProvider.objects.exists()
    assert [entry.organization for entry in Activity.objects.filter(action="policy.single_sign_on_removed")] == [
        row.organization
    ]
