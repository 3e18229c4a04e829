"""Django admin follows the rules of the services. Who has access: `test_admin_access.py`."""

import json
import re
import threading

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import Group, Organization, User
from accounts.roles import SiteRole
from accounts.tests.factories import (
    PASSWORD,
    GroupFactory,
    OperatorFactory,
    UserFactory,
)
from auditlog.models import Activity
from opsera_portal.tests.admin_pages import OTHERS, address, rows_of
from opsera_portal.tests.mails import delivered
from opsera_portal.tests.worlds import check_row
from pipelines.models import Pipeline, Run
from pipelines.tests.factories import PipelineFactory, RunFactory, StepFactory, give_secrets
from tokens.tests.factories import TokenFactory, bearer


@pytest.fixture
def ours(owner):
    return rows_of(owner, "acme")


@pytest.fixture
def theirs(stranger):
    return rows_of(stranger, "elsewhere")


@pytest.fixture
def operator(db):
    return OperatorFactory(email="operator@portal.example")


@pytest.fixture
def sign_in(client, organization, administrator, stranger, operator):
    def as_(who):
        cast = {"administrator": administrator, "stranger": stranger, "operator": operator}
        if who != "signed_out":
            client.force_login(cast.get(who) or UserFactory(organization=organization, site_role=who))
        return client

    return as_


def errors(answer):
    """The errors of the form as one text. Fails if the answer has no form."""
    assert answer.status_code == 200
    found = re.findall(r'<ul class="errorlist[^"]*"[^>]*>(.*?)</ul>', answer.content.decode(), re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", each) for each in found)


def to_confirm(answer):
    """The question that the page asks, as one text. It must not look like an error."""
    page = answer.content.decode()
    assert "errornote" not in page
    assert "<title>Error" not in page
    (question,) = re.findall(r'<section [^>]*id="to-confirm">(.*?)</section>', page, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", question).split())


def messages(answer):
    return [str(message) for message in answer.context["messages"]]


def recorded():
    """(action, actor, target) of each activity log entry except sign-ins, newest first."""
    return [
        (entry.action, entry.actor_email, entry.target_name)
        for entry in Activity.objects.exclude(type="authentication")
    ]


# Tokens: read-only metadata, and one action


def expire(client, *tokens, reason="found in a log", **fields):
    data = {
        "index": "0",
        "action": "expire",
        "reason": reason,
        "_selected_action": [token.pk for token in tokens],
        **fields,
    }
    return client.post(address("token"), data, follow=True)


@pytest.mark.parametrize("who", ["administrator", "operator"])
def test_selected_tokens_are_expired_with_a_reason_and_a_log_entry(sign_in, ours, who, request):
    token = ours["token"]

    answer = expire(sign_in(who), token)

    assert messages(answer) == ["Expired 1 of 1 token."]
    token.refresh_from_db()
    actor = request.getfixturevalue(who)
    assert (token.revoked_by, token.revoke_reason, token.live_name_key) == (actor, "found in a log", None)
    entry = Activity.objects.get(action="token.revoked")
    assert (entry.actor, entry.target_id, entry.organization) == (actor, str(token.pk), token.organization)
    assert (entry.ip, entry.details) == ("127.0.0.1", {"reason": "found in a log"})


def test_token_expired_in_the_admin_is_refused(sign_in, api, ours):
    headers = bearer(ours["token"])
    expire(sign_in("administrator"), ours["token"])

    assert api.get("/api/v1/me", headers=headers).status_code == 401


def test_ended_tokens_are_counted_but_not_changed(sign_in, ours, owner):
    ended = TokenFactory(owner=owner, revoked_at=timezone.now(), revoked_by=owner, revoke_reason="first")

    answer = expire(sign_in("administrator"), ours["token"], ended)

    assert messages(answer) == ["Expired 1 of 2 tokens."]
    ended.refresh_from_db()
    assert (ended.revoked_by, ended.revoke_reason) == (owner, "first")


@pytest.mark.parametrize("fields", [{}, {"select_across": "1"}], ids=str)
def test_forged_selection_expires_no_token_of_another_organization(sign_in, ours, theirs, fields):
    expire(sign_in("administrator"), theirs["token"], **fields)

    theirs["token"].refresh_from_db()
    assert theirs["token"].revoked_at is None
    assert not Activity.objects.filter(action="token.revoked", organization=theirs["organization"]).exists()


@pytest.mark.parametrize("who", [*OTHERS, "signed_out"])
def test_other_roles_cannot_expire_tokens_in_the_admin(sign_in, ours, who):
    sign_in(who).post(address("token"), {"action": "expire", "_selected_action": [ours["token"].pk]})

    ours["token"].refresh_from_db()
    assert ours["token"].revoked_at is None


@pytest.mark.parametrize("reason", ["x" * 201, "a\x00b"])
def test_invalid_reason_expires_nothing(sign_in, ours, reason):
    answer = expire(sign_in("administrator"), ours["token"], reason=reason)

    assert answer.status_code == 200
    ours["token"].refresh_from_db()
    assert ours["token"].revoked_at is None


def test_empty_selection_shows_a_message_and_expires_nothing(sign_in, ours):
    answer = expire(sign_in("administrator"))

    assert "Items must be selected" in messages(answer)[0]
    ours["token"].refresh_from_db()
    assert ours["token"].revoked_at is None


# People

NEW_PERSON = {
    "email": "new@acme.example",
    "name": "Nina New",
    "site_role": "user",
    "password1": "a long enough password",
    "password2": "a long enough password",
}


def add_person(client, **fields):
    return client.post(address("user", "add"), NEW_PERSON | fields)


def change_person(client, person, **fields):
    data = {"email": person.email, "name": person.name, "site_role": person.site_role, "is_active": "on"} | fields
    return client.post(address("user", "change", person), {k: v for k, v in data.items() if v is not None})


def test_an_administrator_adds_a_person_to_their_organization(sign_in, client, organization, administrator):
    answer = add_person(sign_in("administrator"))

    assert answer.status_code == 302
    person = User.objects.get(email="new@acme.example")
    assert (person.organization, person.site_role, person.is_superuser) == (organization, SiteRole.USER, False)
    assert recorded() == [("user.created", administrator.email, "new@acme.example")]
    assert Activity.objects.first().organization == organization
    client.logout()
    client.post("/login/", {"login": "new@acme.example", "password": NEW_PERSON["password1"]})
    assert client.session["_auth_user_id"] == str(person.pk)


def test_an_operator_adds_a_person_to_the_organization_they_choose(sign_in, organization, operator):
    answer = add_person(sign_in("operator"), organization=organization.pk, site_role="administrator")

    assert answer.status_code == 302
    person = User.objects.get(email="new@acme.example")
    assert (person.organization, person.site_role) == (organization, SiteRole.ADMINISTRATOR)
    entry = Activity.objects.get(action="user.created")
    assert (entry.actor, entry.organization) == (operator, organization)


def test_an_operator_must_choose_an_organization(sign_in):
    assert "required" in errors(add_person(sign_in("operator")))
    assert not User.objects.filter(email="new@acme.example").exists()


def test_forged_organization_or_superuser_of_a_new_person_is_ignored(sign_in, organization, stranger):
    add_person(
        sign_in("administrator"),
        organization=stranger.organization.pk,
        is_superuser="on",
        is_staff="on",
        is_active="",
    )

    person = User.objects.get(email="new@acme.example")
    assert (person.organization, person.is_superuser, person.is_staff) == (organization, False, False)


WRONG_PEOPLE = [
    ({"password1": "short", "password2": "short"}, "at least 12 characters"),
    ({"password1": "123456789012", "password2": "123456789012"}, "entirely numeric"),
    ({"password1": "password12345", "password2": "password12345"}, "too common"),
    ({"password1": "new@acme.example", "password2": "new@acme.example"}, "easy to guess"),
    ({"password2": "another long password"}, "match"),
    ({"password1": "", "password2": ""}, "required"),
    ({"email": "OWNER@acme.example"}, "exists already"),
    ({"email": "Stranger@Elsewhere.example"}, "exists already"),
    ({"email": "not an address"}, "valid email"),
    ({"email": "a\x00b@acme.example"}, "Null characters"),
    ({"email": "x" * 250 + "@acme.example"}, "at most 254"),
    ({"name": ""}, "required"),
    ({"name": "\x00"}, "Null characters"),
    ({"name": "x" * 101}, "at most 100"),
    ({"site_role": "emperor"}, "valid choice"),
]


@pytest.mark.parametrize("who", ["administrator", "operator"])
def test_error_in_a_new_person_is_shown_as_a_message(sign_in, owner, stranger, who):
    client = sign_in(who)
    people = User.objects.count()
    columns = {ascii(wrong)[:60]: (wrong, explanation) for wrong, explanation in WRONG_PEOPLE}
    assert len(columns) == len(WRONG_PEOPLE)

    def attempt(column):
        wrong, explanation = columns[column]
        said = errors(add_person(client, **({"organization": owner.organization.pk} | wrong)))
        assert User.objects.count() == people
        assert recorded() == []
        return explanation if explanation in said else said

    check_row(who, {column: explanation for column, (_, explanation) in columns.items()}, attempt)


@pytest.mark.parametrize("who", ["administrator", "operator"])
def test_a_change_of_role_is_recorded_in_the_organizations_log(sign_in, owner, who, request):
    answer = change_person(sign_in(who), owner, site_role="auditor")

    assert answer.status_code == 302
    owner.refresh_from_db()
    assert owner.site_role == SiteRole.AUDITOR
    actor = request.getfixturevalue(who)
    assert recorded() == [("user.role_changed", actor.email, owner.email)]
    entry = Activity.objects.first()
    assert (entry.organization, entry.details) == (owner.organization, {"from": "user", "to": "auditor"})
    assert (entry.ip, entry.request_id is not None) == ("127.0.0.1", True)


def test_deactivating_and_activating_a_person_is_logged(sign_in, owner, administrator):
    client = sign_in("administrator")

    change_person(client, owner, is_active=None)
    assert not User.objects.get(pk=owner.pk).is_active
    change_person(client, owner)
    assert User.objects.get(pk=owner.pk).is_active

    assert recorded() == [
        ("user.activated", administrator.email, owner.email),
        ("user.deactivated", administrator.email, owner.email),
    ]


def test_saving_a_person_without_changes_is_not_logged(sign_in, owner):
    assert change_person(sign_in("administrator"), owner).status_code == 302
    assert recorded() == []


@pytest.mark.parametrize("change", [{"site_role": "power_user"}, {"is_active": None}], ids=str)
@pytest.mark.parametrize("who", ["administrator", "operator"])
def test_last_administrator_cannot_be_demoted_or_deactivated(sign_in, administrator, who, change):
    answer = change_person(sign_in(who), administrator, **change)

    assert "needs an active Administrator" in errors(answer)
    administrator.refresh_from_db()
    assert (administrator.site_role, administrator.is_active) == (SiteRole.ADMINISTRATOR, True)
    assert recorded() == []


def test_one_of_two_administrators_can_be_demoted(sign_in, organization, administrator):
    UserFactory(organization=organization, site_role=SiteRole.ADMINISTRATOR)

    answer = change_person(sign_in("administrator"), administrator, site_role="user")

    assert answer.status_code == 302
    administrator.refresh_from_db()
    assert administrator.site_role == SiteRole.USER


def test_forged_organization_or_superuser_of_a_person_is_ignored(sign_in, owner, stranger):
    change_person(
        sign_in("administrator"),
        owner,
        organization=stranger.organization.pk,
        is_superuser="on",
        is_staff="on",
        password="plain",
    )

    saved = User.objects.get(pk=owner.pk)
    assert (saved.organization, saved.is_superuser, saved.password) == (owner.organization, False, owner.password)


def test_a_forged_change_of_a_person_of_another_organization_changes_nothing(sign_in, stranger):
    answer = change_person(sign_in("administrator"), stranger, name="Changed", site_role="guest")

    assert answer.url == "/admin/"
    saved = User.objects.get(pk=stranger.pk)
    assert (saved.name, saved.site_role) == (stranger.name, SiteRole.ADMINISTRATOR)


@pytest.mark.parametrize(
    ("wrong", "explanation"),
    [
        ({"email": "Member@acme.example"}, "exists already"),
        ({"email": ""}, "required"),
        ({"name": "  "}, "required"),
        ({"site_role": ""}, "required"),
    ],
    ids=str,
)
def test_error_in_a_change_of_a_person_is_shown_as_a_message(sign_in, owner, member, wrong, explanation):
    assert explanation in errors(change_person(sign_in("administrator"), owner, **wrong))
    assert recorded() == []


def test_page_of_a_person_shows_no_part_of_their_password(sign_in, owner):
    page = sign_in("administrator").get(address("user", "change", owner)).content.decode()

    algorithm, salt, digest = owner.password.split("$")
    assert algorithm not in page
    assert salt[:6] not in page
    assert digest[:6] not in page


def test_a_person_who_lost_their_password_gets_a_new_one(sign_in, client, owner, administrator):
    answer = change_person(sign_in("administrator"), owner, new_password="a wholly new password")

    assert answer.status_code == 302
    entry = Activity.objects.get(action="authentication.password_changed")
    assert (entry.actor, entry.target_name) == (administrator, owner.email)
    assert "wholly" not in str(list(Activity.objects.values())) + str(list(LogEntry.objects.values()))
    client.logout()
    client.post("/login/", {"login": owner.email, "password": "a wholly new password"})
    assert client.session["_auth_user_id"] == str(owner.pk)


@pytest.mark.parametrize(
    ("password", "explanation"),
    [("tiny-pw-9", "at least 12"), ("owner@acme.exampl3", "easy to guess"), ("password12345", "too common")],
)
def test_a_weak_new_password_is_refused_and_not_repeated(sign_in, owner, password, explanation):
    answer = change_person(sign_in("administrator"), owner, new_password=password)

    assert explanation in errors(answer)
    assert password not in answer.content.decode()
    assert User.objects.get(pk=owner.pk).check_password(PASSWORD)


def test_a_new_password_ends_all_sessions_of_that_person(sign_in, owner):
    theirs = Client()
    theirs.force_login(owner)

    change_person(sign_in("administrator"), owner, new_password="a wholly new password")

    assert theirs.get("/profile/").url.startswith("/login/")


@pytest.mark.parametrize(
    ("change", "told_at", "said"),
    [
        ({"new_password": "a wholly new password"}, "owner@acme.example", "your password for the Opsera Portal"),
        ({"email": "other@acme.example"}, "owner@acme.example", "other@acme.example"),
    ],
    ids=["password", "address"],
)
def test_person_is_told_who_changed_their_password_or_address(
    sign_in, settings, django_capture_on_commit_callbacks, owner, change, told_at, said
):
    client = sign_in("administrator")

    with django_capture_on_commit_callbacks(execute=True):
        change_person(client, owner, **change)

    [message] = delivered()
    assert message.to == [told_at]
    assert said in message.body
    assert "by Ada Admin (admin@acme.example)" in message.body
    assert "a wholly new password" not in message.body


@pytest.mark.parametrize("who", ["administrator", "operator"])
@pytest.mark.parametrize(
    "change", [{"new_password": "a wholly new password"}, {"email": "other@acme.example"}], ids=str
)
def test_own_password_and_address_cannot_be_changed_in_the_admin(sign_in, request, who, change):
    person = request.getfixturevalue(who)
    before = (person.email, person.password)

    change_person(sign_in(who), person, **change)

    person.refresh_from_db()
    assert (person.email, person.password) == before


def test_password_page_of_django_admin_redirects_to_the_portals(sign_in):
    client = sign_in("administrator")

    for answer in (client.get("/admin/password_change/"), client.post("/admin/password_change/", {})):
        assert (answer.status_code, answer.url) == (302, "/profile/security/password/")


def test_an_operator_changes_their_own_name(sign_in, operator):
    client = sign_in("operator")
    assert client.get(address("user", "change", operator)).status_code == 200

    assert change_person(client, operator, name="New Name").status_code == 302

    assert recorded() == [("user.changed", operator.email, operator.email)]
    assert Activity.objects.first().organization is None


# Groups


def save_group(client, group=None, **fields):
    return client.post(address("group", "change" if group else "add", group), {"name": "Builders"} | fields)


def test_administrator_creates_a_group_in_the_admin(sign_in, organization, administrator, owner, member):
    answer = save_group(sign_in("administrator"), members=[owner.pk, member.pk])

    assert answer.status_code == 302
    group = Group.objects.get()
    assert (group.organization, set(group.members.all())) == (organization, {owner, member})
    assert recorded() == [("group.created", administrator.email, "Builders")]
    assert Activity.objects.first().details == {"members": [member.email, owner.email]}


def test_a_change_of_members_is_recorded(sign_in, organization, administrator, owner):
    group = GroupFactory(organization=organization, name="Builders")

    save_group(sign_in("administrator"), group, members=[owner.pk])

    assert list(group.members.all()) == [owner]
    assert recorded() == [("group.changed", administrator.email, "Builders")]
    assert Activity.objects.first().details == {"added": [owner.email]}


def test_an_operator_changes_a_group(sign_in, organization, operator, owner):
    group = GroupFactory(organization=organization, name="Builders")

    assert save_group(sign_in("operator"), group, members=[owner.pk]).status_code == 302

    entry = Activity.objects.get(action="group.changed")
    assert (entry.actor, entry.organization) == (operator, organization)


def test_group_is_deleted_after_confirmation_and_logged(sign_in, organization, administrator):
    client = sign_in("administrator")
    group = GroupFactory(organization=organization, name="Builders")

    assert client.get(address("group", "delete", group)).status_code == 200
    assert Group.objects.exists()
    client.post(address("group", "delete", group), {"post": "yes"})

    assert not Group.objects.exists()
    assert recorded() == [("group.deleted", administrator.email, "Builders")]


@pytest.mark.parametrize("who", ["administrator", "operator"])
def test_a_group_cannot_have_a_member_of_another_organization(sign_in, organization, owner, stranger, who):
    group = GroupFactory(organization=organization, name="Builders")

    answer = save_group(sign_in(who), group, members=[owner.pk, stranger.pk])

    assert errors(answer)
    assert not group.members.exists()
    assert recorded() == []


def test_a_new_group_cannot_have_a_member_of_another_organization(sign_in, stranger):
    assert "valid choice" in errors(save_group(sign_in("administrator"), members=[stranger.pk]))
    assert not Group.objects.exists()


@pytest.mark.parametrize("name", ["Builders", "BUILDERS", " builders "])
@pytest.mark.parametrize("is_new", [True, False])
def test_group_name_in_use_is_shown_as_a_message(sign_in, organization, name, is_new):
    GroupFactory(organization=organization, name="Builders")
    group = None if is_new else GroupFactory(organization=organization, name="Testers")

    assert "exists already" in errors(save_group(sign_in("administrator"), group, name=name))
    assert recorded() == []


def test_group_name_of_another_organization_can_be_used(sign_in, stranger):
    GroupFactory(organization=stranger.organization, name="Builders")

    assert save_group(sign_in("administrator")).status_code == 302


@pytest.mark.parametrize("name", ["", "x" * 51, "\x00"])
def test_invalid_group_name_is_shown_as_a_message(sign_in, name):
    assert errors(save_group(sign_in("administrator"), name=name))
    assert not Group.objects.exists()


# The token policy


def open_policy(client, organization):
    """The current values of the page's form."""
    form = client.get(address("organization", "change", organization)).context["adminform"].form
    return {name: "" if value is None else value for name, value in form.initial.items()}


def review_policy(client, organization, **fields):
    """Sends the form once. This does not save a changed policy, but shows its effects."""
    return client.post(address("organization", "change", organization), open_policy(client, organization) | fields)


def save_policy(client, organization, **fields):
    """Sends the form, and sends it again to confirm the effects that the page shows."""
    answer = review_policy(client, organization, **fields)
    if answer.status_code != 200:
        return answer
    shown = answer.context["adminform"].form.data.get("shown", "")
    return review_policy(client, organization, **fields, shown=shown)


@pytest.mark.parametrize("days", [1, 30, 366])
@pytest.mark.parametrize("who", ["administrator", "operator"])
def test_policy_change_is_in_the_organizations_log(sign_in, organization, who, days, request):
    answer = save_policy(sign_in(who), organization, max_token_lifetime_days=days)

    assert answer.status_code == 302
    organization.refresh_from_db()
    assert organization.max_token_lifetime_days == days
    assert recorded() == [("policy.changed", request.getfixturevalue(who).email, "Acme")]
    entry = Activity.objects.first()
    assert (entry.organization, entry.details) == (
        organization,
        {"max_token_lifetime_days": {"from": 92, "to": days}},
    )


def test_admin_shows_what_a_policy_would_do_before_it_is_saved(sign_in, organization, owner):
    TokenFactory(owner=owner, scope="api")
    client = sign_in("operator")

    answer = review_policy(client, organization, allowed_scopes=["pipeline"])

    assert "1 token of 1 person will be blocked from their next use" in to_confirm(answer)
    organization.refresh_from_db()
    assert "api" in organization.allowed_scopes.split()
    assert save_policy(client, organization, allowed_scopes=["pipeline"]).status_code == 302
    organization.refresh_from_db()
    assert organization.allowed_scopes == "pipeline"


def test_admin_asks_again_if_the_effect_of_a_policy_has_changed(sign_in, organization, owner):
    client = sign_in("administrator")
    shown = review_policy(client, organization, allowed_scopes=["pipeline"]).context["adminform"].form.data["shown"]
    TokenFactory(owner=owner, scope="api")

    answer = review_policy(client, organization, allowed_scopes=["pipeline"], shown=shown)

    assert "1 token of 1 person will be blocked" in to_confirm(answer)
    organization.refresh_from_db()
    assert "api" in organization.allowed_scopes.split()


def test_admin_renames_an_organization_without_confirmation(sign_in, organization):
    assert review_policy(sign_in("operator"), organization, name="Acme Two").status_code == 302

    organization.refresh_from_db()
    assert organization.name == "Acme Two"


def test_admin_has_checkboxes_for_scopes_and_roles_of_the_policy(sign_in, organization):
    save_policy(sign_in("administrator"), organization, allowed_scopes=["pipeline", "api"], two_factor_roles=["user"])

    organization.refresh_from_db()
    assert (organization.allowed_scopes, organization.two_factor_roles) == ("api pipeline", "user")


def test_a_policy_that_was_changed_since_the_page_was_opened_is_not_overwritten(sign_in, organization):
    client = sign_in("administrator")
    opened = open_policy(client, organization)
    Organization.objects.update(max_live_tokens=7)

    answer = client.post(address("organization", "change", organization), opened | {"log_retention_days": 30})

    assert "Somebody else changed the policy" in client.get(answer.url).content.decode()
    organization.refresh_from_db()
    assert (organization.max_live_tokens, organization.log_retention_days) == (7, 400)


def test_administrator_cannot_lock_themselves_out_in_the_admin(sign_in, organization):
    client = sign_in("administrator")

    answer = save_policy(client, organization, two_factor_roles=["administrator"])

    assert "Set up two-factor for yourself first" in errors(answer)
    organization.refresh_from_db()
    assert organization.two_factor_roles == ""


def test_person_who_signed_in_long_ago_proves_identity_before_the_policy_changes(sign_in, organization):
    client = sign_in("administrator")
    opened = open_policy(client, organization)
    session = client.session
    session["account_authentication_methods"] = []
    session.save()

    answer = client.post(address("organization", "change", organization), opened | {"log_retention_days": 30})

    assert answer.url.startswith("/login/again/?")
    organization.refresh_from_db()
    assert organization.log_retention_days == 400


@pytest.mark.parametrize("days", ["29", "3661", "-1", "", "x"])
def test_logs_are_kept_for_30_to_3660_days(sign_in, organization, days):
    assert errors(save_policy(sign_in("administrator"), organization, log_retention_days=days))
    assert save_policy(sign_in("administrator"), organization, log_retention_days=30).status_code == 302
    organization.refresh_from_db()
    assert organization.log_retention_days == 30


@pytest.mark.parametrize("days", ["0", "367", "-1", "", "1.5", "many", "9" * 400, "\x00"])
def test_policy_outside_of_1_to_366_days_is_shown_as_a_message(sign_in, organization, days):
    answer = save_policy(sign_in("administrator"), organization, max_token_lifetime_days=days)

    assert errors(answer)
    organization.refresh_from_db()
    assert organization.max_token_lifetime_days == 92
    assert recorded() == []


def test_forged_slug_is_ignored(sign_in, organization):
    save_policy(sign_in("administrator"), organization, slug="another")

    organization.refresh_from_db()
    assert organization.slug == "acme"


def test_a_forged_change_of_another_organizations_policy_changes_nothing(sign_in, organization, stranger):
    client = sign_in("administrator")
    forged = open_policy(client, organization) | {"max_token_lifetime_days": 1}

    answer = client.post(address("organization", "change", stranger.organization), forged)

    assert answer.url == "/admin/"
    assert Organization.objects.get(pk=stranger.organization.pk).max_token_lifetime_days == 92


def test_organization_name_in_use_is_shown_as_a_message(sign_in, organization, stranger):
    assert "already exists" in errors(save_policy(sign_in("administrator"), organization, name="Elsewhere"))


def test_operator_creates_an_organization(sign_in, operator):
    answer = sign_in("operator").post(
        address("organization", "add"),
        {
            "name": "New",
            "slug": "new",
            "max_token_lifetime_days": "30",
            "allowed_scopes": ["api"],
            "max_live_tokens": "50",
            "max_service_token_lifetime_days": "92",
            "service_token_creators": "responsible",
            "max_replacement_overlap_hours": "168",
            "log_retention_days": "400",
        },
    )

    assert answer.status_code == 302
    entry = Activity.objects.first()
    assert (entry.actor, entry.organization, entry.target_name) == (
        operator,
        Organization.objects.get(slug="new"),
        "New",
    )


# Pipelines: Django admin shows their steps and rules, and only the portal's own pages change them


def save_pipeline(client, pipeline=None, **fields):
    data = {"description": "", "tags": "[]"}
    for inline in ("steps", "access_rules"):
        count = getattr(pipeline, inline).count() if pipeline else 0
        data |= {f"{inline}-TOTAL_FORMS": count, f"{inline}-INITIAL_FORMS": count}
    return client.post(address("pipeline", "change" if pipeline else "add", pipeline), data | fields)


@pytest.fixture
def pipeline(owner):
    return PipelineFactory(owner=owner, name="Nightly")


def test_administrator_creates_a_pipeline_for_someone_else(sign_in, organization, administrator, owner):
    answer = save_pipeline(sign_in("administrator"), name="Nightly", owner=owner.pk, tags='["linux"]')

    assert answer.status_code == 302
    made = Pipeline.objects.get()
    assert (made.name, made.organization, made.owner, made.tags) == ("Nightly", organization, owner, ["linux"])
    assert recorded() == [
        ("pipeline.transferred", administrator.email, "Nightly"),
        ("pipeline.created", administrator.email, "Nightly"),
    ]


def test_change_of_a_pipeline_is_logged(sign_in, administrator, pipeline, owner):
    StepFactory(pipeline=pipeline, position=1)

    answer = save_pipeline(sign_in("administrator"), pipeline, name="Weekly", owner=owner.pk)

    assert answer.status_code == 302
    pipeline.refresh_from_db()
    assert (pipeline.name, pipeline.steps.count()) == ("Weekly", 1)
    assert recorded() == [("pipeline.edited", administrator.email, "Weekly")]
    assert Activity.objects.first().organization == pipeline.organization


def test_operator_can_view_pipelines_but_change_none(sign_in, pipeline, owner):
    client = sign_in("operator")

    assert client.get(address("pipeline", "change", pipeline)).status_code == 200
    assert save_pipeline(client, pipeline, name="Weekly", owner=owner.pk).status_code == 403
    assert client.post(address("pipeline", "delete", pipeline), {"post": "yes"}).status_code == 403
    assert Pipeline.objects.get().name == "Nightly"


def test_steps_are_shown_without_their_secrets_and_cannot_be_changed(sign_in, pipeline, owner):
    step = StepFactory(pipeline=pipeline, position=1, name="Build", url="https://ci.example.com/?key=in-the-query")
    secrets = give_secrets(step, {"Authorization": "Bearer very-secret"})
    client = sign_in("administrator")

    page = client.get(address("pipeline", "change", pipeline)).content.decode()
    save_pipeline(client, pipeline, name="Nightly", owner=owner.pk, **{"steps-0-id": step.pk, "steps-0-name": "Other"})

    assert "Build" in page
    assert "Authorization" in page
    for hidden in ("very-secret", secrets["Authorization"], "in-the-query"):
        assert hidden not in page
    step.refresh_from_db()
    assert step.name == "Build"


def test_deletion_of_a_pipeline_is_logged_and_keeps_its_runs(sign_in, administrator, pipeline):
    RunFactory(pipeline=pipeline, state="finished", outcome="success")

    answer = sign_in("administrator").post(address("pipeline", "delete", pipeline), {"post": "yes"})

    assert answer.status_code == 302
    assert not Pipeline.objects.exists()
    assert recorded() == [("pipeline.deleted", administrator.email, "Nightly")]
    assert Run.objects.get().pipeline_name == "Nightly"


def test_pipeline_with_an_active_run_cannot_be_deleted(sign_in, pipeline):
    RunFactory(pipeline=pipeline)

    answer = sign_in("administrator").post(address("pipeline", "delete", pipeline), {"post": "yes"}, follow=True)

    assert "Stop it" in answer.content.decode()
    assert Pipeline.objects.exists()
    assert recorded() == []


@pytest.mark.parametrize("is_new", [True, False])
def test_a_pipeline_cannot_be_given_to_someone_of_another_organization(sign_in, pipeline, stranger, is_new):
    answer = save_pipeline(sign_in("administrator"), None if is_new else pipeline, name="Weekly", owner=stranger.pk)

    assert errors(answer)
    assert Pipeline.objects.get().name == "Nightly"
    assert recorded() == []


@pytest.mark.parametrize("role", ["guest", "auditor", "security_manager"])
def test_pipeline_cannot_be_given_to_a_read_only_role(sign_in, pipeline, organization, role):
    reader = UserFactory(organization=organization, site_role=role)

    assert "creates pipelines" in errors(save_pipeline(sign_in("administrator"), pipeline, name="X", owner=reader.pk))


def test_a_forged_change_of_another_organizations_pipeline_changes_nothing(sign_in, stranger):
    foreign = PipelineFactory(owner=stranger, name="Foreign")

    answer = save_pipeline(sign_in("administrator"), foreign, name="Changed", owner=stranger.pk)

    assert answer.url == "/admin/"
    foreign.refresh_from_db()
    assert (foreign.name, foreign.steps.count()) == ("Foreign", 0)


DEEP = "[" * 100_000
HUGE_NUMBER = "9" * 5_000

WRONG_PIPELINES = {
    "a name that is taken": {"name": "Taken"},
    "a name that is taken in another case": {"name": "TAKEN"},
    "a name that is taken, with spaces": {"name": " taken "},
    "no name": {"name": ""},
    "a name that is too long": {"name": "x" * 101},
    "NUL in the name": {"name": "\x00"},
    "a description that is too long": {"description": "x" * 2001},
    "NUL in the description": {"description": "\x00"},
    "no owner": {"owner": ""},
    "an owner that cannot be": {"owner": "nobody"},
    "no list of tags": {"tags": '{"a": 1}'},
    "a number as tag": {"tags": "[1]"},
    "an empty tag": {"tags": '[""]'},
    "a tag that is too long": {"tags": json.dumps(["x" * 51])},
    "many tags": {"tags": json.dumps([str(n) for n in range(21)])},
    "NUL in a tag": {"tags": json.dumps(["a\x00b"])},
    "half a character in a tag": {"tags": '["\\ud800"]'},
    "no JSON in the tags": {"tags": "linux"},
    "deep JSON in the tags": {"tags": DEEP},
    "a huge number in the tags": {"tags": HUGE_NUMBER},
}


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "changed"])
def test_error_in_a_pipeline_is_shown_as_a_message(sign_in, pipeline, owner, is_new):
    PipelineFactory(owner=owner, name="Taken")
    client = sign_in("administrator")

    def attempt(column):
        fields = {"name": "Changed", "owner": owner.pk} | WRONG_PIPELINES[column]
        answer = save_pipeline(client, None if is_new else pipeline, **fields)
        assert {each.name for each in Pipeline.objects.all()} == {"Nightly", "Taken"}
        assert recorded() == []
        return "a message" if errors(answer) else "no message"

    check_row("a pipeline with", dict.fromkeys(WRONG_PIPELINES, "a message"), attempt)


def test_pipeline_name_of_another_organization_can_be_used(sign_in, owner, stranger):
    PipelineFactory(owner=stranger, name="Nightly")

    assert save_pipeline(sign_in("administrator"), name="Nightly", owner=owner.pk).status_code == 302


def test_forged_management_form_is_shown_as_a_message(sign_in, pipeline, owner):
    client = sign_in("administrator")

    for fields in ({"steps-TOTAL_FORMS": "x"}, {"steps-TOTAL_FORMS": ""}, {"steps-INITIAL_FORMS": "5"}):
        assert save_pipeline(client, pipeline, name="Nightly", owner=owner.pk, **fields).status_code < 500


# Simultaneous requests


@pytest.mark.each_database
@pytest.mark.django_db(transaction=True)
def test_one_of_two_simultaneous_requests_gets_the_name_and_the_other_a_message(administrator):
    barrier = threading.Barrier(2)
    answers = []

    def save(client):
        try:
            barrier.wait()
            answers.append(save_group(client))
        finally:
            connection.close()

    clients = [Client(), Client()]
    for client in clients:
        client.force_login(administrator)
    threads = [threading.Thread(target=save, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Group.objects.count() == 1
    assert [action for action, *_ in recorded()] == ["group.created"]
    # The winner is redirected to the list. The other gets the form again, or a redirect to it.
    ends = sorted((answer.status_code, answer.headers.get("Location", "")) for answer in answers)
    assert ends in ([(200, ""), (302, address("group"))], [(302, address("group")), (302, address("group", "add"))])
