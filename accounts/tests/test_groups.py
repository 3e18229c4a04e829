"""People create, rename and delete groups, and change their members, on pages and with the API."""

import threading

import pytest
from django.db import connection

from accounts import services
from accounts.models import Group
from accounts.roles import SiteRole
from accounts.tests.factories import GroupFactory, UserFactory
from auditlog.models import Activity
from pipelines.access import ItemRole
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory

GROUPS = "/organization/groups/"
API = "/api/v1/groups"


@pytest.fixture
def power(organization):
    return UserFactory(organization=organization, email="power@acme.example", site_role=SiteRole.POWER_USER)


@pytest.fixture
def as_power(client, power):
    client.force_login(power)
    return client


@pytest.fixture
def group(organization):
    return GroupFactory(organization=organization, name="Builders")


def text(answer):
    return answer.content.decode()


def recorded():
    entries = Activity.objects.exclude(type="authentication").order_by("at", "id")
    return list(entries.values_list("action", "target_name", "details"))


def page_of(group, action=""):
    return f"{GROUPS}{group.pk}/{action}"


def send(client, method, address, body):
    return getattr(client, method)(address, body, content_type="application/json")


def test_group_and_its_members_are_managed_on_pages(as_power, member):
    made = as_power.post(GROUPS, {"name": "  Builders "})
    group = Group.objects.get()
    assert (made.url, group.name) == (page_of(group), "Builders")

    as_power.post(page_of(group, "members/"), {"email": member.email.upper()})
    assert list(group.members.all()) == [member]
    assert member.name in text(as_power.get(page_of(group)))

    as_power.post(page_of(group, "rename/"), {"name": "Makers"})
    question = text(as_power.get(page_of(group, f"members/{member.pk}/remove/")))
    assert f"Remove {member.name} from “Makers”?" in question
    as_power.post(page_of(group, f"members/{member.pk}/remove/"))
    assert not group.members.exists()
    as_power.post(page_of(group, "delete/"))

    assert not Group.objects.exists()
    assert recorded() == [
        ("group.created", "Builders", {"members": []}),
        ("group.changed", "Builders", {"added": [member.email]}),
        ("group.changed", "Makers", {"from": "Builders", "to": "Makers"}),
        ("group.changed", "Makers", {"removed": [member.email]}),
        ("group.deleted", "Makers", {}),
    ]


@pytest.mark.each_database
def test_group_is_created_changed_and_deleted_by_api(as_power, member, owner):
    made = send(as_power, "post", API, {"name": "Builders", "members": [str(member.pk)]})
    assert made.status_code == 201
    address = f"{API}/{made.json()['id']}"
    assert made.json()["members"] == [{"id": str(member.pk), "email": member.email, "name": member.name}]

    changed = send(as_power, "patch", address, {"name": "Makers", "members": [str(owner.pk)]})
    assert [row["email"] for row in changed.json()["members"]] == [owner.email]
    [row] = as_power.get(API).json()["data"]
    assert (row["name"], row["member_count"]) == ("Makers", 1)

    assert as_power.delete(address).status_code == 204
    assert recorded()[1] == (
        "group.changed",
        "Makers",
        {"from": "Builders", "to": "Makers", "added": [owner.email], "removed": [member.email]},
    )


@pytest.mark.parametrize("role", [SiteRole.USER, SiteRole.GUEST, SiteRole.AUDITOR, SiteRole.SECURITY_MANAGER])
def test_only_administrators_and_power_users_change_groups(organization, group, member, role):
    actor = UserFactory(organization=organization, site_role=role)

    for change in (
        lambda: services.create_group(actor=actor, name="Mine"),
        lambda: services.change_group(actor=actor, group=group, name="Mine"),
        lambda: services.add_member(actor=actor, group=group, user=member),
        lambda: services.remove_member(actor=actor, group=group, user=member),
        lambda: services.delete_group(actor=actor, group=group),
    ):
        with pytest.raises(services.NotAllowed):
            change()

    assert recorded() == []


def test_auditor_sees_no_forms_to_change_groups(client, organization, group):
    client.force_login(UserFactory(organization=organization, site_role=SiteRole.AUDITOR))

    for page in (text(client.get(GROUPS)), text(client.get(page_of(group)))):
        assert "Builders" in page
        assert 'method="post"' not in page.replace('method="post" action="/logout/"', "").partition("<main")[2]


def test_group_of_another_organization_is_not_found(as_power, power, stranger, member):
    foreign = GroupFactory(organization=stranger.organization)

    with pytest.raises(services.NotAllowed):
        services.add_member(actor=power, group=foreign, user=member)
    assert as_power.get(page_of(foreign)).status_code == 404
    assert send(as_power, "patch", f"{API}/{foreign.pk}", {"name": "Mine"}).status_code == 403


def test_person_of_another_organization_cannot_become_a_member(as_power, power, group, stranger):
    page = as_power.post(page_of(group, "members/"), {"email": stranger.email})
    answer = send(as_power, "patch", f"{API}/{group.pk}", {"members": [str(stranger.pk)]})
    unknown = send(as_power, "patch", f"{API}/{group.pk}", {"members": ["6f1e4ad0-0000-4000-8000-000000000000"]})

    assert page.status_code == 400
    assert "Nobody in your organization has this address." in text(page)
    assert answer.status_code == 400
    assert answer.json()["errors"] == unknown.json()["errors"]
    assert not group.members.exists()


@pytest.mark.parametrize("typed", [" łucja  ŻAK ", "Łucja Żak <lucja@acme.example>", "lucja@acme.example"])
@pytest.mark.each_database
def test_member_is_found_by_full_name_or_suggestion(as_power, group, typed):
    person = UserFactory(organization=group.organization, name="Łucja Żak", email="lucja@acme.example")
    assert 'hx-post="/suggestions/people/"' in text(as_power.get(page_of(group)))

    as_power.post(page_of(group, "members/"), {"email": typed})

    assert list(group.members.all()) == [person]


def test_name_of_several_or_no_people_adds_nobody(as_power, group, stranger):
    stranger.name = "Sam Far"
    stranger.save()
    for number in range(7):
        UserFactory(organization=group.organization, name="Sam Lee", email=f"sam.{number}@acme.example")

    several, far = (as_power.post(page_of(group, "members/"), {"email": name}) for name in ("sam lee", "Sam Far"))

    assert (several.status_code, far.status_code) == (400, 400)
    addresses = ", ".join(f"sam.{number}@acme.example" for number in range(5))
    assert f"Enter one of these e-mail addresses: {addresses}, …" in text(several)
    assert "Nobody in your organization has this name." in text(far)
    assert not group.members.exists()


@pytest.mark.each_database
def test_existing_member_is_not_added_twice(as_power, group, member):
    group.members.add(member)

    answer = as_power.post(page_of(group, "members/"), {"email": member.email}, follow=True)

    assert "was already in the group" in text(answer)
    assert group.members.count() == 1
    assert recorded() == []


@pytest.mark.parametrize("name", ["", " ", "x" * 51, "a\x00b", "a\nb", "BUILDERS"])
def test_invalid_or_taken_name_is_refused(as_power, group, name):
    other = GroupFactory(organization=group.organization, name="Others")

    pages = [as_power.post(GROUPS, {"name": name}), as_power.post(page_of(other, "rename/"), {"name": name})]
    answers = [
        send(as_power, "post", API, {"name": name}),
        send(as_power, "patch", f"{API}/{other.pk}", {"name": name}),
    ]

    assert [page.status_code for page in pages] == [400, 400]
    assert all("error-summary" in text(page) for page in pages)
    assert {answer.status_code for answer in answers} == ({409} if name == "BUILDERS" else {400})
    assert set(Group.objects.values_list("name", flat=True)) == {"Builders", "Others"}
    assert recorded() == []


@pytest.mark.each_database
def test_group_in_an_access_rule_cannot_be_deleted(as_power, group, owner):
    AccessRuleFactory(pipeline=PipelineFactory(owner=owner, name="Deploy"), group=group, role=ItemRole.MANAGER)

    page = as_power.post(page_of(group, "delete/"), follow=True)
    answer = as_power.delete(f"{API}/{group.pk}")

    assert "Deploy: Builders (Manager)" in text(page)
    assert answer.status_code == 409
    assert "Deploy: Builders (Manager)" in answer.json()["detail"]
    assert Group.objects.filter(pk=group.pk).exists()
    assert recorded() == []


def test_group_in_an_access_rule_cannot_be_deleted_in_django_admin(client, administrator, group, owner):
    AccessRuleFactory(pipeline=PipelineFactory(owner=owner, name="Deploy"), group=group)
    client.force_login(administrator)

    answer = client.post(f"/admin/accounts/group/{group.pk}/delete/", {"post": "yes"})

    assert answer.status_code == 200
    assert Group.objects.filter(pk=group.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_only_one_of_two_simultaneous_requests_gets_the_name(power):
    barrier = threading.Barrier(2)
    ends = []

    def create():
        try:
            barrier.wait()
            ends.append(services.create_group(actor=power, name="Builders"))
        except services.NameTaken as error:
            ends.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(type(end).__name__ for end in ends) == ["Group", "NameTaken"]


@pytest.mark.parametrize("number", [2, 20])
@pytest.mark.each_database
def test_query_count_of_group_pages_is_constant(as_power, group, number, django_assert_num_queries):
    group.members.set(UserFactory.create_batch(number, organization=group.organization))
    GroupFactory.create_batch(number, organization=group.organization)

    # Session, person, count, rows.
    with django_assert_num_queries(4):
        as_power.get(GROUPS)
    # Also the group.
    with django_assert_num_queries(5):
        as_power.get(page_of(group))
