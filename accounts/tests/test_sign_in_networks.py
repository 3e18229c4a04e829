"""Signing in, and using a session, only from an organization's networks."""

import json

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.test import Client

from accounts import invitations
from accounts.models import Organization, User
from accounts.roles import SiteRole
from accounts.services import OwnAddressOutside, planned_policy
from accounts.signin import password_reset
from accounts.tests.factories import PASSWORD, OperatorFactory, UserFactory
from accounts.tests.factors import HOST, Passkey, add_app, add_passkey, code_of, make_recent
from auditlog.models import Activity

INSIDE, OUTSIDE = "192.0.2.7", "198.51.100.1"
POLICY, SAVE, API = "/organization/policy/", "/organization/policy/save/", "/api/v1/organization/policy"
PREVIEW = f"{API}/preview"
SAYS = "You are at 198.51.100.1. People with the site role User can use the portal only from"


@pytest.fixture
def limited(organization):
    """For Users and Administrators only."""
    organization.sign_in_networks = "192.0.2.0/24 2001:db8::/32"
    organization.sign_in_network_roles = f"{SiteRole.ADMINISTRATOR} {SiteRole.USER}"
    organization.save()


def sign_in(user, address, client=None, **extra):
    client = client or Client()
    return client, client.post("/login/", {"login": user.email, "password": PASSWORD}, REMOTE_ADDR=address, **extra)


def refusals():
    entries = Activity.objects.filter(action="authentication.refused").order_by("id")
    return [(entry.target_name, entry.ip, entry.details["methods"]) for entry in entries]


def is_signed_in(client):
    return "_auth_user_id" in client.session


# Signing in


@pytest.mark.each_database
def test_person_signs_in_only_from_inside_and_the_log_says_from_where(owner, limited):
    outside, answer = sign_in(owner, OUTSIDE)
    inside = [sign_in(owner, address)[0] for address in (INSIDE, "2001:db8::9", "::ffff:192.0.2.9")]

    assert answer.url == "/login/"
    assert SAYS in outside.get("/login/", REMOTE_ADDR=OUTSIDE).text
    assert not is_signed_in(outside)
    assert all(map(is_signed_in, inside))
    assert refusals() == [(owner.email, OUTSIDE, ["password"])]


def test_person_with_a_wrong_password_learns_nothing(owner, limited):
    client = Client()

    answer = client.post("/login/", {"login": owner.email, "password": "wrong"}, REMOTE_ADDR=OUTSIDE)

    assert "The e-mail address or the password is wrong." in answer.text
    assert OUTSIDE not in answer.text
    assert refusals() == []


def test_password_alone_learns_nothing_if_a_second_factor_is_missing(owner, limited):
    secret = add_app(owner)
    client, first = sign_in(owner, OUTSIDE)
    asked = client.get(first.url, REMOTE_ADDR=OUTSIDE)

    refused = client.post("/login/two-factor/", {"code": code_of(secret)}, REMOTE_ADDR=OUTSIDE)

    assert (first.url, asked.status_code, OUTSIDE in asked.text) == ("/login/two-factor/", 200, False)
    assert refused.url == "/login/"
    assert not is_signed_in(client)
    assert refusals() == [(owner.email, OUTSIDE, ["password", "authenticator app"])]
    # It is asked again: what was proved outside is forgotten.
    assert sign_in(owner, INSIDE, client)[1].url == "/login/two-factor/"


def test_person_who_leaves_between_the_two_steps_is_refused(owner, limited):
    secret = add_app(owner)
    client, _ = sign_in(owner, INSIDE)

    client.post("/login/two-factor/", {"code": code_of(secret)}, REMOTE_ADDR=OUTSIDE)

    assert not is_signed_in(client)


def test_passkey_is_refused_outside_and_does_not_count_for_a_later_password(owner, limited):
    device = Passkey()
    add_passkey(owner, device=device)

    def use_passkey(client, address):
        asked = client.get("/login/passkey/", headers={"accept": "application/json"}, REMOTE_ADDR=address).json()
        client.post("/login/passkey/", {"credential": json.dumps(device.get(asked))}, REMOTE_ADDR=address)
        return client

    outside, inside = (use_passkey(Client(SERVER_NAME=HOST), address) for address in (OUTSIDE, INSIDE))

    assert (is_signed_in(outside), is_signed_in(inside)) == (False, True)
    assert refusals() == [(owner.email, OUTSIDE, ["passkey"])]
    assert sign_in(owner, INSIDE, outside)[1].url == "/login/two-factor/"


def test_others_sign_in_from_everywhere(organization, stranger, limited):
    operator = OperatorFactory()
    power_user = UserFactory(organization=organization, site_role=SiteRole.POWER_USER)

    for person in (operator, power_user, stranger):
        assert is_signed_in(sign_in(person, OUTSIDE)[0]), person


# Links from mails


@pytest.mark.parametrize("kind", ["invitation", "password reset"])
def test_link_sets_no_password_outside_and_works_later_from_inside(owner, limited, kind):
    if kind == "invitation":
        owner.set_unusable_password()
        owner.joined_at = None
        owner.save()
        link, fields = invitations.link_for(owner), ("new_password1", "new_password2")
    else:
        link, fields = password_reset.link_for(owner), ("password1", "password2")
    typed = dict.fromkeys(fields, "A sentence that is new 7")
    client = Client()
    address = client.get(link.removeprefix(settings.PORTAL_URL), REMOTE_ADDR=OUTSIDE).headers["Location"]
    before = User.objects.get(pk=owner.pk).password

    refused = client.post(address, typed, REMOTE_ADDR=OUTSIDE)

    assert refused.status_code == 403
    assert SAYS in refused.text
    assert User.objects.get(pk=owner.pk).password == before
    assert refusals() == [(owner.email, OUTSIDE, [kind])]
    assert client.post(address, typed, REMOTE_ADDR=INSIDE).status_code == 302
    assert User.objects.get(pk=owner.pk).check_password("A sentence that is new 7")


# Sessions


def test_session_is_refused_outside_and_works_again_inside(administrator, limited):
    client, _ = sign_in(administrator, INSIDE)
    pages = ("/", "/profile/tokens/", "/admin/", "/admin/accounts/user/", "/login/", "/api/docs/")

    refused = [client.get(page, REMOTE_ADDR=OUTSIDE) for page in pages]
    posted = client.post("/profile/tokens/", {"name": "x"}, REMOTE_ADDR=OUTSIDE)
    api = client.get("/api/v1/me", REMOTE_ADDR=OUTSIDE)

    assert {answer.status_code for answer in (*refused, posted)} == {403}
    assert all("You can't use the portal from this network" in answer.text for answer in refused)
    assert "You are at 198.51.100.1" in refused[0].text
    assert (api.status_code, api.json()["code"]) == (403, "sign_in_network")
    # Once for each address.
    entry = Activity.objects.get(action="authentication.session_refused")
    assert (entry.ip, entry.target_name) == (OUTSIDE, administrator.email)
    assert client.get("/healthz", REMOTE_ADDR=OUTSIDE).status_code == 200
    assert client.get("/profile/", REMOTE_ADDR=INSIDE).status_code == 200
    assert client.post("/logout/", REMOTE_ADDR=OUTSIDE).status_code == 302
    assert not is_signed_in(client)


def test_refused_requests_do_not_keep_a_session_alive(owner, limited):
    client, _ = sign_in(owner, INSIDE)
    session = client.session
    session["seen_at"] -= 3600
    session.save()

    client.get("/", REMOTE_ADDR=OUTSIDE)

    assert client.session["seen_at"] == session["seen_at"]
    assert owner.usersession_set.get().ip == INSIDE


# The policy


def test_rule_needs_networks_and_roles(organization, administrator):
    def errors(**changes):
        with pytest.raises(ValidationError) as raised:
            planned_policy(actor=administrator, organization=organization, changes=changes)
        return list(raised.value.message_dict)

    assert errors(sign_in_networks="192.0.2.0/24") == ["sign_in_network_roles"]
    assert errors(sign_in_network_roles="user") == ["sign_in_networks"]
    assert errors(sign_in_networks="192.0.2.7/24", sign_in_network_roles="user") == ["sign_in_networks"]
    assert errors(sign_in_networks="192.0.2.0/24", sign_in_network_roles="king") == ["sign_in_network_roles"]
    assert errors(token_networks="\x00") == ["token_networks"]


def test_administrator_cannot_lock_themselves_out(client, administrator, organization, rf):
    client.force_login(administrator)
    make_recent(client)
    change = {"sign_in_networks": ["192.0.2.0/24"], "sign_in_network_roles": ["administrator"]}
    says = "You are at 127.0.0.1, which is in none of these networks"
    form = {**client.get(POLICY).context["form"].initial, **change}
    form = {name: "" if value is None else value for name, value in form.items()}

    answers = [send(path, change, "application/json") for send, path in ((client.patch, API), (client.post, PREVIEW))]
    pages = [client.post(POLICY, form), client.post(SAVE, form)]
    admin = client.post(
        f"/admin/accounts/organization/{organization.pk}/change/", {**form, "name": "Acme", "version": ""}
    )

    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (409, "own_address_outside")
        assert says in answer.json()["detail"]
    for page in pages:
        assert page.status_code == 400
        assert says in page.context["form"].errors["sign_in_networks"][0]
    assert says in admin.context["adminform"].form.errors["sign_in_networks"][0]
    assert Organization.objects.get(pk=organization.pk).sign_in_networks == ""
    # Of others, or with one's own network.
    assert client.patch(API, change | {"sign_in_network_roles": ["user"]}, "application/json").status_code == 200
    change["sign_in_networks"].append("127.0.0.0/8")
    changed = client.patch(API, change, "application/json").json()
    assert changed["sign_in_networks"] == ["192.0.2.0/24", "127.0.0.0/8"]
    details = Activity.objects.filter(action="policy.changed").latest("id").details
    assert details["sign_in_networks"]["to"] == changed["sign_in_networks"]
    # A request from an unknown address is outside of everything.
    request = rf.get("/", REMOTE_ADDR="")
    organization.refresh_from_db()
    with pytest.raises(OwnAddressOutside, match="an unknown address"):
        planned_policy(actor=administrator, organization=organization, changes={}, request=request)


def test_operator_repairs_a_policy_in_django_admin(limited, organization):
    client, _ = sign_in(OperatorFactory(), OUTSIDE)
    make_recent(client)
    page = f"/admin/accounts/organization/{organization.pk}/change/"
    fields = client.get(page, REMOTE_ADDR=OUTSIDE).context["adminform"].form.initial
    fields = {name: "" if value is None else value for name, value in fields.items()}
    fields |= {"sign_in_networks": "", "sign_in_network_roles": []}

    shown = client.post(page, fields, REMOTE_ADDR=OUTSIDE).context["adminform"].form.data["shown"]
    saved = client.post(page, fields | {"shown": shown}, REMOTE_ADDR=OUTSIDE)

    assert saved.status_code == 302
    assert Organization.objects.get(pk=organization.pk).sign_in_network_roles == ""


@pytest.mark.each_database
def test_preview_counts_people_signed_in_outside(client, owner, member, administrator):
    for person, address in ((owner, OUTSIDE), (owner, "198.51.100.2"), (member, INSIDE), (administrator, OUTSIDE)):
        sign_in(person, address)
    client.force_login(administrator)
    make_recent(client)
    change = {"sign_in_networks": ["192.0.2.0/24"], "sign_in_network_roles": ["user"]}

    effect = client.post(PREVIEW, change, "application/json").json()["effect"]
    form = {name: "" if value is None else value for name, value in client.get(POLICY).context["form"].initial.items()}
    page = client.post(POLICY, form | change).text

    assert effect["people_signed_in_outside"] == 1
    assert "1 person is signed in outside the new networks. Their session will be refused there." in page
