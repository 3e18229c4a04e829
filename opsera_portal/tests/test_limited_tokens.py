"""A token that is limited to chosen pipelines reaches no other, with any operation of the API.

Every operation that is open to tokens is tried: a new one as soon as it has a route. The tokens are an Administrator's
with the scope `api`, so only the limit can refuse.
"""

import json
import re
import uuid
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from accounts.roles import SiteRole
from accounts.tests.factories import GroupFactory, UserFactory
from auditlog.models import TokenUse
from core.api.operations import routes
from core.errors import NotAllowed
from opsera_portal.tests.worlds import created_once, undone
from pipelines.models import Pipeline, Run
from pipelines.run_states import RunOutcome, RunState
from pipelines.services import (
    create_pipeline,
    delete_pipeline,
    duplicate_pipeline,
    edit_pipeline,
    lock_pipeline,
    notify_people,
    replace_access_rules,
    replace_steps,
    start_run,
    transfer_pipeline,
)
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory, RunFactory, StepFactory, limit_to
from tokens.tests.factories import TokenFactory, bearer

pytestmark = [pytest.mark.django_db, pytest.mark.http]

OPEN_TO_TOKENS = [route for route in routes() if not route.operation.is_closed_to_tokens]
# All operations on one pipeline, which its id in the address or in the body names.
ON_ONE_PIPELINE = {
    (route.method, route.path)
    for route in OPEN_TO_TOKENS
    if route.path.startswith(("/api/v1/pipelines/", "/api/v1/pipeline/"))
}
# Both logs name what the organization did, pipelines included. Their scopes open them, not pipelines.
LOGS = ("/logs/user/", "authentication-log", "activity-log", "/activity")
NOWHERE = uuid.uuid4()


class World:
    """An Administrator with a pipeline within reach of their token, one beyond it, and a run of a deleted one."""

    def __init__(self):
        self.owner = owner = UserFactory(site_role=SiteRole.ADMINISTRATOR)
        self.colleague = UserFactory(organization=owner.organization)
        self.group = GroupFactory(organization=owner.organization)
        self.within = self.pipeline("Within its reach")
        self.beyond = self.pipeline("Beyond its reach")
        deleted = self.pipeline("Deleted meanwhile")
        deleted.delete()
        self.hidden = [str(self.beyond.pk), "Beyond its reach", str(deleted.pk), "Deleted meanwhile"]
        self.unlimited = bearer(TokenFactory(owner=owner))
        self.token = limit_to(TokenFactory(owner=owner), self.within)
        self.limited = bearer(self.token)

    def pipeline(self, name):
        pipeline = PipelineFactory(owner=self.owner, name=name, run_count=1)
        StepFactory(pipeline=pipeline, name=f"Step of {name}")
        run = RunFactory(pipeline=pipeline, state=RunState.FINISHED, outcome=RunOutcome.SUCCESS)
        run.log("run", "success", f"Log of {name}")
        AccessRuleFactory(pipeline=pipeline, user=None, group=self.group)
        return pipeline

    def ask(self, api, headers, method, path, pipeline_id):
        """The answer, without what differs between two requests."""
        address = path.replace("<id:pk>", str(pipeline_id))
        body = None if method in {"GET", "DELETE"} else self.body(path, pipeline_id)
        with undone():
            answer = getattr(api, method.lower())(address, body, format="json", headers=headers)
        text = b"".join(answer.streaming_content).decode() if answer.streaming else answer.text
        if answer.headers.get("Content-Type", "").endswith("json") and answer.status_code >= 400:
            text = json.dumps(json.loads(text) | {"request_id": ""})
        return answer.status_code, text.replace(str(pipeline_id), "ID")

    def body(self, path, pipeline_id):
        if path.startswith("/api/v1/pipeline/"):
            return {"pipelineId": str(pipeline_id)} | ({"message": "no"} if path.endswith("/reject") else {})
        bodies = {
            "/api/v1/pipelines": {"name": "One more"},
            "/api/v1/pipelines/<id:pk>": {"description": "another"},
            "/api/v1/pipelines/<id:pk>/access-rules": {"rules": []},
            "/api/v1/pipelines/<id:pk>/duplicate": {"name": "A copy"},
            "/api/v1/pipelines/<id:pk>/transfer": {"owner_email": self.colleague.email},
        }
        return bodies.get(path, {})


@pytest.fixture(scope="module")
def world(django_db_setup, django_db_blocker):
    yield from created_once(django_db_blocker, World)


def each_operation(*, without=()):
    """Without operations whose address contains one of these words."""
    tried = [route for route in OPEN_TO_TOKENS if not any(word in route.path for word in without)]
    params = [pytest.param(each.method, each.path, id=f"{each.method} {each.path}") for each in tried]
    return pytest.mark.parametrize(("method", "path"), params)


def refusal(answer):
    """The status, and the whole text of an error."""
    status, text = answer
    return status, text if status >= 400 else ""


@each_operation()
def test_pipeline_out_of_reach_is_answered_like_one_that_does_not_exist(api, world, method, path):
    beyond = world.ask(api, world.limited, method, path, world.beyond.pk)
    nowhere = world.ask(api, world.limited, method, path, NOWHERE)

    assert refusal(beyond) == refusal(nowhere)
    if (method, path) in ON_ONE_PIPELINE:
        assert beyond[0] == 403
        assert '"code": "forbidden"' in beyond[1]


@each_operation(without=LOGS)
def test_answer_names_no_pipeline_out_of_reach(api, world, method, path):
    for pipeline_id in (world.within.pk, world.group.pk, world.token.pk):
        _, text = world.ask(api, world.limited, method, path, pipeline_id)

        assert [name for name in world.hidden if name in text] == []


def test_token_without_limit_gets_other_answers(api, world):
    """So the tests above would notice an operation that ignores the limit."""
    differ = {
        (route.method, route.path)
        for route in OPEN_TO_TOKENS
        if refusal(world.ask(api, world.unlimited, route.method, route.path, world.beyond.pk))
        != refusal(world.ask(api, world.unlimited, route.method, route.path, NOWHERE))
    }
    names = {
        route.path
        for route in OPEN_TO_TOKENS
        if route.method == "GET" and world.hidden[1] in world.ask(api, world.unlimited, "GET", route.path, NOWHERE)[1]
    }

    assert differ == ON_ONE_PIPELINE
    assert {"/api/v1/pipelines", "/api/v1/runs"} <= names


def test_pipeline_within_reach_is_answered_as_for_the_owner(api, world):
    for route in OPEN_TO_TOKENS:
        limited, unlimited = (
            world.ask(api, headers, route.method, route.path, world.within.pk)
            for headers in (world.limited, world.unlimited)
        )
        if (route.method, route.path) in ON_ONE_PIPELINE and not route.operation.is_closed_to_limited:
            assert limited[0] == unlimited[0] < 410, route


@pytest.mark.parametrize("path", ["/api/v1/pipelines", "/api/v1/pipelines/<id:pk>/duplicate"])
def test_limited_token_creates_no_pipeline(api, world, path):
    status, text = world.ask(api, world.limited, "POST", path, world.within.pk)

    assert (status, json.loads(text)["detail"]) == (
        403,
        "This token reaches only chosen pipelines, so it can't create one.",
    )


def test_lists_have_only_the_chosen_pipelines(api, world):
    pipelines = api.get("/api/v1/pipelines", headers=world.limited).json()
    runs = api.get("/api/v1/runs", headers=world.limited).json()

    assert [(row["name"], pipelines["count"]) for row in pipelines["data"]] == [("Within its reach", 1)]
    assert [(row["pipeline_name"], runs["count"]) for row in runs["data"]] == [("Within its reach", 1)]


def test_limited_token_whose_pipelines_are_deleted_reaches_none(api, world):
    with undone():
        Pipeline.objects.filter(pk=world.within.pk).delete()

        assert api.get("/api/v1/pipelines", headers=world.limited).json()["data"] == []
        assert api.get("/api/v1/runs", headers=world.limited).json()["data"] == []
        world.token.refresh_from_db()
        assert (world.token.is_limited, world.token.pipeline_ids) == (True, [])


def test_refused_use_is_in_the_log(api, world):
    with undone():
        api.post("/api/v1/pipeline/run", {"pipelineId": str(world.beyond.pk)}, format="json", headers=world.limited)
        use = TokenUse.objects.latest("at")

        assert (use.token_id, use.status, use.outcome, use.reason) == (world.token.pk, 403, "refused", "forbidden")


def test_deleted_group_names_no_pipeline_to_a_limited_token(api, world):
    limited, unlimited = (
        world.ask(api, headers, "DELETE", "/api/v1/groups/<id:pk>", world.group.pk)[1]
        for headers in (world.limited, world.unlimited)
    )

    assert "Beyond its reach" in unlimited
    assert "Remove it from these rules first" in limited
    assert "its reach" not in limited


# Querysets of pipelines and runs that ask who the person is, or find nothing.
CHECKED = {"visible_to", "allowing", "count_allowing", "listed_for", "none"}
# Runs of a pipeline that the page has found.
OF_FOUND_PIPELINE = {"for_run_page"}


def test_views_find_pipelines_and_runs_only_for_a_person():
    found = {
        match[1]
        for app in ("pipelines", "tokens", "opsera_portal")
        for path in (Path(settings.BASE_DIR) / app).rglob("*.py")
        if {"views", "api", "views.py", "filters.py"} & set(path.relative_to(settings.BASE_DIR).parts)
        for match in re.finditer(r"\b(?:Pipeline|Run)\.objects\.(\w+)\(", path.read_text())
        # Narrows a queryset that was found for a person.
        if "pk__in=self.queryset" not in path.read_text()[match.start() : match.start() + 60]
    }

    assert found == CHECKED | OF_FOUND_PIPELINE


def test_services_of_pipelines_read_no_actor_without_the_limit():
    """`UserQuerySet.as_now` keeps it."""
    by_id = re.compile(r"User\.objects(\.all\(\))?\.(get|filter)\((pk|id)=actor\.|lock\w*\(User")
    files = [path for path in (Path(settings.BASE_DIR) / "pipelines").rglob("*.py") if "tests" not in path.parts]

    assert [path.name for path in files if by_id.search(path.read_text())] == []


CHANGES = {
    "run": lambda actor, pipeline: start_run(actor=actor, pipeline=pipeline),
    "lock": lambda actor, pipeline: lock_pipeline(actor=actor, pipeline=pipeline),
    "edit": lambda actor, pipeline: edit_pipeline(actor=actor, pipeline=pipeline, name="x"),
    "steps": lambda actor, pipeline: replace_steps(actor=actor, pipeline=pipeline, steps=[]),
    "people": lambda actor, pipeline: notify_people(actor=actor, pipeline=pipeline, people=[]),
    "rules": lambda actor, pipeline: replace_access_rules(actor=actor, pipeline=pipeline, rules=[]),
    "transfer": lambda actor, pipeline: transfer_pipeline(actor=actor, pipeline=pipeline, owner=actor),
    "duplicate": lambda actor, pipeline: duplicate_pipeline(actor=actor, pipeline=pipeline),
    "delete": lambda actor, pipeline: delete_pipeline(actor=actor, pipeline=pipeline),
    "create": lambda actor, pipeline: create_pipeline(actor=actor, name="x"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_services_keep_the_limit_although_they_read_the_person_again(world, change):
    """The views find no pipeline out of reach, but services must not depend on them."""
    actor = User.objects.get(pk=world.owner.pk)
    actor.limited_by_token = world.token.pk

    with undone(), pytest.raises(NotAllowed):
        change(actor, world.beyond)


def test_token_without_limit_is_not_limited_by_one_before_it(api, world):
    """The rows of tokens and owners are remembered in parsed form."""
    for headers, count in ((world.limited, 1), (world.unlimited, 2), (world.limited, 1)):
        assert api.get("/api/v1/pipelines", headers=headers).json()["count"] == count


def test_kept_answer_is_not_repeated_to_a_limited_token(api, world):
    body = {"pipelineId": str(world.beyond.pk)}
    with undone():
        first = api.post(
            "/api/v1/pipeline/run", body, format="json", headers=world.unlimited | {"Idempotency-Key": "key"}
        )
        second = api.post(
            "/api/v1/pipeline/run", body, format="json", headers=world.limited | {"Idempotency-Key": "key"}
        )

        assert (first.status_code, second.status_code) == (200, 422)
        assert Run.objects.filter(pipeline=world.beyond).count() == 2


@pytest.mark.parametrize(
    ("path", "more"),
    [("/api/v1/step-templates", 0), ("/api/v1/tokens/current", 1), ("/api/v1/pipelines", 0)],
)
def test_limit_costs_a_query_only_where_an_answer_names_the_pipelines(api, world, path, more):
    def queries(headers):
        api.get(path, headers=headers)
        with CaptureQueriesContext(connection) as captured:
            api.get(path, headers=headers)
        return len(captured)

    with undone():
        assert queries(world.limited) - queries(world.unlimited) == more
