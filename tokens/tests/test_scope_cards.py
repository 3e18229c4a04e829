"""What the cards of the form for a new token say about each scope."""

import re

import pytest

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from core.api.operations import operation_at, routes
from core.api.scopes import SCOPES, as_string, parse
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory
from tokens.scope_cards import least_scope, scope_cards, without_included
from tokens.tests.factories import TokenFactory

PAGE = "/profile/tokens/"
OPERATIONS = re.compile(r"(\d+) of (\d+) operations")


def notes(user):
    return {card["id"]: card["note"] for card in scope_cards(user, chosen=())}


def closed(user):
    return {card["id"] for card in scope_cards(user, chosen=()) if not card["is_open"]}


@pytest.fixture
def world(organization, owner, member, stranger):
    """Three pipelines that everyone can run, one that the member can only see, one that only the owner can see."""
    PipelineFactory.create_batch(3, organization=organization, owner=owner)
    AccessRuleFactory(pipeline=PipelineFactory(organization=organization, owner=owner), user=member, role="guest")
    AccessRuleFactory(pipeline=PipelineFactory(organization=organization, owner=owner), user=owner, role="user")
    PipelineFactory(organization=stranger.organization, owner=stranger)


def test_cards_count_the_pipelines_of_the_person(world, owner, member):
    assert notes(owner)["pipeline"] == "Runs 5 pipelines and reads 5."
    assert notes(member)["pipeline"] == "Runs 3 pipelines and reads 4."
    assert notes(member)["pipeline-readonly"] == "Reads 4 pipelines."


def test_cards_show_the_numbers_of_the_pages(world, client, member):
    client.force_login(member)
    listed = client.get("/pipelines/").context["table"].rows
    answer = client.get(PAGE)

    assert f"reads {len(listed)}." in answer.text


def test_card_without_pipelines_stays_open(owner):
    assert notes(owner)["pipeline"] == "Runs no pipelines and reads no pipelines."
    assert "pipeline" not in closed(owner)


@pytest.mark.parametrize(
    ("role", "says"),
    [
        (SiteRole.GUEST, "Reads 3 pipelines. Your role can't run pipelines. 13 of 111 operations."),
        (SiteRole.AUDITOR, "Reads 5 pipelines. Your role can't run pipelines. 14 of 111 operations."),
        (SiteRole.POWER_USER, "Runs 5 pipelines and reads 5."),
        (SiteRole.ADMINISTRATOR, "Runs 5 pipelines and reads 5."),
    ],
)
def test_card_says_what_the_role_leaves(world, organization, role, says):
    assert notes(UserFactory(organization=organization, site_role=role))["pipeline"] == says


@pytest.mark.parametrize("role", list(SiteRole))
def test_cards_count_the_operations_like_the_page_of_a_token(world, client, organization, role):
    person = UserFactory(organization=organization, site_role=role)
    client.force_login(person)
    said = {scope: found.groups() for scope, note in notes(person).items() if (found := OPERATIONS.search(note))}

    for scope, numbers in said.items():
        page = client.get(f"{PAGE}{TokenFactory(owner=person, scope=scope).pk}/")
        assert numbers == (str(len(page.context["can_do"])), str(page.context["operation_count"])), scope
    assert said or role is SiteRole.ADMINISTRATOR


@pytest.mark.parametrize("role", list(SiteRole))
def test_only_a_scope_that_opens_nothing_is_closed(organization, role):
    person = UserFactory(organization=organization, site_role=role)

    # A new organization doesn't allow `scim`.
    assert closed(person) - {"scim"} == (set() if person.may_read_organization_logs else {"security-logs"})


def test_closed_card_names_the_roles_that_open_it(owner):
    assert notes(owner)["security-logs"] == (
        "Nothing with your role: ask an Administrator for the role Power User, Security Manager or Auditor."
    )


def test_closed_card_is_disabled_on_the_page_and_never_checked(client, owner):
    client.force_login(owner)

    cards = {card["id"]: card for card in client.get(f"{PAGE}?scopes=security-logs,api").context["scope_cards"]}

    assert (cards["security-logs"]["checked"], cards["api"]["checked"]) == (False, True)
    assert [scope for scope, card in cards.items() if not card["is_open"]] == ["security-logs", "scim"]


def test_link_with_a_closed_scope_says_that_it_was_left_out(client, owner):
    client.force_login(owner)

    answer = client.get(f"{PAGE}?scopes=security-logs,pipeline")

    assert answer.context["form"]["scopes"].value() == ["pipeline"]
    assert answer.context["filled"].problems == [
        "With your role, these scopes allow nothing and were left out: security-logs."
    ]


def test_cards_make_one_query(world, owner, django_assert_num_queries):
    organization = owner.own_organization
    assert organization.allowed_scopes

    with django_assert_num_queries(1):
        scope_cards(owner, chosen=())


def test_every_scope_opens_operations():
    for scope in SCOPES:
        assert any(scope in route.operation.scopes for route in routes()), scope


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        ("pipeline pipeline-readonly", "pipeline"),
        ("api-readonly pipeline", "api-readonly pipeline"),
        ("api api-readonly pipeline security-logs scim tokens:rotate", "api scim tokens:rotate"),
    ],
)
def test_scope_that_another_one_includes_is_left_out(chosen, left):
    assert as_string(without_included(parse(chosen))) == left


def test_least_scope_of_an_operation_is_the_one_for_the_fewest_operations(owner):
    owner.site_role = SiteRole.AUDITOR
    read_logs, read_people = operation_at("GET", "/api/v1/logs/user/tokens"), operation_at("GET", "/api/v1/users")

    assert (least_scope(read_logs, owner).id, least_scope(read_people, owner).id) == ("security-logs", "api-readonly")
