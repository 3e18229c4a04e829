"""Access rules are added, changed and removed on the page, in the API and by the service."""

import re
from html import unescape

import pytest
from django.core.exceptions import ValidationError

from accounts.models import Group
from accounts.roles import SiteRole
from accounts.tests.factories import GroupFactory, UserFactory
from auditlog.models import Activity
from core.errors import NotAllowed
from pipelines import services
from pipelines.access import ItemRole, PipelineAction, may
from pipelines.models import AccessRule, Pipeline
from pipelines.services import RuleInput
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory
from tokens.tests.factories import TokenFactory, bearer

UNKNOWN = "6f1e4ad0-0000-4000-8000-000000000000"


@pytest.fixture
def pipeline(owner):
    return PipelineFactory(owner=owner, name="Deploy")


@pytest.fixture
def manager(organization, pipeline):
    user = UserFactory(organization=organization, email="manager@acme.example")
    AccessRuleFactory(pipeline=pipeline, user=user, role=ItemRole.MANAGER)
    return user


@pytest.fixture
def as_owner(client, owner):
    client.force_login(owner)
    return client


def address(pipeline, rest=""):
    return f"/pipelines/{pipeline.pk}/access-rules/{rest}"


def put(client, pipeline, *rules, **more):
    return client.put(
        f"/api/v1/pipelines/{pipeline.pk}/access-rules", {"rules": list(rules)}, content_type="application/json", **more
    )


def rules_of(pipeline):
    return {rule.subject_name: rule.role for rule in pipeline.access_rules.all()}


def changes():
    return list(
        Activity.objects.filter(action="pipeline.access_rules_changed")
        .order_by("at", "id")
        .values_list("details__changes", flat=True)
    )


@pytest.mark.each_database
def test_rule_is_added_changed_and_removed_on_the_page(as_owner, pipeline, member):
    as_owner.post(address(pipeline), {"who": member.email.upper(), "role": "user"})
    rule = pipeline.access_rules.get()
    assert (rule.user, rule.role) == (member, "user")

    as_owner.post(address(pipeline, f"{rule.pk}/"), {"role": "manager"})
    assert rules_of(pipeline) == {member.email: "manager"}

    question = as_owner.get(address(pipeline, f"{rule.pk}/remove/")).content.decode()
    assert "This is the last rule" in question
    as_owner.post(address(pipeline, f"{rule.pk}/remove/"))
    assert rules_of(pipeline) == {}
    assert changes() == [
        [f"{member.email}: no role → User"],
        [f"{member.email}: User → Manager"],
        [f"{member.email}: Manager → no role"],
    ]


@pytest.mark.each_database
def test_group_is_found_by_its_name_in_any_case(as_owner, pipeline, organization):
    GroupFactory(organization=organization, name="Builders")

    as_owner.post(address(pipeline), {"who": "builders", "role": "user"})

    assert rules_of(pipeline) == {"Builders": "user"}


def test_api_replaces_all_rules_and_returns_them(as_owner, pipeline, member, organization):
    group = GroupFactory(organization=organization, name="Builders")
    AccessRuleFactory(pipeline=pipeline, user=UserFactory(organization=organization), role=ItemRole.GUEST)

    answer = put(
        as_owner,
        pipeline,
        {"user_email": member.email, "role": "manager"},
        {"group_name": "Builders", "role": "user"},
    )

    assert answer.status_code == 200
    rows = answer.json()["data"]
    assert [(row["user_email"], row["group_id"], row["role"]) for row in rows] == [
        (member.email, None, "manager"),
        (None, str(group.pk), "user"),
    ]
    again = put(as_owner, pipeline, *rows)
    assert again.json()["data"] == rows
    assert len(changes()) == 1


@pytest.mark.parametrize(
    "rule",
    [
        {"user_id": UNKNOWN},
        {"user_email": "nobody@acme.example"},
        {"group_id": UNKNOWN},
        {"group_name": "No such group"},
        {"user_id": "{stranger}"},
        {"user_email": "stranger@elsewhere.example"},
        {"group_id": "{foreign_group}"},
        {"group_name": "Foreign"},
    ],
)
def test_unknown_people_and_other_organizations_get_no_role(as_owner, pipeline, stranger, rule):
    group = GroupFactory(organization=stranger.organization, name="Foreign")
    known = {"{stranger}": str(stranger.pk), "{foreign_group}": str(group.pk)}

    answer = put(as_owner, pipeline, {**{key: known.get(value, value) for key, value in rule.items()}, "role": "user"})
    page = as_owner.post(address(pipeline), {"who": next(iter(rule.values())), "role": "user"})

    assert answer.status_code == 400
    assert answer.json()["errors"] == {"rules": ["Rule 1: No such person or group in your organization."]}
    assert page.status_code == 400
    assert "No such person or group in your organization." in page.content.decode()
    assert rules_of(pipeline) == {}


@pytest.mark.parametrize(
    "rules",
    [
        [{"role": "user"}],
        [{"user_email": "owner@acme.example"}],
        [{"user_email": "owner@acme.example", "role": "king"}],
        [{"user_email": "owner@acme.example", "group_name": "Builders", "role": "user"}],
        [{"user_email": "owner@acme.example", "role": "user"}, {"user_email": "OWNER@acme.example", "role": "guest"}],
        [{"user_email": 5, "role": "user"}],
        [{"user_email": "a\x00b", "role": "user"}],
        [{"user_email": "owner@acme.example", "role": "user", "more": 1}],
        ["owner@acme.example"],
        "owner@acme.example",
        None,
    ],
)
def test_invalid_rules_change_nothing(as_owner, pipeline, owner, organization, rules):
    GroupFactory(organization=organization, name="Builders")
    AccessRuleFactory(pipeline=pipeline, user=owner, role=ItemRole.GUEST)

    answer = as_owner.put(
        f"/api/v1/pipelines/{pipeline.pk}/access-rules", {"rules": rules}, content_type="application/json"
    )

    assert answer.status_code == 400
    assert rules_of(pipeline) == {owner.email: "guest"}


def test_rules_over_the_limit_are_refused(as_owner, pipeline, organization):
    people = UserFactory.create_batch(201, organization=organization)

    answer = put(as_owner, pipeline, *({"user_id": str(person.pk), "role": "user"} for person in people))

    assert answer.status_code == 400
    assert "There can be at most 200" in answer.content.decode()
    assert rules_of(pipeline) == {}


# What a rule really allows


@pytest.fixture
def guest(organization):
    return UserFactory(organization=organization, name="Nora Fresh", email="nora@acme.example", site_role="guest")


def said(answer):
    return [str(message) for message in answer.context["messages"]]


def notes(page):
    return re.findall(r"data-note>⚠ ([^<]+)<", page.content.decode())


def test_message_and_list_say_what_a_guest_can_really_do(client, administrator, pipeline, guest):
    client.force_login(administrator)

    added = client.post(address(pipeline), {"who": guest.email, "role": "user"}, follow=True)
    changed = client.post(address(pipeline, f"{pipeline.access_rules.get().pk}/"), {"role": "manager"}, follow=True)

    assert said(added) == [
        "Nora Fresh now has the role User here, but can only see the pipeline: their role in the organization is Guest."
    ]
    assert said(changed) == [said(added)[0].replace("User", "Manager")]
    note = "Can only see the pipeline: their role in the organization is Guest."
    assert notes(changed) == notes(client.get(f"/pipelines/{pipeline.pk}/")) == [note]
    assert "Nora Fresh" in changed.content.decode()


def test_rule_that_allows_what_it_says_has_no_note(client, administrator, pipeline, guest, member):
    client.force_login(administrator)

    answers = [
        client.post(address(pipeline), {"who": guest.email, "role": "guest"}, follow=True),
        client.post(address(pipeline), {"who": member.email, "role": "manager"}, follow=True),
    ]

    assert [said(answer) for answer in answers] == [
        ["Nora Fresh now has the role Guest."],
        [f"{member.name} now has the role Manager."],
    ]
    assert notes(answers[1]) == []


def test_owner_who_cannot_see_people_learns_no_name_no_site_role_and_no_deactivation(
    as_owner, pipeline, guest, organization
):
    UserFactory(organization=organization, name="Odd Auditor", email="odd@acme.example", site_role="auditor")
    UserFactory(organization=organization, name="Odd Leaver", email="left@acme.example", is_active=False)
    emails = (guest.email, "odd@acme.example", "left@acme.example")

    answers = [as_owner.post(address(pipeline), {"who": email, "role": "user"}, follow=True) for email in emails]

    assert [said(answer) for answer in answers] == [
        [f"{email} now has the role User here, but can't use the whole role at the moment."] for email in emails
    ]
    assert [unescape(note) for note in notes(answers[2])] == ["This person can't use the whole role at the moment."] * 3
    assert not re.search("Nora|Odd|Auditor<|is Guest|deactivated", answers[2].content.decode())


def test_message_and_list_say_that_a_person_is_deactivated(client, administrator, pipeline, guest):
    guest.is_active = False
    guest.save()
    client.force_login(administrator)

    answer = client.post(address(pipeline), {"who": guest.email, "role": "guest"}, follow=True)

    assert said(answer) == ["Nora Fresh now has the role Guest here, but can do nothing: this person is deactivated."]
    assert notes(answer) == ["Can do nothing: this person is deactivated."]


@pytest.mark.parametrize("number", [2, 20])
@pytest.mark.each_database
def test_query_count_of_the_list_is_constant(client, administrator, pipeline, number, django_assert_num_queries):
    for person in UserFactory.create_batch(number, organization=pipeline.organization, site_role="guest"):
        AccessRuleFactory(pipeline=pipeline, user=person)
    client.force_login(administrator)

    # Session, person, pipeline, rules.
    with django_assert_num_queries(4):
        client.get(address(pipeline))


# People are found by name


@pytest.mark.parametrize(
    "text", ["nora FRESH", "  Nora   Fresh ", "Nora Fresh <nora@acme.example>", "NORA@acme.example"]
)
def test_person_is_found_by_full_name_or_suggestion(client, administrator, pipeline, guest, text):
    client.force_login(administrator)

    client.post(address(pipeline), {"who": text, "role": "guest"})

    assert rules_of(pipeline) == {"nora@acme.example": "guest"}


def test_part_of_a_name_finds_nobody(client, administrator, pipeline, guest):
    client.force_login(administrator)

    for text in ("Nora", "Fresh", "Nora <nora>", "Nora Fresh <other@acme.example>"):
        answer = client.post(address(pipeline), {"who": text, "role": "guest"})
        assert "No such person or group in your organization." in answer.content.decode()

    assert rules_of(pipeline) == {}


def test_name_of_several_people_is_refused_with_their_addresses(client, administrator, pipeline, guest, stranger):
    UserFactory(organization=pipeline.organization, name="nora fresh", email="nora.2@acme.example")
    UserFactory(organization=stranger.organization, name="Nora Fresh", email="nora@elsewhere.example")
    client.force_login(administrator)

    answer = client.post(address(pipeline), {"who": "Nora Fresh", "role": "guest"})

    assert answer.status_code == 400
    assert answer.context["form"].errors["who"] == [
        "Several people have this name. Enter one of these e-mail addresses: nora.2@acme.example, nora@acme.example"
    ]
    assert rules_of(pipeline) == {}


@pytest.mark.parametrize("people", [1, 2])
def test_owner_who_cannot_see_people_finds_nobody_by_name(as_owner, pipeline, organization, people):
    for number in range(people):
        UserFactory(organization=organization, name="Nora Fresh", email=f"nora.{number}@acme.example")

    answer = as_owner.post(address(pipeline), {"who": "Nora Fresh", "role": "guest"})

    assert answer.context["form"].errors["who"] == ["No such person or group in your organization."]
    assert "nora." not in answer.content.decode()
    assert rules_of(pipeline) == {}


def test_name_of_a_stranger_finds_nobody(client, administrator, pipeline, stranger):
    UserFactory(organization=stranger.organization, name="Nora Fresh", email="nora@elsewhere.example")
    client.force_login(administrator)

    answer = client.post(address(pipeline), {"who": "Nora Fresh", "role": "guest"})

    assert answer.context["form"].errors["who"] == ["No such person or group in your organization."]
    assert "elsewhere.example" not in answer.content.decode()


def test_group_comes_before_a_person_of_the_same_name(client, administrator, pipeline, guest):
    GroupFactory(organization=pipeline.organization, name="Nora Fresh")
    client.force_login(administrator)

    client.post(address(pipeline), {"who": "Nora Fresh", "role": "user"})

    assert pipeline.access_rules.get().group is not None


# People cannot make themselves Administrator


@pytest.fixture(params=["manager", "power user"])
def editor(request, manager, organization):
    if request.param == "manager":
        return manager
    return UserFactory(organization=organization, site_role=SiteRole.POWER_USER)


def test_only_administrators_add_change_and_remove_administrators(editor, pipeline, organization, member):
    administrator = AccessRuleFactory(
        pipeline=pipeline, user=UserFactory(organization=organization), role=ItemRole.ADMINISTRATOR
    )
    before = rules_of(pipeline)

    def give(subject, role):
        services.set_access_rule(actor=editor, pipeline=pipeline, subject=subject, role=role)

    for attempt in (
        lambda: give(editor, ItemRole.ADMINISTRATOR),
        lambda: give(member, ItemRole.ADMINISTRATOR),
        lambda: give(administrator.user, ItemRole.GUEST),
        lambda: services.remove_access_rule(actor=editor, pipeline=pipeline, rule=administrator),
        lambda: services.replace_access_rules(actor=editor, pipeline=pipeline, rules=[]),
        lambda: services.replace_access_rules(
            actor=editor, pipeline=pipeline, rules=[services.RuleInput(editor, ItemRole.ADMINISTRATOR)]
        ),
    ):
        with pytest.raises(ValidationError, match="Only an Administrator of"):
            attempt()

    assert rules_of(pipeline) == before
    give(member, ItemRole.MANAGER)
    assert may(member, PipelineAction.LOCK, pipeline)


def test_an_item_administrator_gives_every_role(organization, pipeline, member):
    actor = UserFactory(organization=organization)
    AccessRuleFactory(pipeline=pipeline, user=actor, role=ItemRole.ADMINISTRATOR)

    services.set_access_rule(actor=actor, pipeline=pipeline, subject=member, role=ItemRole.ADMINISTRATOR)

    assert rules_of(pipeline)[member.email] == "administrator"


def test_person_who_removes_their_own_rule_is_redirected_to_the_list(client, manager, pipeline, owner):
    AccessRuleFactory(pipeline=pipeline, user=owner, role=ItemRole.USER)
    client.force_login(manager)
    rule = AccessRule.objects.get(user=manager)

    answer = client.post(address(pipeline, f"{rule.pk}/remove/"), follow=True)

    assert answer.redirect_chain[-1][0] == "/pipelines/"
    assert "You can no longer see “Deploy”." in answer.content.decode()
    assert client.get(f"/pipelines/{pipeline.pk}/").status_code == 404


# Pipelines that a person cannot see


@pytest.fixture
def unseen(organization):
    other = UserFactory(organization=organization, email="someone.else@acme.example")
    pipeline = PipelineFactory(owner=other, name="Very private", description="private words", tags=["hidden-tag"])
    AccessRuleFactory(pipeline=pipeline, user=other)
    return pipeline


@pytest.mark.each_database
def test_unseen_pipeline_is_not_listed_found_offered_or_counted(client, api, member, unseen):
    PipelineFactory(owner=member, name="Mine", tags=["mine"])
    client.force_login(member)
    headers = bearer(TokenFactory(owner=member, scope="api"))

    pages = [client.get(f"/pipelines/{query}") for query in ("", "?q=private", "?q=someone.else", "?tag=hidden-tag")]
    answers = [
        api.get(f"/api/v1/pipelines{query}", headers=headers)
        for query in ("", "?q=private", "?q=someone.else", "?tag=hidden-tag", "?state=stopped")
    ]

    for page in pages:
        for word in ("Very private", "private words", str(unseen.pk), "someone.else@"):
            assert word not in page.content.decode()
    # The last page shows the tag of its filter, whether or not it exists.
    for page in pages[:-1]:
        assert '<option value="hidden-tag"' not in page.content.decode()
    assert [answer.json()["count"] for answer in answers] == [1, 0, 0, 0, 1]


def test_unseen_and_unknown_ids_get_the_same_answer(api, client, member, unseen):
    headers = bearer(TokenFactory(owner=member, scope="api"))
    client.force_login(member)

    def said(pk):
        answers = [
            api.get(f"/api/v1/pipelines/{pk}", headers=headers),
            api.delete(f"/api/v1/pipelines/{pk}", headers=headers),
            api.post("/api/v1/pipeline/run", {"pipelineId": str(pk)}, headers=headers),
            api.post("/api/v1/pipeline/summary", {"pipelineId": str(pk)}, headers=headers),
        ]
        return [(answer.status_code, {**answer.json(), "request_id": None}) for answer in answers]

    assert said(unseen.pk) == said(UNKNOWN)
    assert client.get(f"/pipelines/{unseen.pk}/").status_code == 404


def test_name_of_unseen_pipeline_is_refused_with_the_usual_message(client, member, unseen):
    PipelineFactory(owner=member, name="Seen")
    client.force_login(member)

    def said(name):
        answer = client.post("/api/v1/pipelines", {"name": name}, content_type="application/json")
        page = client.post("/pipelines/new/", {"name": name, "description": "", "tags": ""})
        return answer.status_code, answer.json()["detail"], "This name is already in use" in page.content.decode()

    assert said("VERY private") == said("seen") == (409, "This name is already in use. Choose another one.", True)


@pytest.mark.each_database
def test_group_can_be_deleted_once_no_rule_uses_it(pipeline, organization, administrator, owner):
    from accounts.services import GroupInUse, delete_group

    group = GroupFactory(organization=organization)
    rule = AccessRuleFactory(pipeline=pipeline, group=group)
    with pytest.raises(GroupInUse):
        delete_group(actor=administrator, group=group)

    services.remove_access_rule(actor=owner, pipeline=pipeline, rule=rule)
    delete_group(actor=administrator, group=group)

    assert not Group.objects.exists()
    assert Pipeline.objects.visible_to(owner).exists()


def test_rule_for_a_deleted_group_is_refused(pipeline, organization, owner):
    group = GroupFactory(organization=organization)
    Group.objects.filter(pk=group.pk).delete()

    with pytest.raises(ValidationError, match="No such person or group"):
        services.set_access_rule(actor=owner, pipeline=pipeline, subject=group, role=ItemRole.USER)


# Services


def give(actor, pipeline, subject, role=ItemRole.USER):
    return services.set_access_rule(actor=actor, pipeline=pipeline, subject=subject, role=role)


def test_service_gives_no_role_to_a_stranger_or_their_group(owner, pipeline, stranger, member):
    group = GroupFactory(organization=stranger.organization)

    for subject in (stranger, group):
        rules = [RuleInput(member, ItemRole.USER), RuleInput(subject, ItemRole.USER)]
        with pytest.raises(ValidationError, match="No such person or group in your organization"):
            give(owner, pipeline, subject)
        with pytest.raises(ValidationError, match="No such person or group in your organization"):
            services.replace_access_rules(actor=owner, pipeline=pipeline, rules=rules)

    assert rules_of(pipeline) == {}
    assert changes() == []


def test_giving_a_role_that_someone_already_has_changes_nothing(owner, pipeline, member):
    give(owner, pipeline, member)
    give(owner, pipeline, member)
    services.replace_access_rules(actor=owner, pipeline=pipeline, rules=[RuleInput(member, ItemRole.USER)])

    assert changes() == [[f"{member.email}: no role → User"]]


def test_unchanged_rule_of_an_administrator_does_not_prevent_other_changes(
    editor, pipeline, organization, member, manager
):
    administrator = UserFactory(organization=organization)
    AccessRuleFactory(pipeline=pipeline, user=administrator, role=ItemRole.ADMINISTRATOR)
    rules = [
        RuleInput(administrator, ItemRole.ADMINISTRATOR),
        RuleInput(member, ItemRole.USER),
        RuleInput(manager, ItemRole.MANAGER),
    ]

    services.replace_access_rules(actor=editor, pipeline=pipeline, rules=rules)

    assert rules_of(pipeline) == {
        administrator.email: "administrator",
        member.email: "user",
        manager.email: "manager",
    }


def test_person_who_removes_their_own_right_cannot_restore_it(manager, pipeline):
    give(manager, pipeline, manager, ItemRole.GUEST)

    with pytest.raises(NotAllowed):
        give(manager, pipeline, manager, ItemRole.MANAGER)
    with pytest.raises(NotAllowed):
        services.replace_access_rules(actor=manager, pipeline=pipeline, rules=[])
    assert rules_of(pipeline) == {manager.email: "guest"}


def test_rule_does_not_reduce_what_the_owner_can_do(owner, pipeline):
    give(owner, pipeline, owner, ItemRole.GUEST)

    give(owner, pipeline, owner, ItemRole.MANAGER)


@pytest.mark.each_database
def test_rule_201_is_refused_and_a_change_is_accepted(owner, pipeline, organization, member):
    people = UserFactory.create_batch(200, organization=organization, password="!")
    AccessRule.objects.bulk_create([AccessRule(pipeline=pipeline, user=user, role=ItemRole.USER) for user in people])

    with pytest.raises(ValidationError, match="at most 200 rules"):
        give(owner, pipeline, member)
    give(owner, pipeline, people[0], ItemRole.MANAGER)

    assert pipeline.access_rules.count() == 200


def test_rule_cannot_be_removed_through_another_pipeline(owner, pipeline, stranger):
    theirs = AccessRuleFactory(pipeline=PipelineFactory(owner=stranger), user=stranger)

    services.remove_access_rule(actor=owner, pipeline=pipeline, rule=theirs)

    assert AccessRule.objects.get() == theirs
    assert changes() == []
