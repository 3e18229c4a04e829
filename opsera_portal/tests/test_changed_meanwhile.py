"""Two people who edit the same object at once: the second is told. The API: `test_etags.py`."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from accounts import seen as seen_accounts
from accounts import services as people_services
from accounts.models import Group
from accounts.roles import SiteRole
from accounts.tests.factories import GroupFactory, UserFactory
from core.seen import ChangedMeanwhile, check_seen, fingerprint
from pipelines import seen, services
from pipelines.access import ItemRole
from pipelines.models import Pipeline, Step
from pipelines.services import RuleInput, StepInput
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory, StepFactory, give_secrets

TOLD = escape(str(ChangedMeanwhile.message))


@pytest.fixture
def second(organization):
    """Another Administrator."""
    return UserFactory(
        organization=organization, email="second@acme.example", name="Sue Second", site_role=SiteRole.ADMINISTRATOR
    )


@pytest.fixture
def browsers(administrator, second):
    """The browsers of two Administrators."""
    return browser_of(administrator), browser_of(second)


@pytest.fixture
def pipeline(administrator):
    return PipelineFactory(owner=administrator, name="Deploy", tags=["nightly"])


@pytest.fixture
def step(pipeline):
    return StepFactory(pipeline=pipeline, position=1, name="Build")


@pytest.fixture
def group(organization):
    return GroupFactory(organization=organization, name="Release managers")


def browser_of(person):
    client = Client()
    client.force_login(person)
    return client


def seen_in(answer, action=""):
    """The value of the hidden field, in the form that is sent to this address."""
    html = answer.content.decode()
    if action:
        html = html[html.index(f'action="{action}"') :]
    return re.search(r'name="seen"\s+value="([0-9a-f ]+)"', html)[1]


class OnPage:
    """A form that two people open. ``typed`` has two contents of it, ``page`` is where it is shown."""

    def __init__(self, page, typed, value, *, action="", name="seen"):
        self.page, self.typed, self.value, self.action = page, typed, value, action or page

    def open(self, client):
        return seen_in(client.get(self.page), self.action if self.action != self.page else "")

    def send(self, client, seen, number):
        return client.post(self.action, {**self.typed[number], "seen": seen})


def step_form(step):
    page = reverse("pipelines:step_update", args=[step.pipeline_id, step.pk])
    common = {"kind": "http_call", "name": "Build", "method": "POST", "expected_status": "200"}
    typed = [common | {"url": f"https://ci.example.com/{number}"} for number in range(3)]
    return OnPage(page, typed, lambda: Step.objects.get(pk=step.pk).url)


def texts_form(pipeline):
    page = reverse("pipelines:pipeline_update", args=[pipeline.pk])
    typed = [{"name": "Deploy", "description": f"Text {number}", "tags": "nightly"} for number in range(3)]
    return OnPage(page, typed, lambda: Pipeline.objects.get(pk=pipeline.pk).description)


def people_form(pipeline):
    page = reverse("pipelines:pipeline_notifications", args=[pipeline.pk])
    people = [UserFactory(organization=pipeline.organization) for _ in range(3)]
    typed = [{"notified_people": person.email} for person in people]
    return OnPage(page, typed, lambda: [person.email for person in pipeline.notified_people.all()])


def rule_form(pipeline):
    rule = AccessRuleFactory(
        pipeline=pipeline, user=UserFactory(organization=pipeline.organization), role=ItemRole.GUEST
    )
    page = reverse("pipelines:access_rule_list", args=[pipeline.pk])
    action = reverse("pipelines:access_rule_update", args=[pipeline.pk, rule.pk])
    typed = [{"role": role.value} for role in (ItemRole.USER, ItemRole.MANAGER, ItemRole.ADMINISTRATOR)]
    return OnPage(page, typed, lambda: pipeline.access_rules.get().role, action=action)


def new_rule_form(pipeline):
    """Both give the same person a role, who had none."""
    page = reverse("pipelines:access_rule_list", args=[pipeline.pk])
    email = UserFactory(organization=pipeline.organization).email
    typed = [{"who": email, "role": role.value} for role in (ItemRole.USER, ItemRole.MANAGER, ItemRole.GUEST)]
    return OnPage(page, typed, lambda: pipeline.access_rules.get().role)


def group_form(group):
    page = reverse("accounts:organization_group_detail", args=[group.pk])
    action = reverse("accounts:organization_group_rename", args=[group.pk])
    typed = [{"name": f"Name {number}"} for number in range(3)]
    return OnPage(page, typed, lambda: Group.objects.get(pk=group.pk).name, action=action)


def role_form(user):
    page = reverse("accounts:organization_user_detail", args=[user.pk])
    action = reverse("accounts:organization_user_role", args=[user.pk])
    typed = [{"site_role": role.value} for role in (SiteRole.GUEST, SiteRole.AUDITOR, SiteRole.POWER_USER)]
    return OnPage(page, typed, lambda: type(user).objects.get(pk=user.pk).site_role, action=action)


@pytest.fixture(params=["step", "texts", "people", "rule", "new rule", "group", "role"])
def form(request, pipeline, step, group, member):
    return {
        "step": lambda: step_form(step),
        "texts": lambda: texts_form(pipeline),
        "people": lambda: people_form(pipeline),
        "rule": lambda: rule_form(pipeline),
        "new rule": lambda: new_rule_form(pipeline),
        "group": lambda: group_form(group),
        "role": lambda: role_form(member),
    }[request.param]()


# On pages


def test_second_editor_is_told_and_can_then_overwrite(form, browsers):
    first, second = browsers
    seen_by_first, seen_by_second = form.open(first), form.open(second)

    assert form.send(first, seen_by_first, 0).status_code == 302
    saved = form.value()
    told = form.send(second, seen_by_second, 1)

    assert (told.status_code, form.value()) == (409, saved)
    html = told.content.decode()
    assert TOLD in html
    assert re.search(rf'href="{form.page}"\s+target="_blank"\s+rel="noopener"\s+id="current-version"', html)
    again = seen_in(told, form.action if form.action != form.page else "")
    assert form.send(second, again, 1).status_code == 302
    assert form.value() != saved


def test_page_that_tells_the_second_editor_shows_what_was_typed(form, browsers):
    first, second = browsers
    old = form.open(second)
    form.send(first, form.open(first), 0)

    html = form.send(second, old, 1).content.decode()

    for value in form.typed[1].values():
        assert re.search(rf'(value="{value}"|>\s*{value}\s*</textarea>)', html), value


def test_person_who_saves_twice_is_not_stopped(form, browsers):
    first, _second = browsers

    for number in range(3):
        assert form.send(first, form.open(first), number).status_code == 302


def test_person_who_goes_back_and_saves_again_is_not_stopped(form, browsers):
    first, _second = browsers
    old = form.open(first)

    assert [form.send(first, old, number).status_code for number in range(3)] == [302, 302, 302]


def test_person_who_goes_back_is_told_about_the_change_of_someone_else(form, browsers):
    first, second = browsers
    old = form.open(first)
    form.send(first, old, 0)
    form.send(second, form.open(second), 1)

    assert form.send(first, old, 2).status_code == 409


def test_form_without_the_field_is_saved_as_before(form, browsers):
    first, second = browsers
    form.send(first, form.open(first), 0)

    assert second.post(form.action, form.typed[1]).status_code == 302


def test_mistyped_form_keeps_what_its_editor_saw(browsers, step):
    form, (first, second) = step_form(step), browsers
    old = form.open(second)
    form.send(first, form.open(first), 0)

    mistyped = second.post(form.action, {**form.typed[1], "url": "", "seen": old})

    assert mistyped.status_code == 400
    assert seen_in(mistyped).startswith(old)
    assert form.send(second, seen_in(mistyped), 1).status_code == 409


def test_different_rules_can_be_added_at_once(browsers, pipeline, member, owner):
    first, second = browsers
    form = new_rule_form(pipeline)
    old = form.open(second)

    first.post(form.page, {"who": member.email, "role": "user", "seen": form.open(first)})
    answer = second.post(form.page, {"who": owner.email, "role": "user", "seen": old})

    assert answer.status_code == 302
    assert pipeline.access_rules.count() == 2


def test_other_parts_of_a_pipeline_can_be_edited_at_once(browsers, pipeline, step):
    first, second = browsers
    of_step, of_texts = step_form(step), texts_form(pipeline)
    old = of_texts.open(second)

    of_step.send(first, of_step.open(first), 0)

    assert of_texts.send(second, old, 1).status_code == 302


def test_form_that_comes_back_after_a_sign_in_still_notices_the_change(browsers, step):
    form, (first, second) = step_form(step), browsers
    old = form.open(second)
    form.send(first, form.open(first), 0)
    expired = Client(enforce_csrf_checks=True)
    expired.cookies = second.cookies

    kept = expired.post(form.action, {**form.typed[1], "seen": old}, headers={"Origin": "http://testserver"})
    back = second.get(kept.url)

    assert "https://ci.example.com/1" in back.content.decode()
    assert form.send(second, seen_in(back), 1).status_code == 409


# In Django admin


@pytest.mark.parametrize("model", ["pipeline", "group", "user"])
def test_second_editor_in_django_admin_is_told(browsers, pipeline, group, member, model):
    first, second = browsers
    app, row, forms = {
        "pipeline": (
            "pipelines",
            pipeline,
            [
                {"name": name, "description": "", "tags": "[]", "owner": pipeline.owner_id}
                | {
                    f"{inline}-{count}_FORMS": "0"
                    for inline in ("steps", "access_rules")
                    for count in ("TOTAL", "INITIAL")
                }
                for name in ("One", "Two")
            ],
        ),
        "group": ("accounts", group, [{"name": name, "members": []} for name in ("One", "Two")]),
        "user": (
            "accounts",
            member,
            [{"name": name, "email": member.email, "site_role": "user", "is_active": "on"} for name in ("One", "Two")],
        ),
    }[model]
    page = reverse(f"admin:{app}_{model}_change", args=[row.pk])
    old = seen_in(second.get(page))

    assert first.post(page, {**forms[0], "seen": seen_in(first.get(page))}).status_code == 302
    told = second.post(page, {**forms[1], "seen": old})

    assert told.status_code == 200
    assert TOLD in told.content.decode()
    row.refresh_from_db()
    assert row.name == "One"
    assert second.post(page, {**forms[1], "seen": seen_in(told)}).status_code == 302
    row.refresh_from_db()
    assert row.name == "Two"


# Fingerprints


@pytest.mark.each_database
def test_fingerprint_is_the_same_before_and_after_it_is_stored(administrator, pipeline, step):
    step_input = StepInput(
        name="Cafe\u0301",
        url="https://ci.example.com/",
        headers={"X-Second": "2", "Accept": "text/plain", "X-A": "é"},
        secret_headers={"Authorization": "Bearer hush", "A-Key": "hush"},
    )

    saved = services.edit_step(actor=administrator, pipeline=pipeline, step_id=step.pk, step=step_input)
    edited = services.edit_pipeline(actor=administrator, pipeline=pipeline, name="  Cafe\u0301 ", tags=["b ", "a", "b"])

    assert seen.of_step(saved) == seen.of_step(Step.objects.get(pk=step.pk))
    assert seen.of_texts(edited) == seen.of_texts(Pipeline.objects.get(pk=pipeline.pk))


def test_new_value_of_a_secret_is_a_change(browsers, administrator, pipeline, step):
    give_secrets(step, {"Authorization": "Bearer old"})
    form, (_first, second) = step_form(step), browsers
    old = form.open(second)

    services.edit_step(
        actor=administrator,
        pipeline=pipeline,
        step_id=step.pk,
        step=StepInput(name=step.name, url=step.url, secret_headers={"Authorization": "Bearer new"}),
    )
    told = second.post(form.action, {**form.typed[1], "secret_headers": "Authorization: (unchanged)", "seen": old})

    assert told.status_code == 409
    assert "Bearer new" not in told.content.decode()


def test_fingerprint_does_not_depend_on_the_plain_value_of_a_secret(step):
    """The same value is encrypted in another way each time, so that nobody can compare a guess."""
    give_secrets(step, {"Authorization": "Bearer same"})
    before = seen.of_step(step)
    give_secrets(step, {"Authorization": "Bearer same"})

    assert seen.of_step(step) != before


def test_fingerprint_depends_on_the_key_of_the_portal(settings, group):
    before = seen_accounts.of_group_name(group)
    settings.SECRET_KEY = "another key"

    assert seen_accounts.of_group_name(group) != before


def test_fingerprints_of_two_objects_with_the_same_values_differ(organization, stranger):
    groups = [GroupFactory(organization=each, name="Same") for each in (organization, stranger.organization)]

    assert len({seen_accounts.of_group(group) for group in groups}) == 2


def test_nothing_is_compared_without_a_fingerprint():
    check_seen(None, fingerprint("thing", 1))
    with pytest.raises(ChangedMeanwhile):
        check_seen("", fingerprint("thing", 1))


def test_moved_step_is_the_same_step(administrator, pipeline, step):
    StepFactory(pipeline=pipeline, position=2)
    before = seen.of_step(step)

    services.move_step(actor=administrator, pipeline=pipeline, step_id=step.pk, direction="down")

    assert seen.of_step(Step.objects.get(pk=step.pk)) == before


# At the same time


@pytest.mark.each_database
@pytest.mark.django_db(transaction=True)
def test_only_one_of_two_simultaneous_changes_is_made(administrator, pipeline, step, group, member):
    old = seen.of_step(step), seen_accounts.of_group_name(group), seen.of_rules(pipeline, [])

    def edit(number):
        try:
            with transaction.atomic():
                services.edit_step(
                    actor=administrator,
                    pipeline=pipeline,
                    step_id=step.pk,
                    step=StepInput(name=f"Build {number}", url=step.url),
                    seen=old[0],
                )
            people_services.change_group(actor=administrator, group=group, name=f"Group {number}", seen=old[1])
            rules = [RuleInput(member, ItemRole.USER)]
            services.replace_access_rules(actor=administrator, pipeline=pipeline, rules=rules, seen=old[2])
        except ChangedMeanwhile:
            return "told"
        finally:
            connection.close()
        return "saved"

    with ThreadPoolExecutor(4) as threads:
        outcomes = sorted(threads.map(edit, range(4)))

    assert outcomes == ["saved", "told", "told", "told"]
