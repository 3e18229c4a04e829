"""An identity provider manages people and groups with SCIM, at `/scim/v2/`."""

import json

import pytest
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Group, OrganizationProvider, User
from accounts.roles import SiteRole
from accounts.scim import views
from accounts.tests.factories import GroupFactory, ServiceAccountFactory, UserFactory
from accounts.tests.factors import add_passkey
from auditlog.models import Activity, TokenUse
from core.api.scopes import SCIM, SCOPES, as_string
from core.models import OutgoingMail
from core.setting_readers import OpenIDProvider
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory
from tokens.tests.factories import TokenFactory, bearer

pytestmark = pytest.mark.django_db

ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
NEW = {
    "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
    "userName": "Nova@acme.example",
    "externalId": "00u1",
    "name": {"givenName": "Nova", "familyName": "New"},
    "emails": [{"value": "nova@acme.example", "primary": True}],
    "active": True,
}


@pytest.fixture
def scim(api, administrator):
    """Sends a request with a token for SCIM, and returns the answer."""
    organization = administrator.organization
    organization.allowed_scopes = as_string(SCOPES)
    organization.save()
    headers = bearer(TokenFactory(owner=administrator, scope="scim"))

    def send(method, place, body=None, **more):
        return api.generic(
            method,
            f"/scim/v2/{place}",
            json.dumps(body) if body is not None else "",
            content_type="application/scim+json",
            headers=headers | more,
        )

    return send


def refusal(answer):
    body = answer.json()
    assert answer["Content-Type"] == "application/scim+json"
    assert (body["schemas"], body["status"]) == ([ERROR], str(answer.status_code))
    return answer.status_code, body.get("scimType", "")


def recorded():
    entries = Activity.objects.exclude(type="token").order_by("at", "id")
    return list(entries.values_list("action", "target_name", "details"))


def test_person_is_created_changed_and_deleted(scim, administrator, settings):
    settings.OPENID_PROVIDER = OpenIDProvider("https://id.acme.example", "portal", "a secret", "Acme ID")
    created = scim("POST", "Users", NEW)
    person = created.json()
    user = User.objects.get(email="nova@acme.example")
    assert (created.status_code, created["Content-Type"]) == (201, "application/scim+json")
    assert created["Location"] == person["meta"]["location"] == f"{settings.PORTAL_URL}/scim/v2/Users/{user.pk}"
    assert created["ETag"] == person["meta"]["version"]
    assert (user.name, user.site_role, user.external_id, user.has_usable_password()) == (
        "Nova New",
        SiteRole.GUEST,
        "00u1",
        False,
    )
    assert (person["userName"], person["roles"], person["groups"]) == (user.email, [{"value": "guest"}], [])
    # They sign in with the provider.
    assert not OutgoingMail.objects.exists()

    place = f"Users/{user.pk}"
    changed = scim("PUT", place, {"userName": "nova@acme.example", "displayName": "Nova Newer", "roles": ["user"]})
    assert (changed.status_code, changed.json()["displayName"]) == (200, "Nova Newer")
    assert changed.json()["externalId"] == "00u1"
    token, group = TokenFactory(owner=user), GroupFactory(organization=user.organization)
    group.members.add(user)

    off = scim("PATCH", place, {"Operations": [{"op": "Replace", "path": "active", "value": "False"}]})
    assert off.json()["active"] is False
    assert scim("GET", 'Users?filter=externalId eq "00u1" and active eq false').json()["totalResults"] == 1
    user.refresh_from_db()
    assert not user.is_active

    user.set_password("an old password")
    user.save()
    add_passkey(user)
    SocialAccount.objects.create(user=user, provider="oidc-1", uid="old")
    assert scim("DELETE", place).status_code == 204
    # The address can belong to someone else when it comes back.
    assert not User.objects.get(pk=user.pk).has_usable_password()
    for gone in (Authenticator, SocialAccount):
        assert not gone.objects.filter(user=user).exists()
    token.refresh_from_db()
    assert token.revoked_at is not None
    for method, body in (("GET", None), ("PUT", NEW), ("PATCH", {"Operations": []}), ("DELETE", None)):
        assert refusal(scim(method, place, body)) == (404, "")
    assert scim("GET", 'Users?filter=userName eq "nova@acme.example"').json()["Resources"] == []
    assert not group.members.exists()

    again = scim("POST", "Users", NEW)
    assert (again.status_code, again.json()["id"], again.json()["roles"]) == (201, str(user.pk), [{"value": "guest"}])
    assert refusal(scim("POST", "Users", NEW)) == (409, "uniqueness")

    names = [action for action, _, _ in recorded()]
    assert names == [
        *("user.created", "user.role_changed", "user.changed", "user.deactivated"),
        *("authentication.two_factor_removed", "authentication.provider_disconnected", "group.changed"),
        *("user.role_changed", "user.activated", "user.changed"),
    ]
    entry = Activity.objects.get(action="user.deactivated")
    assert (entry.actor, entry.token_name != "") == (administrator, True)
    assert TokenUse.objects.filter(target="/scim/v2/Users", method="POST").count() == 3


def test_person_without_single_sign_on_is_invited_once_active(scim):
    created = scim("POST", "Users", NEW | {"active": "false"}).json()
    assert (created["active"], OutgoingMail.objects.count()) == (False, 0)

    scim("PATCH", f"Users/{created['id']}", {"Operations": [{"op": "replace", "value": {"active": "True"}}]})
    assert OutgoingMail.objects.count() == 1


def test_deactivation_ends_sessions_and_tokens_at_once(scim, api, client, member):
    client.force_login(member)
    headers = bearer(TokenFactory(owner=member))
    assert api.get("/api/v1/me", headers=headers).status_code == 200

    scim("PATCH", f"Users/{member.pk}", {"Operations": [{"op": "replace", "path": "active", "value": False}]})
    assert api.get("/api/v1/me", headers=headers).status_code == 401
    assert client.get("/profile/").status_code == 302


def test_deactivation_takes_effect_whatever_else_the_body_has(scim, member, owner, organization):
    provider = OrganizationProvider.objects.create(
        organization=organization,
        name="Acme ID",
        issuer="https://id.acme.example",
        client_id="portal",
        sealed_secret="x",
        connection="oidc-1",
        role_rules=[{"claim": "groups", "value": "x", "site_role": "user"}],
    )
    SocialAccount.objects.create(user=member, provider=provider.connection, uid="1")
    place, role = f"Users/{member.pk}", member.site_role
    body = {"userName": member.email, "displayName": "Mia", "roles": ["auditor"], "active": True}

    assert scim("PUT", place, body).json()["roles"] == [{"value": role}]
    assert refusal(scim("PUT", place, body | {"userName": owner.email}))[0] == 409
    off = scim("PUT", place, body | {"userName": owner.email, "active": False})
    assert (off.status_code, off.json()["active"], off.json()["userName"]) == (200, False, member.email)
    # Somebody whom an earlier release deleted is still connected.
    User.objects.filter(pk=member.pk).update(deprovisioned_at="2026-01-01T00:00Z")
    again = scim("POST", "Users", body)
    assert (again.status_code, again.json()["roles"]) == (201, [{"value": role}])


def test_last_administrator_stays(scim, administrator):
    place = f"Users/{administrator.pk}"
    for method, body in (
        ("DELETE", None),
        ("PATCH", {"Operations": [{"op": "replace", "path": "active", "value": False}]}),
        ("PUT", {"userName": administrator.email, "roles": [{"value": "user"}]}),
    ):
        answer = scim(method, place, body)
        assert refusal(answer) == (409, "")
        assert "needs an active Administrator" in answer.json()["detail"]
    administrator.refresh_from_db()
    assert (administrator.is_active, administrator.site_role) == (True, SiteRole.ADMINISTRATOR)


def test_nothing_of_another_organization_is_shown_or_changed(scim, stranger, member):
    theirs = GroupFactory(organization=stranger.organization, name="Theirs", external_id="x")
    for place in (f"Users/{stranger.pk}", f"Groups/{theirs.pk}"):
        for method, body in (("GET", None), ("PUT", NEW | {"displayName": "x"}), ("DELETE", None)):
            assert refusal(scim(method, place, body)) == (404, "")
    assert scim("GET", f'Users?filter=userName eq "{stranger.email}"').json()["totalResults"] == 0
    assert scim("GET", "Groups").json()["totalResults"] == 0
    assert scim("GET", f'Groups?filter=members[value eq "{stranger.pk}"]').json()["totalResults"] == 0

    # An address is taken wherever it is; the answer doesn't say where.
    taken = scim("POST", "Users", NEW | {"userName": stranger.email})
    assert (refusal(taken), stranger.organization.name in taken.content.decode()) == ((409, "uniqueness"), False)
    nobody = "6f1e4ad0-0000-4000-8000-000000000000"
    unknown, foreign = (
        scim("POST", "Groups", {"displayName": "New", "members": [{"value": str(pk)}]}) for pk in (nobody, stranger.pk)
    )
    assert unknown.content == foreign.content
    assert refusal(unknown) == (400, "invalidValue")
    assert not Group.objects.filter(name="New").exists()


def test_group_is_created_changed_and_deleted(scim, owner, member):
    created = scim(
        "POST", "Groups", {"displayName": "Builders", "externalId": "g1", "members": [{"value": str(owner.pk)}]}
    )
    group = Group.objects.get()
    place = f"Groups/{group.pk}"
    assert (created.status_code, created.json()["externalId"]) == (201, "g1")
    assert [each["value"] for each in created.json()["members"]] == [str(owner.pk)]
    assert refusal(scim("POST", "Groups", {"displayName": "builders"})) == (409, "uniqueness")
    assert refusal(scim("POST", "Groups", {"displayName": "x" * 51})) == (400, "invalidValue")

    scim("PATCH", place, {"Operations": [{"op": "Add", "path": "members", "value": [{"value": str(member.pk)}]}]})
    assert set(group.members.all()) == {owner, member}
    renamed = {"op": "replace", "value": {"displayName": "Testers"}}
    removed = {"op": "remove", "path": f'members[value eq "{owner.pk}"]'}
    scim("PATCH", place, {"Operations": [renamed, removed]})
    assert set(group.members.all()) == {member}
    assert scim("GET", f"Users/{member.pk}").json()["groups"][0]["display"] == "Testers"

    assert scim("PUT", place, {"displayName": "Testers"}).json()["members"] != []
    machine = ServiceAccountFactory(organization=owner.organization, responsible=[owner])
    group.members.add(machine)
    assert scim("PUT", place, {"displayName": "Testers", "members": []}).json()["members"] == []
    assert list(group.members.all()) == [machine]
    rule = AccessRuleFactory(pipeline=PipelineFactory(owner=owner), user=None, group=group)
    assert refusal(scim("DELETE", place)) == (409, "")
    rule.delete()
    assert scim("DELETE", place).status_code == 204
    assert [action for action, _, _ in recorded()] == [
        "group.created",
        "group.changed",
        "group.changed",
        "group.changed",
        "group.deleted",
    ]


def test_version_guards_against_overwriting(scim, member):
    place = f"Users/{member.pk}"
    version = scim("GET", place)["ETag"]
    assert scim("GET", place, **{"If-None-Match": f"W/{version}"}).status_code == 304

    body = {"Operations": [{"op": "replace", "path": "displayName", "value": "Mo M."}]}
    changed = scim("PATCH", place, body, **{"If-Match": version})
    assert (changed.status_code, changed["ETag"] != version) == (200, True)
    assert refusal(scim("PATCH", place, body, **{"If-Match": version})) == (412, "")
    assert refusal(scim("DELETE", place, **{"If-Match": version})) == (412, "")

    group = GroupFactory(organization=member.organization)
    place = f"Groups/{group.pk}"
    version = scim("GET", place)["ETag"]
    group.members.add(member)
    assert refusal(scim("PUT", place, {"displayName": "x"}, **{"If-Match": version})) == (412, "")


def test_people_are_found_by_filter_page_by_page(scim, administrator, owner, member):
    group = GroupFactory(organization=owner.organization, name="Builders")
    group.members.add(owner)
    User.objects.filter(pk=member.pk).update(is_active=False, external_id="Ab")

    def found(text, place="Users"):
        answer = scim("POST", f"{place}/.search", {"filter": text})
        return {each["id"] for each in answer.json()["Resources"]}

    ids = {person: str(person.pk) for person in (administrator, owner, member)}
    for text, expected in (
        ('userName eq "OWNER@acme.example"', {owner}),
        ('emails[type eq "work" and value sw "owner"]', {owner}),
        ('emails[type eq "home" or value eq "x"]', set()),
        ('displayName co "o" and not (active eq "True")', {member}),
        ('externalId eq "Ab"', {member}),
        ('externalId eq "ab"', set()),
        ("externalId pr", {member}),
        ("externalId eq null and name.givenName pr", set()),
        (f'groups.value eq "{group.pk}"', {owner}),
        ('groups[display eq "builders" and type eq "direct"]', {owner}),
        (f'id eq "{member.pk}" or roles.value ew "strator"', {member, administrator}),
        ('id eq "x"', set()),
        ('meta.created gt "2020-01-01T00:00:00Z" and userName ne "owner@acme.example"', {administrator, member}),
        ('userName gt "m"', {member, owner}),
        ('nickName eq "x" or meta.resourceType eq "User" and active eq false', {member}),
    ):
        assert found(text) == {ids[person] for person in expected}, text
    assert found(f'members.value eq "{owner.pk}"', "Groups") == {str(group.pk)}
    assert found(f'members[value eq "{member.pk}"]', "Groups") == set()

    late = 'meta.created lt "9999-12-31T23:59:59-23:00"'
    for text in (
        'shoeSize eq "5"',
        "active gt true",
        'id co "a"',
        "userName eq 5",
        'meta.created eq "x"',
        late,
        "userName",
    ):
        assert refusal(scim("GET", f"Users?filter={text}")) == (400, "invalidFilter"), text
    assert refusal(scim("GET", "Users?startIndex=x")) == (400, "invalidValue")

    pages = [scim("GET", f"Users?count=2&startIndex={start}&aadOptscim062020").json() for start in (1, 3, 5)]
    assert [(page["totalResults"], page["itemsPerPage"]) for page in pages] == [(3, 2), (3, 1), (3, 0)]
    assert {each["id"] for page in pages for each in page["Resources"]} == set(ids.values())
    assert scim("GET", "Users?count=0").json()["itemsPerPage"] == 0

    both = scim("POST", ".search", {"filter": 'displayName eq "builders" or userName sw "owner"', "count": 5}).json()
    assert [each["id"] for each in both["Resources"]] == [ids[owner], str(group.pk)]
    assert set(scim("GET", f"Users/{owner.pk}?attributes=userName,name.formatted").json()) == {
        *("schemas", "id", "userName", "name"),
    }
    assert "members" not in scim("GET", f"Groups/{group.pk}?excludedAttributes=members").json()


def test_lists_need_as_many_queries_for_many_as_for_few(scim, owner, monkeypatch):
    def queries(place):
        with CaptureQueriesContext(connection) as captured:
            answer = scim("GET", place).json()
        return len(captured), answer

    groups = [GroupFactory(organization=owner.organization) for _ in range(2)]
    groups[0].members.add(owner)
    # The first use of a token also notes it at the token.
    scim("GET", "Users?count=0")
    few = {place: queries(place)[0] for place in ("Users", "Groups")}
    people = [UserFactory(organization=owner.organization) for _ in range(10)]
    for group in [*groups, *(GroupFactory(organization=owner.organization) for _ in range(8))]:
        group.members.add(*people)

    assert {place: queries(place)[0] for place in ("Users", "Groups")} == few
    # A list is cut where its groups have too many members together, and says so.
    monkeypatch.setattr(views, "MOST_MEMBERS", 25)
    _, cut = queries("Groups")
    assert (cut["totalResults"], cut["itemsPerPage"]) == (10, 2)


def test_other_tokens_and_roles_are_refused_in_the_shape_of_scim(scim, api, administrator, member):
    every_other = as_string(scope for scope in SCOPES if scope is not SCIM)
    answer = api.get("/scim/v2/Users", headers=bearer(TokenFactory(owner=administrator, scope=every_other)))
    assert refusal(answer) == (403, "")
    assert TokenUse.objects.latest("id").reason == "insufficient_scope"
    power = UserFactory(organization=member.organization, site_role=SiteRole.POWER_USER)
    assert refusal(api.get("/scim/v2/Users", headers=bearer(TokenFactory(owner=power, scope="scim")))) == (403, "")
    assert refusal(api.get("/scim/v2/Users")) == (401, "")
    assert refusal(scim("GET", "Nothing")) == (404, "")
    assert refusal(scim("POST", "Users", {"userName": "x" * 300_000})) == (413, "")
    assert refusal(scim("POST", "Users", {"userName": "not an address"})) == (400, "invalidValue")
    assert refusal(scim("POST", "Users", {"displayName": "x"})) == (400, "invalidValue")
    assert refusal(scim("PATCH", f"Users/{member.pk}", {"op": "add"})) == (400, "invalidSyntax")

    # The same token can do nothing of it elsewhere.
    headers = bearer(TokenFactory(owner=administrator, scope="api scim"))
    role = api.patch(f"/api/v1/users/{member.pk}", {"site_role": "administrator"}, format="json", headers=headers)
    assert role.status_code == 403


def test_scope_must_be_allowed_by_the_organization(api, administrator):
    assert "scim" not in administrator.organization.allowed_scopes
    answer = api.get("/scim/v2/Users", headers=bearer(TokenFactory(owner=administrator, scope="scim")))
    assert refusal(answer) == (401, "")
    assert TokenUse.objects.get().reason == "blocked_by_policy"
