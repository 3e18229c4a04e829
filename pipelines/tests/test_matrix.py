"""Tests each cell of the documented permission table, on the page and in the API with a token.

The table below is a copy of the one in the documentation; nothing in it comes from the code. Each
kind of person tries each action in every possible way.
"""

import json
from functools import cache

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import GroupFactory, OrganizationFactory, UserFactory
from auditlog.models import Activity
from opsera_portal.tests.worlds import check_row, created_once
from pipelines.access import ALLOWED, ItemRole, PipelineAction, Standing
from pipelines.models import AccessRule, Pipeline, Run, Step, StepRun
from pipelines.run_states import RunOutcome, RunState, StepState
from pipelines.tests.factories import PipelineFactory, StepFactory
from tokens.tests.factories import TokenFactory, bearer

TABLE = """
action         owner  manager  power_user  user  guest
see            Y      Y        Y           Y     Y
run            Y      Y        Y           Y     -
approve        Y      Y        Y           -     -
edit steps     Y      Y        Y           -     -
edit rules     Y      Y        Y           -     -
duplicate      Y      Y        Y           -     -
lock           Y      Y        -           -     -
administer     Y      -        -           -     -
"""

# Column, site role, role by their own rule, role by the rule of their group. "nobody" sees nothing.
PEOPLE = {
    "owner": ("owner", SiteRole.USER, None, None),
    "site Administrator": ("owner", SiteRole.ADMINISTRATOR, None, None),
    "site Administrator with a lesser rule": ("owner", SiteRole.ADMINISTRATOR, ItemRole.GUEST, None),
    "item Administrator": ("owner", SiteRole.USER, ItemRole.ADMINISTRATOR, None),
    "item Administrator by group": ("owner", SiteRole.USER, None, ItemRole.ADMINISTRATOR),
    "Power User who is item Administrator": ("owner", SiteRole.POWER_USER, ItemRole.ADMINISTRATOR, None),
    "item Manager": ("manager", SiteRole.USER, ItemRole.MANAGER, None),
    "item Manager by group": ("manager", SiteRole.USER, None, ItemRole.MANAGER),
    "Power User who is item Manager": ("manager", SiteRole.POWER_USER, None, ItemRole.MANAGER),
    "Power User": ("power_user", SiteRole.POWER_USER, None, None),
    "Power User with a lesser rule": ("power_user", SiteRole.POWER_USER, ItemRole.GUEST, None),
    "item User": ("user", SiteRole.USER, ItemRole.USER, None),
    "item User by group": ("user", SiteRole.USER, None, ItemRole.USER),
    "item User whose group is Manager": ("user", SiteRole.USER, ItemRole.USER, ItemRole.MANAGER),
    "User, no rules": ("user", SiteRole.USER, "no rules", None),
    "item Guest": ("guest", SiteRole.USER, ItemRole.GUEST, None),
    "item Guest whose group is Administrator": ("guest", SiteRole.USER, ItemRole.GUEST, ItemRole.ADMINISTRATOR),
    "Guest, no rules": ("guest", SiteRole.GUEST, "no rules", None),
    "Guest who is item Administrator": ("guest", SiteRole.GUEST, ItemRole.ADMINISTRATOR, None),
    "Guest by group": ("guest", SiteRole.GUEST, None, ItemRole.USER),
    "Auditor": ("guest", SiteRole.AUDITOR, None, None),
    "Auditor who is item Manager": ("guest", SiteRole.AUDITOR, ItemRole.MANAGER, None),
    "Security Manager": ("guest", SiteRole.SECURITY_MANAGER, None, None),
    "User without a role": ("nobody", SiteRole.USER, None, None),
    "Guest without a role": ("nobody", SiteRole.GUEST, None, None),
    "stranger": ("nobody", "stranger", None, None),
}


def table():
    head, *rows = [line.split("  ") for line in TABLE.strip().splitlines()]
    columns = [cell.strip() for cell in head if cell.strip()][1:]
    for row in rows:
        action, *cells = [cell.strip() for cell in row if cell.strip()]
        yield action, dict(zip(columns, cells, strict=True))


ALLOWS = {(action, column): cell == "Y" for action, cells in table() for column, cell in cells.items()}


class Case:
    """A pipeline, and a person with a role for it who is signed in and has a token."""

    def __init__(self, organization, stranger, who):
        self.column, site_role, direct, of_group = PEOPLE[who]
        self.pipeline = PipelineFactory(owner=UserFactory(organization=organization))
        self.step = StepFactory(pipeline=self.pipeline, position=1)
        if who == "owner":
            self.person = self.pipeline.owner
        elif site_role == "stranger":
            self.person = stranger
        else:
            self.person = UserFactory(organization=organization, site_role=site_role)
        self.other = UserFactory(organization=organization)
        if direct != "no rules":
            self.rule = self.give(self.other, ItemRole.USER)
            if direct:
                self.give(self.person, direct)
            if of_group:
                group = GroupFactory(organization=organization)
                group.members.add(self.person)
                AccessRule.objects.create(pipeline=self.pipeline, group=group, role=of_group)
        self.browser = Client()
        self.browser.force_login(self.person)
        self.headers = bearer(TokenFactory(owner=self.person, scope="api"))

    def give(self, person, role):
        return AccessRule.objects.create(pipeline=self.pipeline, user=person, role=role)

    def run_in(self, state, *, outcome="", step=StepState.WAITING, kind=Step.Kind.HTTP_CALL):
        run = Run.objects.create(
            pipeline=self.pipeline,
            pipeline_public_id=self.pipeline.pk,
            pipeline_name=self.pipeline.name,
            organization=self.pipeline.organization,
            number=1,
            state=state,
            outcome=outcome,
            started_by=self.pipeline.owner,
            started_by_email=self.pipeline.owner.email,
        )
        definition = {**self.step.definition(), "kind": kind}
        StepRun.objects.create(run=run, state=step, **definition)
        Pipeline.objects.filter(pk=self.pipeline.pk).update(run_count=1)
        return run

    def page(self, name, *arguments):
        return reverse(f"pipelines:{name}", args=[self.pipeline.pk, *arguments])


# Every way to do an action: row of the table, preparation, request of the page, request of the API.
STEP_FORM = {
    "kind": "http_call",
    "name": "Another",
    "method": "POST",
    "url": "https://ci.example.com/",
    "headers": "",
    "secret_headers": "",
    "body": "",
    "expected_status": "200",
}
GATE = {"state": RunState.PAUSED, "step": StepState.PAUSED, "kind": Step.Kind.APPROVAL}
HALTED = {"state": RunState.HALTED, "outcome": RunOutcome.STOPPED}


def own(case, rest=""):
    return f"/api/v1/pipelines/{case.pipeline.pk}{rest}"


def published(action, **more):
    return lambda case: ("post", f"/api/v1/pipeline/{action}", {"pipelineId": str(case.pipeline.pk), **more})


def nothing(case):
    pass


def state(**values):
    return lambda case: case.run_in(**values)


def is_locked(case):
    Pipeline.objects.filter(pk=case.pipeline.pk).update(locked_at=timezone.now())


WAYS = {
    "look at it": ("see", nothing, lambda c: ("get", c.page("pipeline_detail"), {}), lambda c: ("get", own(c), {})),
    "look at a run": (
        "see",
        state(state=RunState.FINISHED, outcome=RunOutcome.SUCCESS),
        lambda c: ("get", c.page("run_detail", 1), {}),
        published("status", runCount=1),
    ),
    "watch a run": (
        "see",
        state(state=RunState.RUNNING),
        lambda c: ("get", c.page("run_progress", 1), {}),
        published("summary"),
    ),
    "read its log": (
        "see",
        state(state=RunState.FINISHED, outcome=RunOutcome.SUCCESS),
        lambda c: ("get", c.page("pipeline_detail"), {}),
        published("logs"),
    ),
    "run": ("run", nothing, lambda c: ("post", c.page("pipeline_run"), {}), published("run")),
    "stop": (
        "run",
        state(state=RunState.RUNNING),
        lambda c: ("post", c.page("pipeline_stop"), {}),
        published("stop"),
    ),
    "resume": ("run", state(**HALTED), lambda c: ("post", c.page("pipeline_resume"), {}), published("resume")),
    "reset": ("run", state(**HALTED), lambda c: ("post", c.page("pipeline_reset"), {}), published("reset")),
    "approve": (
        "approve",
        state(**GATE),
        lambda c: ("post", c.page("run_approve", 1), {"position": 1}),
        published("approve"),
    ),
    "reject": (
        "approve",
        state(**GATE),
        lambda c: ("post", c.page("run_reject", 1), {"position": 1, "message": "Not now"}),
        published("reject", message="Not now"),
    ),
    "see the steps as an editor": (
        "edit steps",
        nothing,
        lambda c: ("get", c.page("step_list"), {}),
        lambda c: ("patch", own(c), {"steps": []}),
    ),
    "add a step": (
        "edit steps",
        nothing,
        lambda c: ("post", c.page("step_create"), STEP_FORM),
        lambda c: ("patch", own(c), {"steps": [{"name": "Another", "url": "https://ci.example.com/"}]}),
    ),
    "change a step": (
        "edit steps",
        nothing,
        lambda c: ("post", c.page("step_update", c.step.pk), STEP_FORM),
        lambda c: (
            "patch",
            own(c),
            {"steps": [{"id": str(c.step.pk), "name": "Another", "url": "https://ci.example.com/"}]},
        ),
    ),
    "remove a step": (
        "edit steps",
        nothing,
        lambda c: ("post", c.page("step_remove", c.step.pk), {}),
        lambda c: ("patch", own(c), {"steps": []}),
    ),
    "choose who is told": (
        "edit steps",
        nothing,
        lambda c: ("post", c.page("pipeline_notifications"), {"notified_people": c.pipeline.owner.email}),
        lambda c: ("patch", own(c), {"notified_people": [c.pipeline.owner.email]}),
    ),
    "give a role": (
        "edit rules",
        nothing,
        lambda c: ("post", c.page("access_rule_list"), {"who": c.pipeline.owner.email, "role": "user"}),
        lambda c: (
            "put",
            own(c, "/access-rules"),
            {"rules": [*rules_of(c), {"user_email": c.pipeline.owner.email, "role": "user"}]},
        ),
    ),
    "change a role": (
        "edit rules",
        lambda c: setattr(c, "rule", c.pipeline.access_rules.filter(user=c.other).first() or c.give(c.other, "user")),
        lambda c: ("post", c.page("access_rule_update", c.rule.pk), {"role": "guest"}),
        lambda c: (
            "put",
            own(c, "/access-rules"),
            {
                "rules": [
                    {**rule, "role": "guest"} if rule["user_id"] == str(c.other.pk) else rule for rule in rules_of(c)
                ]
            },
        ),
    ),
    "duplicate": (
        "duplicate",
        nothing,
        lambda c: ("post", c.page("pipeline_duplicate"), {"name": "A copy"}),
        lambda c: ("post", own(c, "/duplicate"), {}),
    ),
    "lock": ("lock", nothing, lambda c: ("post", c.page("pipeline_lock"), {}), lambda c: ("post", own(c, "/lock"), {})),
    "unlock": (
        "lock",
        is_locked,
        lambda c: ("post", c.page("pipeline_unlock"), {}),
        lambda c: ("post", own(c, "/unlock"), {}),
    ),
    "edit name, description, tags": (
        "administer",
        nothing,
        lambda c: ("post", c.page("pipeline_update"), {"name": "Renamed", "description": "", "tags": "a, b"}),
        lambda c: ("patch", own(c), {"name": "Renamed", "tags": ["a", "b"]}),
    ),
    "transfer": (
        "administer",
        nothing,
        lambda c: ("post", c.page("pipeline_transfer"), {"owner": c.other.email}),
        lambda c: ("post", own(c, "/transfer"), {"owner_email": c.other.email}),
    ),
    "delete": (
        "administer",
        nothing,
        lambda c: ("post", c.page("pipeline_delete"), {}),
        lambda c: ("delete", own(c), None),
    ),
}


def rules_of(case):
    return [
        {
            "user_id": str(rule.user_id) if rule.user_id else None,
            "group_id": str(rule.group_id) if rule.group_id else None,
            "role": rule.role,
        }
        for rule in case.pipeline.access_rules.all()
    ]


def test_table_in_the_code_matches_the_documentation():
    rows = dict(zip(PipelineAction, [action for action, _ in table()], strict=True))
    columns = {standing: standing.name.lower() for standing in Standing}

    code = {(rows[action], columns[standing]): action in ALLOWED[standing] for action in rows for standing in columns}

    assert code == ALLOWS


def test_every_row_of_the_table_is_tested():
    assert {way[0] for way in WAYS.values()} == {action for action, _ in table()}


@pytest.fixture(scope="module")
def cases(django_db_setup, django_db_blocker):
    def create():
        organization = OrganizationFactory()
        stranger = UserFactory(organization=OrganizationFactory(), site_role=SiteRole.ADMINISTRATOR)
        return {who: Case(organization, stranger, who) for who in PEOPLE}

    yield from created_once(django_db_blocker, create)


@pytest.mark.django_db
@pytest.mark.parametrize("who", PEOPLE)
def test_page_and_api_follow_the_table(api, cases, who):
    case = cases[who]
    sees = ALLOWS.get(("see", case.column), False)
    expected = {}
    for way, (row, *_) in WAYS.items():
        # Without rules, there is no rule to change.
        if way != "change a role" or PEOPLE[who][2] != "no rules":
            is_allowed = ALLOWS.get((row, case.column), False)
            expected[f"{way}, by page"] = "done" if is_allowed else 403 if sees else 404
            expected[f"{way}, by API"] = "done" if is_allowed else 403

    def try_way(cell):
        way, _, by = cell.rpartition(", ")
        _, prepare, by_page, by_api = WAYS[way]
        return attempt(case, prepare, by_page) if by == "by page" else attempt(case, prepare, by_api, api=api)

    check_row(who, expected, try_way, renders_all=False)


def attempt(case, prepare, request, *, api=None):
    """Returns "done" or the status of the refusal, with a remark if the changes are unexpected."""
    prepare(case)
    method, address, body = request(case)
    before = list(fingerprint(case.pipeline))
    if api is None:
        answer = getattr(case.browser, method)(address, body)
    else:
        data = "" if body is None or method == "get" else json.dumps(body)
        answer = api.generic(method.upper(), address, data, content_type="application/json", headers=case.headers)
    has_changed = list(fingerprint(case.pipeline)) != before
    if answer.status_code < 400:
        only_reads = method == "get" or "/pipeline/" in address
        return "done" if has_changed or only_reads else f"{answer.status_code}, and nothing changed"
    return f"{answer.status_code}, but it changed" if has_changed else answer.status_code


def fingerprint(pipeline):
    """Yields everything that an action could change, as text."""
    with connection.cursor() as cursor:
        for statement, parameters in statements_about(pipeline.pk):
            cursor.execute(statement, parameters)
            yield from map(str, cursor.fetchall())


@cache
def statements_about(pk):
    """Returns the queries as SQL, cached because the ORM takes longer to build them each time."""
    querysets = [
        Pipeline.objects.filter(pk=pk).values_list(),
        Step.objects.filter(pipeline=pk).order_by("position").values_list(),
        AccessRule.objects.filter(pipeline=pk).order_by("pk").values_list(),
        Run.objects.filter(pipeline=pk).order_by("number").values_list("number", "state", "outcome"),
        Activity.objects.filter(target_id=str(pk)).order_by("pk").values_list("action"),
    ]
    return [queryset.query.sql_with_params() for queryset in querysets]
