"""The organization's people: services, pages and API, and the invitation from end to end."""

import re
import threading
from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from accounts import invitations, services
from accounts.mails import invitation_mail
from accounts.models import User
from accounts.roles import ROLES, SiteRole
from accounts.security import credentials
from accounts.tests.factories import PASSWORD, GroupFactory, UserFactory
from auditlog.models import Activity
from core import filters
from opsera_portal.tests.mails import delivered
from opsera_portal.tests.worlds import check_row
from tokens.tests.factories import TokenFactory, bearer

USERS = "/organization/users/"
INVITE = "/organization/users/invite/"
API = "/api/v1/users"


def page_of(user, action=""):
    return f"{USERS}{user.pk}/{action}"


def recorded():
    entries = Activity.objects.exclude(type="authentication").order_by("at", "id")
    return list(entries.values_list("action", "target_name"))


def invited_to(organization, **fields):
    user = UserFactory(organization=organization, **fields)
    user.set_unusable_password()
    user.joined_at = None
    user.save()
    return user


@pytest.fixture
def as_administrator(client, administrator):
    client.force_login(administrator)
    return client


def text(answer):
    return answer.content.decode()


# The page of a person


def live_tokens_on(page):
    return re.search(r'<dd id="live-tokens">(.*?)</dd>', page, re.DOTALL)[1].strip()


@pytest.mark.parametrize(
    ("role", "is_link"),
    [
        (SiteRole.ADMINISTRATOR, True),
        (SiteRole.SECURITY_MANAGER, True),
        (SiteRole.AUDITOR, True),
        (SiteRole.POWER_USER, False),
    ],
)
def test_live_tokens_link_to_the_list_for_roles_that_read_it(client, organization, member, role, is_link):
    member.email = "some+one@acme.example"
    member.save()
    live = [TokenFactory(owner=member), TokenFactory(owner=member, revealed_at=None)]
    namesake = UserFactory(organization=organization, email="awe" + member.email)
    ended = [TokenFactory(owner=member, revoked_at=timezone.now()), TokenFactory(owner=namesake)]
    client.force_login(UserFactory(organization=organization, site_role=role))

    shown = live_tokens_on(text(client.get(page_of(member))))

    if not is_link:
        assert shown == "2"
        return
    address, count = re.fullmatch(r'<a href="([^"]+)">(\d+)</a>', shown).groups()
    tokens = text(client.get(unescape(address)))
    assert count == "2"
    assert [str(token.pk) in tokens for token in live + ended] == [True, True, False, False]


def test_person_without_live_tokens_has_no_link(as_administrator, member):
    TokenFactory(owner=member, revoked_at=timezone.now())

    assert live_tokens_on(text(as_administrator.get(page_of(member)))) == "0"


def test_form_to_invite_says_what_each_role_allows(as_administrator):
    page = text(as_administrator.get(INVITE))

    shown = re.findall(r"<dt>([^<]+)</dt>\s*<dd>\s*([^<]+?)\s*</dd>", page)
    assert shown == [(str(role.label), escape(ROLES[role].summary)) for role in SiteRole]
    assert '<a class="hint" href="/who-may-do-what/">' in page


# The table


def test_table_lists_only_people_of_the_organization(as_administrator, owner, member, stranger):
    group = GroupFactory(organization=owner.organization, name="Builders")
    group.members.add(owner)
    TokenFactory(owner=owner)

    page = text(as_administrator.get(USERS))

    row = re.search(rf'data-user="{owner.pk}".*?</tr>', page, re.DOTALL)[0]
    assert [part in row for part in (owner.name, owner.email, "User", "Active", "Builders", "Never")] == [True] * 6
    assert re.search(r'data-column="live_token_count"[^>]*>\s*1\s*<', row)
    assert member.email in page
    assert stranger.email not in page


@pytest.mark.each_database
def test_table_and_api_have_the_same_filters(as_administrator, owner, administrator):
    people = {
        "owner": owner,
        "administrator": administrator,
        "left": UserFactory(organization=owner.organization, is_active=False),
        "invited": invited_to(owner.organization),
    }
    names = {str(person.pk): name for name, person in people.items()}
    group = GroupFactory(organization=owner.organization)
    group.members.add(owner)
    found = {
        "q=olga": {"owner"},
        "q=OWNER@": {"owner"},
        "site_role=administrator": {"administrator"},
        "state=deactivated": {"left"},
        "state=invited": {"invited"},
        "state=active": {"owner", "administrator"},
        f"group={group.pk}": {"owner"},
        "q=nobody": set(),
    }

    def attempt(query):
        page = text(as_administrator.get(f"{USERS}?{query}"))
        rows = as_administrator.get(f"{API}?{query}").json()["data"]
        return {names[pk] for pk in re.findall(r'data-user="([^"]+)"', page)}, {names[row["id"]] for row in rows}

    check_row(USERS, {query: (expected, expected) for query, expected in found.items()}, attempt)


def test_filter_offers_only_groups_of_the_organization(as_administrator, stranger):
    group = GroupFactory(organization=stranger.organization, name="Foreign group")

    assert "Foreign group" not in text(as_administrator.get(USERS))
    assert as_administrator.get(f"{API}?group={group.pk}").status_code == 400


@pytest.fixture
def many_groups(owner, monkeypatch):
    """More groups than a select may have; ``owner`` is in the one named Builders."""
    monkeypatch.setattr(filters, "MOST_TO_READ", 2)
    GroupFactory.create_batch(2, organization=owner.organization)
    group = GroupFactory(organization=owner.organization, name="Builders")
    group.members.add(owner)
    return group


@pytest.mark.parametrize("typed", ["Builders", "builders", "{id}"])
@pytest.mark.each_database
def test_one_of_many_groups_is_found_by_its_name_or_id(as_administrator, owner, many_groups, typed):
    page = text(as_administrator.get(USERS, {"group": typed.format(id=many_groups.pk)}))

    assert re.findall(r'data-user="([^"]+)"', page) == [str(owner.pk)]
    field = re.search(r'<input[^>]+name="group"[^>]*>', page)[0]
    assert 'value="{}"'.format("Builders" if typed == "{id}" else typed) in field
    assert 'hx-post="/suggestions/groups/"' in field


def test_list_without_filters_offers_nothing_to_clear(as_administrator, many_groups):
    answer = as_administrator.get(USERS)

    assert not answer.context["filter"].form.has_changed()
    assert "Clear" not in text(answer)


@pytest.mark.parametrize(
    "typed",
    [
        "Nobody",
        pytest.param("\x00", marks=pytest.mark.each_database),
        "x" * 200,
        "018f0000-0000-7000-8000-000000000000",
        "Foreign",
    ],
)
def test_unknown_name_of_a_group_is_an_error_of_its_field(as_administrator, stranger, many_groups, typed):
    GroupFactory(organization=stranger.organization, name="Foreign")

    answer = as_administrator.get(USERS, {"group": typed})

    assert answer.status_code == 200
    assert list(answer.context["filter"].form.errors) == ["group"]
    assert "data-user=" not in text(answer)


def test_api_finds_a_group_by_its_id_only(as_administrator, many_groups):
    assert as_administrator.get(f"{API}?group=Builders").status_code == 400
    assert as_administrator.get(f"{API}?group={many_groups.pk}").json()["count"] == 1


@pytest.mark.parametrize("number", [2, 20])
def test_query_count_of_the_table_is_constant(as_administrator, owner, number, django_assert_num_queries):
    group = GroupFactory(organization=owner.organization)
    group.members.set(UserFactory.create_batch(number, organization=owner.organization))

    # Session, person, groups for the filter, count, rows, their groups, their mails.
    with django_assert_num_queries(7):
        as_administrator.get(USERS)


# Permissions


@pytest.mark.parametrize("role", [role for role in SiteRole if role != SiteRole.ADMINISTRATOR])
def test_only_administrators_change_people(organization, member, role):
    actor = UserFactory(organization=organization, site_role=role)

    for change in (
        lambda: services.change_site_role(actor=actor, user=member, site_role=SiteRole.ADMINISTRATOR),
        lambda: services.set_active(actor=actor, user=member, is_active=False),
        lambda: services.invite_user(actor=actor, email="new@acme.example", name="New"),
        lambda: services.send_invitation(actor=actor, user=member),
    ):
        with pytest.raises(services.NotAllowed):
            change()

    assert recorded() == []


def test_administrator_cannot_change_people_of_another_organization(administrator, stranger):
    with pytest.raises(services.NotAllowed):
        services.set_active(actor=administrator, user=stranger, is_active=False)

    stranger.refresh_from_db()
    assert stranger.is_active


@pytest.mark.each_database
def test_administrator_who_was_demoted_meanwhile_is_refused(administrator, member):
    User.objects.filter(pk=administrator.pk).update(site_role=SiteRole.USER)

    with pytest.raises(services.NotAllowed):
        services.set_active(actor=administrator, user=member, is_active=False)


# Roles and states


def test_changed_role_applies_from_the_next_request(api, client, administrator, member):
    headers = bearer(TokenFactory(owner=member, scope="api"))
    client.force_login(member)
    assert client.get(USERS).status_code == 403
    assert api.get(API, headers=headers).status_code == 403

    services.change_site_role(actor=administrator, user=member, site_role=SiteRole.AUDITOR)

    assert client.get(USERS).status_code == 200
    assert api.get(API, headers=headers).status_code == 200
    assert ("user.role_changed", member.email) in recorded()


def test_deactivated_person_has_no_access_from_the_next_request(api, client, as_administrator, member):
    headers = bearer(TokenFactory(owner=member, scope="api"))
    theirs = type(client)()
    theirs.force_login(member)
    assert theirs.get("/profile/").status_code == 200

    question = text(as_administrator.get(page_of(member, "deactivate/")))
    answer = as_administrator.post(page_of(member, "deactivate/"))

    assert "1 live token" in question
    assert answer.url == page_of(member)
    assert theirs.get("/profile/").status_code == 302
    assert api.get("/api/v1/me", headers=headers).json()["code"] == "owner_deactivated"
    as_administrator.post(page_of(member, "activate/"))
    assert api.get("/api/v1/me", headers=headers).status_code == 200
    assert [action for action, _ in recorded()] == ["user.deactivated", "user.activated"]


def test_unchanged_values_are_not_logged(administrator, member):
    services.change_user(actor=administrator, user=member, site_role=member.site_role, is_active=True)

    assert recorded() == []


@pytest.mark.parametrize("change", [{"site_role": "user"}, {"is_active": False}])
@pytest.mark.each_database
def test_last_active_administrator_cannot_be_removed(as_administrator, administrator, change):
    path, data = ("role/", change) if "site_role" in change else ("deactivate/", {})
    page = as_administrator.post(page_of(administrator, path), data, follow=True)
    answer = as_administrator.patch(f"{API}/{administrator.pk}", change, content_type="application/json")

    assert "needs an active Administrator" in text(page)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    administrator.refresh_from_db()
    assert (administrator.site_role, administrator.is_active) == ("administrator", True)
    assert recorded() == []


def test_invited_administrator_does_not_count_as_active(administrator, organization):
    invited_to(organization, site_role=SiteRole.ADMINISTRATOR)

    with pytest.raises(services.LastAdministrator):
        services.set_active(actor=administrator, user=administrator, is_active=False)


@pytest.mark.django_db(transaction=True)
def test_one_administrator_remains_if_two_demote_each_other(organization, administrator):
    other = UserFactory(organization=organization, site_role=SiteRole.ADMINISTRATOR)
    barrier = threading.Barrier(2)
    refused = []

    def demote(actor, user):
        try:
            barrier.wait()
            services.change_site_role(actor=actor, user=user, site_role=SiteRole.GUEST)
        except (services.NotAllowed, services.LastAdministrator) as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=demote, args=pair) for pair in ((administrator, other), (other, administrator))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert User.objects.filter(organization=organization, site_role=SiteRole.ADMINISTRATOR).count() == 1
    assert len(refused) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "non_field_errors"),
        ({"site_role": "king"}, "site_role"),
        ({"site_role": None}, "site_role"),
        ({"is_active": "no"}, "is_active"),
        ({"is_active": 0}, "is_active"),
        ({"email": "other@acme.example"}, "email"),
    ],
)
def test_error_names_the_invalid_field(as_administrator, member, body, field):
    answer = as_administrator.patch(f"{API}/{member.pk}", body, content_type="application/json")

    assert answer.status_code == 400
    assert field in answer.json()["errors"]
    assert recorded() == []


def test_unknown_role_is_shown_as_a_field_error(as_administrator, member):
    answer = as_administrator.post(page_of(member, "role/"), {"site_role": "king"})

    assert answer.status_code == 400
    assert "king is not one of the available choices" in text(answer)


def test_person_who_gave_up_their_role_is_redirected_to_the_overview(as_administrator, administrator, organization):
    UserFactory(organization=organization, site_role=SiteRole.ADMINISTRATOR)

    answer = as_administrator.post(page_of(administrator, "role/"), {"site_role": "user"})

    assert answer.url == reverse("overview")


# Invitations


def invite(client, **fields):
    data = {"email": "new@acme.example", "name": "Nova New", "site_role": "user"} | fields
    return client.post(INVITE, data)


def test_invitation_works_from_the_form_to_the_first_sign_in(
    as_administrator, client, organization, django_capture_on_commit_callbacks
):
    group = GroupFactory(organization=organization)
    with django_capture_on_commit_callbacks(execute=True):
        answer = invite(as_administrator, groups=[group.pk])
    user = User.objects.get(email="new@acme.example")
    assert answer.url == page_of(user)
    assert (user.site_role, user.organization, user.has_usable_password()) == ("user", organization, False)
    assert list(user.member_groups.all()) == [group]

    invitation_mail.put(user.pk, str(user.pk))
    [message] = delivered()
    assert message.to == ["new@acme.example"]
    link = re.search(r"http://\S+", message.body)[0].partition("127.0.0.1:8000")[2]

    invited = type(client)()
    first = invited.get(link)
    # The secret is not in the address of the form.
    assert first.status_code == 302
    assert link.split("/")[3] not in first.url
    assert "at least 12" in text(invited.post(first.url, {"new_password1": "short", "new_password2": "short"})).lower()
    done = invited.post(first.url, {"new_password1": PASSWORD, "new_password2": PASSWORD})
    assert done.url == "/login/"
    signed_in = invited.post("/login/", {"login": user.email, "password": PASSWORD})
    assert (signed_in.status_code, signed_in.url) == (302, "/")
    assert ("user.invited", user.email) in recorded()
    assert ("user.changed", user.email) in recorded()

    again = type(client)().get(link, follow=True)
    assert "This link no longer works" in text(again)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda user: User.objects.filter(pk=user.pk).update(is_active=False),
        lambda user: (user.set_password(PASSWORD), user.save()),
    ],
    ids=["deactivated", "has a password"],
)
def test_link_stops_working_after_deactivation_or_with_a_password(client, organization, spoil):
    user = invited_to(organization)
    link = invitations.link_for(user).partition("127.0.0.1:8000")[2]
    spoil(user)

    assert "This link no longer works" in text(client.get(link, follow=True))


def test_link_expires_after_three_days(client, organization, time_machine):
    user = invited_to(organization)
    link = invitations.link_for(user).partition("127.0.0.1:8000")[2]
    time_machine.move_to(timezone.now() + timedelta(days=3, minutes=1))

    assert "This link no longer works" in text(client.get(link, follow=True))


def form_of(link, client):
    """Opens the link and returns the address of its form. The link can become invalid later."""
    return client.get(link.partition("127.0.0.1:8000")[2]).url


def test_form_opened_before_the_link_was_used_is_refused(client, organization):
    user = invited_to(organization)
    slow = type(client)()
    address = form_of(invitations.link_for(user), slow)
    client.post(form_of(invitations.link_for(user), client), {"new_password1": PASSWORD, "new_password2": PASSWORD})

    other = "a second new password"
    assert "This link no longer works" in text(slow.post(address, {"new_password1": other, "new_password2": other}))
    assert User.objects.get(pk=user.pk).check_password(PASSWORD)


@pytest.mark.each_database
def test_only_the_first_of_two_simultaneous_uses_of_a_link_sets_the_password(rf, organization):
    user = invited_to(organization)
    key = invitations.invitation_tokens.make_token(user)
    seen_by_both = {"user": user, "key": key, "request": rf.post("/")}
    credentials.accept_invitation(password=PASSWORD, **seen_by_both)

    with pytest.raises(credentials.LinkUsed):
        credentials.accept_invitation(password="a second new password", **seen_by_both)
    assert User.objects.get(pk=user.pk).check_password(PASSWORD)


@pytest.mark.each_database
def test_accepting_an_invitation_keeps_changes_made_meanwhile(rf, organization):
    user = invited_to(organization)
    key = invitations.invitation_tokens.make_token(user)
    User.objects.filter(pk=user.pk).update(site_role="guest", name="Changed")

    credentials.accept_invitation(user=user, key=key, password=PASSWORD, request=rf.post("/"))

    saved = User.objects.get(pk=user.pk)
    assert (saved.site_role, saved.name) == ("guest", "Changed")


def test_link_of_another_person_does_not_work(client, organization):
    first, second = invited_to(organization), invited_to(organization)
    mixed = invitations.link_for(first).partition("127.0.0.1:8000")[2].split("/")
    mixed[2] = invitations.link_for(second).partition("127.0.0.1:8000")[2].split("/")[2]

    assert "This link no longer works" in text(client.get("/".join(mixed), follow=True))


def test_person_who_needs_no_invitation_gets_no_mail(member):
    invitation_mail.put(member.pk, str(member.pk))

    assert delivered() == []


def test_person_with_a_password_is_not_invited_again(as_administrator, member):
    page = as_administrator.post(page_of(member, "invitation/"), follow=True)
    answer = as_administrator.post(f"{API}/{member.pk}/invitation")

    assert "needs no invitation" in text(page)
    assert answer.status_code == 409


def test_reason_for_a_taken_address_is_shown_only_within_the_organization(as_administrator, member, stranger):
    own = invite(as_administrator, email=member.email.upper())
    foreign = invite(as_administrator, email=stranger.email)
    by_api = as_administrator.post(API, {"email": stranger.email, "name": "X"}, content_type="application/json")

    assert "belongs to your organization already" in text(own)
    assert "This address cannot be invited." in text(foreign)
    assert "already" not in text(foreign).replace("already. Choose", "")
    assert (by_api.status_code, by_api.json()["detail"]) == (409, "This address cannot be invited.")
    assert recorded() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"email": ""},
        {"email": "no address"},
        {"email": "a" * 250 + "@acme.example"},
        {"email": "a\x00@acme.example"},
        {"name": ""},
        {"name": " "},
        {"name": "x" * 101},
        {"name": "a\x00b"},
        {"site_role": "king"},
        {"groups": ["6f1e4ad0-0000-4000-8000-000000000000"]},
        {"groups": ["x"]},
    ],
)
def test_invalid_invitation_is_refused(as_administrator, organization, wrong):
    GroupFactory(organization=organization)

    page = invite(as_administrator, **wrong)
    body = {"email": "new@acme.example", "name": "Nova New"} | wrong
    answer = as_administrator.post(API, body, content_type="application/json")

    assert page.status_code == 400
    assert "error-summary" in text(page)
    assert answer.status_code == 400
    assert set(wrong) <= {field.partition(".")[0] for field in answer.json()["errors"]}
    assert not User.objects.filter(name__startswith="Nova").exists()


def test_invitation_to_a_group_of_another_organization_is_refused(as_administrator, stranger):
    group = GroupFactory(organization=stranger.organization)

    answer = as_administrator.post(
        API,
        {"email": "new@acme.example", "name": "Nova New", "groups": [str(group.pk)]},
        content_type="application/json",
    )

    assert answer.json()["errors"] == {"groups": ["Not all of these exist in your organization."]}


@pytest.mark.django_db(transaction=True)
def test_only_one_of_two_simultaneous_invitations_succeeds(administrator):
    barrier = threading.Barrier(2)
    ends = []

    def invite_now():
        try:
            barrier.wait()
            ends.append(services.invite_user(actor=administrator, email="new@acme.example", name="New"))
        except services.EmailTaken as error:
            ends.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=invite_now) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(type(end).__name__ for end in ends) == ["EmailTaken", "User"]


# The API


def test_api_shows_a_person_with_these_fields(as_administrator, owner):
    group = GroupFactory(organization=owner.organization, name="Builders")
    group.members.add(owner)

    row = as_administrator.get(f"{API}/{owner.pk}").json()

    assert row.pop("created_at").endswith("Z")
    assert row == {
        "id": str(owner.pk),
        "email": owner.email,
        "name": owner.name,
        "site_role": "user",
        "site_role_is_managed": False,
        "is_active": True,
        "state": "active",
        "groups": [{"id": str(group.pk), "name": "Builders"}],
        "last_sign_in_at": None,
        "live_tokens": 0,
        "has_two_factor": False,
        "undelivered_mails": [],
    }


@pytest.mark.each_database
def test_next_page_continues_at_the_cursor(as_administrator, organization):
    UserFactory.create_batch(4, organization=organization)

    first = as_administrator.get(f"{API}?page_size=3").json()
    second = as_administrator.get(first["next"]).json()

    emails = [row["email"] for row in first["data"] + second["data"]]
    assert emails == sorted(User.objects.filter(organization=organization).values_list("email", flat=True))
    assert second["next"] is None
