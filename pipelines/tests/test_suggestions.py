"""What fields about pipelines suggest, and the people that they accept."""

import re
from html import unescape

import pytest

from accounts.roles import SiteRole
from accounts.tests.factories import GroupFactory, UserFactory
from pipelines import filters
from pipelines.access import PipelineAction, may, may_be_owner
from pipelines.models import NOTIFIED_LIMIT
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory

PIPELINES, TAGS = "/suggestions/pipelines/", "/suggestions/tags/"


@pytest.fixture
def pipeline(owner):
    return PipelineFactory(owner=owner, name="Deploy web", tags=["nightly", "linux"])


@pytest.fixture
def as_administrator(client, administrator):
    client.force_login(administrator)
    return client


@pytest.fixture
def nora(organization):
    return UserFactory(organization=organization, name="Nora Fresh", email="nora@acme.example")


def offered(client, typed, path=PIPELINES):
    answer = client.post(path, {"text": typed})
    assert answer.status_code == 200
    return [unescape(value) for value in re.findall(r'role="option" data-value="([^"]*)"', answer.text)]


@pytest.mark.parametrize(("path", "typed", "found"), [(PIPELINES, "WEB", "Deploy web"), (TAGS, "night", "nightly")])
def test_visible_pipelines_and_tags_are_suggested(client, pipeline, member, stranger, path, typed, found):
    def suggested_to(person):
        client.force_login(person)
        return offered(client, typed, path)

    assert suggested_to(member) == [found]
    assert suggested_to(stranger) == []
    AccessRuleFactory(pipeline=pipeline, user=UserFactory(organization=pipeline.organization))
    assert suggested_to(member) == []
    assert suggested_to(pipeline.owner) == [found]


@pytest.mark.parametrize("path", [PIPELINES, TAGS])
def test_signed_out_people_are_sent_to_sign_in(client, pipeline, path):
    assert client.post(path, {"text": "deploy"}).status_code == 302


def test_many_pipelines_of_a_new_token_are_suggested(client, owner, pipeline, monkeypatch):
    monkeypatch.setattr("tokens.views.my_tokens.MOST_CHOICES", 0)
    client.force_login(owner)

    assert f'hx-post="{PIPELINES}"' in client.get("/profile/tokens/").text


# A new owner


def transfer(client, pipeline, typed):
    return client.post(f"/pipelines/{pipeline.pk}/transfer/", {"owner": typed})


@pytest.mark.parametrize("typed", [" nora  FRESH", "Nora Fresh <nora@acme.example>", "NORA@acme.example"])
def test_new_owner_is_found_by_name_suggestion_or_address(as_administrator, pipeline, nora, typed):
    transfer(as_administrator, pipeline, typed)

    pipeline.refresh_from_db()
    assert pipeline.owner == nora


def test_new_owner_must_be_one_active_person_of_the_organization(as_administrator, pipeline, nora, stranger):
    UserFactory(organization=pipeline.organization, name="Nora Fresh", email="nora.2@acme.example")
    UserFactory(organization=pipeline.organization, name="Gone", email="gone@acme.example", is_active=False)
    unknown_name = "Nobody in your organization has this name. Enter the full name."
    unknown_address = "Nobody active in your organization has this address."

    said = {
        typed: transfer(as_administrator, pipeline, typed).context["form"].errors["owner"][0]
        for typed in ("Nora Fresh", "Nora", "Gone", "gone@acme.example", stranger.name, stranger.email, str(nora.pk))
    }

    assert said == {
        "Nora Fresh": "Several people have this name. Enter one of these e-mail addresses: nora.2@acme.example, "
        "nora@acme.example",
        "Nora": unknown_name,
        "Gone": unknown_name,
        "gone@acme.example": unknown_address,
        stranger.name: unknown_name,
        stranger.email: unknown_address,
        str(nora.pk): unknown_name,
    }


def people_of_every_kind(organization):
    """People with each site role, and one who has not accepted the invitation yet. Also creates a deactivated one."""
    people = [UserFactory(organization=organization, site_role=role, name=f"Kim {role}") for role in SiteRole]
    UserFactory(organization=organization, name="Kim deactivated", is_active=False)
    return [*people, UserFactory(organization=organization, name="Kim invited", joined_at=None)]


def names(path, client):
    return {value.partition(" <")[0] for value in offered(client, "kim", path)}


def test_only_people_who_can_be_owners_are_suggested(as_administrator, pipeline, organization, stranger):
    people = people_of_every_kind(organization)
    pipeline.owner = people[0]
    pipeline.save()
    path = f"/pipelines/{pipeline.pk}/suggestions/owners/"
    assert f'hx-post="{path}"' in as_administrator.get(f"/pipelines/{pipeline.pk}/transfer/").text

    found = names(path, as_administrator)

    assert found == {person.name for person in people[1:] if may_be_owner(person)}
    assert "Kim guest" not in found
    for value in offered(as_administrator, "kim", path):
        assert transfer(as_administrator, pipeline, value).status_code == 302


def test_people_who_cannot_see_the_organization_find_owners_by_address_only(client, owner, pipeline, nora):
    client.force_login(owner)

    page = client.get(f"/pipelines/{pipeline.pk}/transfer/").text
    assert "data-picker" not in page
    answer = transfer(client, pipeline, "Nora Fresh")

    assert answer.context["form"].errors["owner"] == ["Nobody active in your organization has this address."]
    assert transfer(client, pipeline, nora.email).status_code == 302


# Recipients of mails


def notify(client, pipeline, typed):
    return client.post(f"/pipelines/{pipeline.pk}/notifications/", {"notified_people": typed})


def notified(pipeline):
    return [person.email for person in pipeline.notified_people.order_by("email")]


@pytest.mark.parametrize(
    "typed",
    [
        "Nora Fresh\nOlga Owner",
        "Nora Fresh <nora@acme.example>\r\nolga OWNER <owner@acme.example>\r\n\r\n",
        "nora@acme.example, OWNER@acme.example",
        "nora@acme.example owner@acme.example",
        "Nora Fresh <nora@acme.example>, Olga Owner <owner@acme.example>",
        "owner@acme.example; Nora Fresh <nora@acme.example>",
        "Nora Fresh\nnora@acme.example\nowner@acme.example",
    ],
)
def test_recipients_are_found_by_names_suggestions_and_addresses(as_administrator, pipeline, nora, owner, typed):
    notify(as_administrator, pipeline, typed)

    assert notified(pipeline) == ["nora@acme.example", "owner@acme.example"]


@pytest.mark.parametrize("rules", ["none", "of a person", "of a group"])
def test_only_people_who_can_see_the_pipeline_are_suggested(as_administrator, pipeline, organization, rules):
    people = people_of_every_kind(organization)
    chosen = UserFactory(organization=organization, name="Kim chosen")
    if rules == "of a person":
        AccessRuleFactory(pipeline=pipeline, user=chosen)
    elif rules == "of a group":
        group = GroupFactory(organization=organization)
        group.members.add(chosen, people[2])
        AccessRuleFactory(pipeline=pipeline, group=group)
        AccessRuleFactory(pipeline=pipeline, user=chosen)
    path = f"/pipelines/{pipeline.pk}/suggestions/recipients/"
    assert f'hx-post="{path}"' in as_administrator.get(f"/pipelines/{pipeline.pk}/notifications/").text

    found = names(path, as_administrator)

    assert found == {person.name for person in [*people, chosen] if may(person, PipelineAction.SEE, pipeline)}
    assert ("Kim guest" in found) == (rules == "none")
    notify(as_administrator, pipeline, "\n".join(offered(as_administrator, "kim", path)))
    assert len(notified(pipeline)) == len(found)


def test_person_with_a_comma_in_the_name_is_one_recipient(as_administrator, pipeline):
    UserFactory(organization=pipeline.organization, name="Fresh, Nora", email="nora@acme.example")

    notify(as_administrator, pipeline, "Fresh, Nora <nora@acme.example>")

    assert notified(pipeline) == ["nora@acme.example"]


def test_wrong_recipient_saves_nothing_and_is_named(as_administrator, pipeline, nora, stranger):
    UserFactory(organization=pipeline.organization, name="Gone", email="gone@acme.example", is_active=False)
    by_name = "Nobody active who can see this pipeline has this name: "
    by_address = "Nobody active who can see this pipeline has this address: "

    said = {
        typed: notify(as_administrator, pipeline, f"nora@acme.example\n{typed}").context["form"].errors
        for typed in ("Gone", "gone@acme.example", stranger.name, f"{stranger.name} <{stranger.email}>")
    }

    assert {typed: errors["notified_people"][0] for typed, errors in said.items()} == {
        "Gone": f"{by_name}Gone",
        "gone@acme.example": f"{by_address}gone@acme.example",
        stranger.name: f"{by_name}{stranger.name}",
        f"{stranger.name} <{stranger.email}>": f"{by_address}{stranger.email}",
    }
    assert notified(pipeline) == []


def test_number_of_recipients_is_limited(as_administrator, pipeline):
    answer = notify(as_administrator, pipeline, "\n".join(f"Person {number}" for number in range(NOTIFIED_LIMIT + 1)))

    assert "Choose at most" in answer.context["form"].errors["notified_people"][0]


def test_form_shows_recipients_with_names_to_people_who_can_see_them(client, administrator, owner, pipeline, nora):
    pipeline.notified_people.add(nora)

    def shown_to(person):
        client.force_login(person)
        answer = client.get(f"/pipelines/{pipeline.pk}/notifications/")
        return answer.context["form"]["notified_people"].value(), "data-picker" in answer.text

    assert shown_to(administrator) == ("Nora Fresh <nora@acme.example>", True)
    assert shown_to(owner) == ("nora@acme.example", False)


def test_owner_who_cannot_see_people_finds_recipients_by_address_only(client, owner, pipeline, nora):
    client.force_login(owner)

    answer = notify(client, pipeline, "Nora Fresh")
    assert answer.context["form"].errors["notified_people"] == [
        "Nobody active who can see this pipeline has this address: nora fresh"
    ]
    notify(client, pipeline, "nora@acme.example")

    assert notified(pipeline) == ["nora@acme.example"]


# Access rules


@pytest.mark.parametrize("role", [SiteRole.ADMINISTRATOR, SiteRole.USER])
def test_access_rules_suggest_subjects(client, pipeline, organization, role):
    person = UserFactory(organization=organization, site_role=role)
    pipeline.owner = person
    pipeline.save()
    client.force_login(person)

    assert 'hx-post="/suggestions/subjects/"' in client.get(f"/pipelines/{pipeline.pk}/access-rules/").text


# Filters


def test_many_tags_are_suggested_instead_of_listed(as_administrator, pipeline, monkeypatch):
    monkeypatch.setattr(filters, "MOST_TO_READ", 1)

    page = as_administrator.get("/pipelines/?tag=linux").text

    assert re.search(rf'<input[^>]+name="tag"[^>]+value="linux"[^>]+hx-post="{TAGS}"', page)
    assert pipeline.name in page
