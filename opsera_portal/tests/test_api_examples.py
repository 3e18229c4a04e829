"""Each example in the OpenAPI schema matches its schema, and each example of a request works."""

import json
from datetime import timedelta
from http.cookies import SimpleCookie

import jsonschema
import pytest
from allauth.usersessions.models import UserSession
from django.test import Client
from django.utils import timezone

from accounts.models import Notification, User, WebhookDelivery
from accounts.roles import SiteRole
from accounts.tests.factories import (
    GroupFactory,
    OrganizationFactory,
    ServiceAccountFactory,
    UserFactory,
    WebhookFactory,
)
from auditlog.tests.entries import action, use
from gateway.models import Check
from gateway.tests.factories import ServiceFactory, ServiceRuleFactory
from gateway.tests.test_reported_uses import basic, with_secret
from opsera_portal import api_examples as ids
from opsera_portal.tests.test_access import delivered, sign_in_elsewhere, signed_in, with_two_factor
from opsera_portal.tests.test_schema import METHODS
from opsera_portal.tests.worlds import created_once, undone
from pipelines.models import Pipeline, Run, StepRun
from pipelines.run_states import RunState
from pipelines.tests.factories import PipelineFactory, RunFactory, StepFactory
from tokens.approval.models import ApprovalRequest
from tokens.review.models import ReviewCampaign
from tokens.tests.factories import (
    ApprovalRequestFactory,
    ReviewCampaignFactory,
    ReviewItemFactory,
    TokenFactory,
    TrustRuleFactory,
    bearer,
)

SHAPES = jsonschema.Draft202012Validator


@pytest.fixture(scope="module")
def schema():
    return json.loads(Client().get("/api/schema/").content)


def contents(schema):
    """(operation, "request" or the status, media type, content) of each body."""
    for item in schema["paths"].values():
        for method, operation in item.items():
            if method not in METHODS:
                continue
            bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
            for name, body in bodies.items():
                for kind, content in body.get("content", {}).items():
                    yield operation["operationId"], name, kind, content


def test_every_body_and_every_answer_has_an_example_that_matches_its_schema(schema):
    wrong = []
    for operation, name, kind, content in contents(schema):
        if "example" not in content:
            wrong.append(f"{operation} {name} {kind}: no example")
            continue
        # Patterns use character classes that `re` doesn't have: the test that sends the requests covers them.
        shape = json.loads(json.dumps({**content["schema"], "components": schema["components"]}))
        remove_patterns(shape)
        checker = SHAPES(shape, format_checker=SHAPES.FORMAT_CHECKER)
        wrong += [
            f"{operation} {name} {e.json_path}: {e.message[:200]}" for e in checker.iter_errors(content["example"])
        ]

    assert not wrong, "\n".join(wrong)


def remove_patterns(value):
    if isinstance(value, dict):
        if isinstance(value.get("pattern"), str):
            del value["pattern"]
        for inner in value.values():
            remove_patterns(inner)
    elif isinstance(value, list):
        for inner in value:
            remove_patterns(inner)


# Requests


class World:
    """The people and things of the examples, with the ids of the examples."""

    def __init__(self):
        organization = OrganizationFactory(name="Example", slug="example")
        self.person = UserFactory(
            pk=ids.PERSON,
            organization=organization,
            email=ids.EMAIL,
            name=ids.NAME,
            site_role=SiteRole.ADMINISTRATOR,
        )
        UserFactory(organization=organization, site_role=SiteRole.ADMINISTRATOR)
        other = UserFactory(pk=ids.OTHER_PERSON, organization=organization, email=ids.OTHER_EMAIL, name=ids.OTHER_NAME)
        group = GroupFactory(pk=ids.GROUP, organization=organization, name="Builders")
        group.members.add(self.person, other)
        ServiceAccountFactory(pk=ids.ACCOUNT, organization=organization, name="CI deploy", responsible=[self.person])
        self.token = TokenFactory(pk=ids.TOKEN, owner=self.person, name="Nightly build", scope="pipeline")
        own = TokenFactory(owner=other, waits_until=timezone.now() + timedelta(days=7), revealed_at=None)
        ApprovalRequestFactory(pk=ids.ENTRY, token=own)
        self.in_use = TokenFactory(owner=self.person, scope="api tokens:rotate")
        self.pipeline = PipelineFactory(pk=ids.PIPELINE, owner=self.person, name="Build and test", run_count=1)
        StepFactory(pk=ids.STEP, pipeline=self.pipeline, position=1, name="Build")
        self.run = RunFactory(pk=ids.RUN, pipeline=self.pipeline, state=RunState.FINISHED, outcome="success")
        StepRun.objects.create(run=self.run, position=1, name="Build", kind="http_call", state="success")
        use(organization, request_id=ids.ENTRY, owner_id=ids.PERSON, token_id=ids.TOKEN).save()
        action(organization, public_id=ids.ENTRY, actor_id=ids.PERSON, token_id=None).save()
        Notification.objects.create(public_id=ids.ENTRY, person=self.person, kind="first_use", once="example")
        campaign = ReviewCampaignFactory(pk=ids.CAMPAIGN, planned_by=self.person)
        ReviewItemFactory(token=self.token, campaign=campaign)
        TrustRuleFactory(pk=ids.TRUST_RULE, account=User.objects.get(pk=ids.ACCOUNT), name="Nightly")
        service = ServiceFactory(
            pk=ids.SERVICE,
            organization=organization,
            name="Grafana",
            slug="grafana",
            scopes=[ids.SERVICE_SCOPE],
            rules="GET,HEAD /api/dashboards/** read",
            check_by=Check.STATUS_LIST,
        )
        with_secret(service, pk=ids.ENTRY)
        ServiceRuleFactory(pk=ids.ENTRY, service=service, user=other)
        webhook = WebhookFactory(pk=ids.WEBHOOK, organization=organization)
        WebhookDelivery.objects.filter(pk=delivered(webhook).pk).update(event_id=ids.ENTRY)
        sign_in_elsewhere(self.person)
        UserSession.objects.update(id=ids.SESSION)
        self.cookies = signed_in(self.person)

    def prepare(self, operation):
        """What this operation needs in addition."""
        if operation in ("pipeline_approve", "pipeline_reject"):
            self.run.step_runs.update(kind="approval", state="paused")
            Run.objects.update(state=RunState.PAUSED, outcome="")
        elif operation in ("pipeline_resume", "pipeline_reset"):
            self.run.step_runs.update(state="waiting")
            Run.objects.update(state=RunState.HALTED, outcome="failed")
        elif operation == "pipeline_stop":
            Run.objects.update(state=RunState.QUEUED, outcome="")
        elif operation == "pipeline_unlock":
            Pipeline.objects.update(locked_at=timezone.now())
        elif operation == "approval_withdraw":
            ApprovalRequest.objects.update(asked_by=self.person)
        elif operation == "review_campaign_create":
            ReviewCampaign.objects.update(ended_at=timezone.now())
        elif operation == "user_invitation":
            User.objects.filter(pk=ids.OTHER_PERSON).update(joined_at=None)
        elif operation == "user_erase":
            Pipeline.objects.filter(owner_id=ids.OTHER_PERSON).delete()
            User.objects.filter(pk=ids.OTHER_PERSON).update(is_active=False)
        elif operation == "user_two_factor_reset":
            with_two_factor(User.objects.get(pk=ids.OTHER_PERSON))


@pytest.fixture(scope="module")
def world(django_db_setup, django_db_blocker):
    yield from created_once(django_db_blocker, World)


def send(world, path, method, operation):
    """Sends the example as it is. Only the token in a body becomes a real one: the example's is made up."""
    world.prepare(operation["operationId"])
    client, headers = Client(), {}
    if any("accessToken" in way for way in operation["security"]):
        headers = bearer(world.in_use)
    elif any("serviceCredentials" in way for way in operation["security"]):
        headers = {"Authorization": basic(ids.SERVICE)}
    elif operation["security"]:
        client.cookies = SimpleCookie(world.cookies)
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
    if body is None:
        return client.generic(method.upper(), path, headers=headers)
    text = json.dumps(body).replace(ids.JWT, bearer(world.token)["Authorization"].removeprefix("Bearer "))
    return client.generic(method.upper(), path, text, content_type="application/json", headers=headers)


@pytest.mark.django_db
def test_each_example_of_a_request_works_and_answers_as_described(schema, world):
    wrong = []
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            if path == "/api/v1/token-exchange":
                # It needs a JWT that an issuer has just signed.
                continue
            with undone():
                answer = send(world, path, method, operation)
                (good,) = (status for status in operation["responses"] if status.startswith("2"))
                if str(answer.status_code) != good:
                    wrong.append(f"{method} {path}: {answer.status_code} {answer.content[:300].decode()}")
                    continue
                content = operation["responses"][good].get("content", {}).get("application/json")
                if content:
                    example, got = content["example"], answer.json()
                    if example.keys() != got.keys():
                        wrong.append(f"{method} {path}: the fields differ: {example.keys() ^ got.keys()}")

    assert not wrong, "\n".join(wrong)
