"""What fields suggest while a person types: people and groups of the organization, for people who can see them."""

import re
from html import unescape

import pytest
import time_machine

from accounts.roles import SiteRole
from accounts.tests.factories import GroupFactory, UserFactory
from core.pages.suggestions import SUGGESTIONS, Suggestion, matching
from opsera_portal.tests.naughty import NAUGHTY_STRINGS

PEOPLE, ADDRESSES = "/suggestions/people/", "/suggestions/addresses/"
GROUPS, SUBJECTS = "/suggestions/groups/", "/suggestions/subjects/"


@pytest.fixture
def as_administrator(client, administrator):
    client.force_login(administrator)
    return client


@pytest.fixture
def nora(organization):
    return UserFactory(organization=organization, name="Nora Fresh", email="n.fresh@acme.example")


def offered(client, typed, path=PEOPLE):
    answer = client.post(path, {"text": typed})
    assert answer.status_code == 200
    return [unescape(value) for value in re.findall(r'role="option" data-value="([^"]*)"', answer.text)]


# Matching


@pytest.mark.parametrize(
    "typed",
    ["nora", "FRESH", "fre nor", "ora", "n.fresh@", "acme.example", "Nora Fresh <n.fresh@acme.example>", "Nora <"],
)
def test_person_is_suggested_for_a_part_of_the_name_or_address(as_administrator, nora, typed):
    assert "Nora Fresh <n.fresh@acme.example>" in offered(as_administrator, typed)


@pytest.mark.parametrize("typed", ["norma", "nora smith", "", "   ", "x" * 101, "%", "\x00"])
def test_nobody_is_suggested_without_a_match(as_administrator, nora, typed):
    assert offered(as_administrator, typed) == []


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("Łucja Żak", "ŁUCJA"),
        ("Łucja Żak", "lucja zak"),
        ("Jürgen Groß", "gross"),
        ("Ренат Ёлкин", "елкин"),
        ("山田 太郎", "太郎"),
        ("José", "jose\u0301"),
    ],
)
@pytest.mark.each_database
def test_names_are_compared_without_case_and_accents(as_administrator, organization, name, typed):
    UserFactory(organization=organization, name=name, email="one@acme.example")

    assert offered(as_administrator, typed) == [f"{name} <one@acme.example>"]


def test_best_matches_come_first():
    rows = [Suggestion(name, name) for name in ("Joanna", "Mary Ann", "Anna", "Bob")]

    assert [row.name for row in matching(rows, "ann")] == ["Anna", "Mary Ann", "Joanna"]


def test_people_of_the_same_name_have_their_addresses(as_administrator, nora, organization):
    UserFactory(organization=organization, name="Nora Fresh", email="nora.2@acme.example")

    assert offered(as_administrator, "nora fresh") == [
        "Nora Fresh <n.fresh@acme.example>",
        "Nora Fresh <nora.2@acme.example>",
    ]


def test_at_most_twenty_are_suggested_and_the_number_of_all_is_said(as_administrator, organization):
    UserFactory.create_batch(25, organization=organization, name="Sam Lee")

    answer = as_administrator.post(PEOPLE, {"text": "sam"}).text

    assert answer.count('role="option"') == 20
    assert "The first 20 of 25. Type more to find others." in answer


def test_answer_says_that_nothing_was_found(as_administrator):
    assert "Nothing found" in as_administrator.post(PEOPLE, {"text": "nobody"}).text


def test_names_are_escaped(as_administrator, organization):
    UserFactory(organization=organization, name="<b>Eve</b>", email="eve@acme.example")

    answer = as_administrator.post(PEOPLE, {"text": "eve"}).text

    assert "&lt;b&gt;Eve" in answer
    assert "<b>" not in answer


def test_naughty_strings_are_answered_without_repeating_them(as_administrator, nora):
    for text in NAUGHTY_STRINGS[::10]:
        answer = as_administrator.post(PEOPLE, {"text": text})
        assert answer.status_code == 200
        assert text not in answer.text or "<" not in text, text


# Who is suggested to whom


@pytest.mark.parametrize("path", [PEOPLE, ADDRESSES, SUBJECTS])
def test_people_and_groups_of_another_organization_are_not_suggested(as_administrator, stranger, path):
    GroupFactory(organization=stranger.organization, name="Sam's group")

    assert offered(as_administrator, "sam", path) == []
    assert offered(as_administrator, str(stranger.pk), path) == []


def test_deactivated_people_are_suggested_only_for_filters(as_administrator, nora):
    nora.is_active = False
    nora.save()

    assert offered(as_administrator, "nora") == offered(as_administrator, "nora", SUBJECTS) == []
    assert offered(as_administrator, "nora", ADDRESSES) == ["n.fresh@acme.example"]
    assert "Deactivated" in as_administrator.post(ADDRESSES, {"text": "nora"}).text


@pytest.mark.parametrize("role", SiteRole.values)
def test_suggestions_follow_the_list_of_people(client, organization, nora, role):
    reader = UserFactory(organization=organization, site_role=role)
    client.force_login(reader)

    listed = client.get("/organization/users/").status_code

    for path in (PEOPLE, ADDRESSES, GROUPS):
        assert client.post(path, {"text": "nora"}).status_code == listed
    assert ("Nora Fresh <n.fresh@acme.example>" in offered(client, "nora", SUBJECTS)) is (listed == 200)


def test_people_who_cannot_see_groups_get_only_their_own(client, owner, nora):
    GroupFactory(organization=owner.organization, name="Builders").members.add(owner)
    GroupFactory(organization=owner.organization, name="Build watchers")
    client.force_login(owner)

    assert offered(client, "build", SUBJECTS) == ["Builders"]


def test_groups_come_with_the_people_for_access_rules(as_administrator, nora):
    GroupFactory(organization=nora.organization, name="Nordic")

    assert offered(as_administrator, "nor", SUBJECTS) == ["Nordic", "Nora Fresh <n.fresh@acme.example>"]
    assert offered(as_administrator, "nor", GROUPS) == ["Nordic"]


@pytest.mark.parametrize("path", [PEOPLE, ADDRESSES, GROUPS, SUBJECTS])
def test_signed_out_people_are_sent_to_sign_in(client, nora, path):
    answer = client.post(path, {"text": "nora"})

    assert answer.status_code == 302
    assert answer["Location"].startswith("/login/")


def test_address_never_contains_what_was_typed(as_administrator):
    assert as_administrator.get(PEOPLE, {"text": "nora"}).status_code == 405


# Limits


@time_machine.travel("2026-05-03 12:00:10Z", tick=False)
def test_too_many_requests_are_refused(as_administrator, administrator):
    for _ in range(SUGGESTIONS.amount):
        SUGGESTIONS.take(str(administrator.pk))

    answer = as_administrator.post(PEOPLE, {"text": "nora"})

    assert answer.status_code == 429
    assert 0 < int(answer["Retry-After"]) <= 60


@pytest.mark.parametrize("number", [2, 20])
@pytest.mark.each_database
def test_query_count_is_constant(as_administrator, organization, number, django_assert_num_queries):
    UserFactory.create_batch(number, organization=organization, name="Sam Lee")

    # Session, person, people.
    with django_assert_num_queries(3):
        offered(as_administrator, "sam")


# Fields


def field(page, name):
    return re.search(rf'<input[^>]+name="{name}"[^>]*>', page)[0]


@pytest.mark.parametrize(
    ("path", "name", "suggests"),
    [
        ("/organization/tokens/", "owner", ADDRESSES),
        ("/organization/access-review/", "owner", ADDRESSES),
        ("/organization/authentication-log/", "user_email", ADDRESSES),
        ("/organization/activity-log/", "user_email", ADDRESSES),
        ("/pipelines/runs/", "started_by_email", ADDRESSES),
    ],
)
def test_filters_suggest_people(as_administrator, path, name, suggests):
    assert f'hx-post="{suggests}"' in field(as_administrator.get(path).text, name)


def test_filter_suggests_nobody_to_people_who_cannot_see_the_organization(client, owner):
    client.force_login(owner)

    assert "hx-post" not in field(client.get("/pipelines/runs/").text, "started_by_email")


def test_suggested_address_finds_the_persons_rows(as_administrator, nora):
    [address] = offered(as_administrator, "nora", ADDRESSES)

    answer = as_administrator.get("/organization/tokens/", {"owner": address})

    assert answer.context["filter"].form.is_valid()


@pytest.fixture
def many_groups(organization, monkeypatch):
    monkeypatch.setattr("accounts.forms.MOST_TO_READ", 2)
    return [GroupFactory(organization=organization, name=name) for name in ("Alpha", "Beta", "Żubry")]


INVITATION = {"email": "new@acme.example", "name": "New", "site_role": "user"}


def test_many_groups_are_typed_in_an_invitation(as_administrator, organization, many_groups):
    page = as_administrator.get("/organization/users/invite/").text
    assert f'hx-post="{GROUPS}"' in page
    assert 'type="checkbox"' not in page

    as_administrator.post("/organization/users/invite/", INVITATION | {"groups": "alpha\n żUBRY \n\nAlpha\n"})

    invited = organization.users.get(email="new@acme.example")
    assert {group.name for group in invited.member_groups.all()} == {"Alpha", "Żubry"}


def test_unknown_group_in_an_invitation_invites_nobody(as_administrator, organization, many_groups, stranger):
    foreign = GroupFactory(organization=stranger.organization, name="Foreign")

    for typed in ("Foreign", str(foreign.pk), "Alph"):
        answer = as_administrator.post("/organization/users/invite/", INVITATION | {"groups": f"Alpha\n{typed}"})
        assert answer.status_code == 400
        assert answer.context["form"].errors["groups"] == [f"No group in your organization has this name: {typed}"]

    assert not organization.users.filter(email="new@acme.example").exists()
