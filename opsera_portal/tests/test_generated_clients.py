"""Linters find nothing in the OpenAPI document, and clients generated from it call every operation.

The clients are in Python and TypeScript, and call the portal in every run. The results of linters
and generators depend only on the document, their configuration and their version. So they are kept
until one of these changes.
"""

import hashlib
import importlib
import json
import shutil
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from accounts.models import Notification, User, Webhook
from accounts.roles import SiteRole
from accounts.tests.factories import (
    GroupFactory,
    OrganizationFactory,
    ServiceAccountFactory,
    UserFactory,
    WebhookFactory,
)
from accounts.tests.factors import add_passkey
from auditlog.actions import Action
from auditlog.record import record
from gateway.tests.factories import ServiceCredentialFactory, ServiceFactory
from opsera_portal.tests.test_access import delivered, log_use, sign_in_elsewhere
from opsera_portal.tests.test_schema import operations_of
from pipelines import services
from pipelines.tests.factories import PipelineFactory
from pipelines.tests.stages import Stage
from tokens import jwt
from tokens.tests.factories import (
    ApprovalRequestFactory,
    ReviewCampaignFactory,
    ReviewItemFactory,
    TokenFactory,
    TrustRuleFactory,
)

pytestmark = [pytest.mark.once, pytest.mark.integration]

GONE = "gone@example.com"

FOLDER = Path(__file__).parent / "clients"
PROGRAMS = FOLDER / "node_modules" / ".bin"
# Steps can't call this address, so a run fails at once and can be resumed.
UNREACHABLE = "http://127.0.0.1:1/"
KEPT = settings.BASE_DIR / ".pytest_cache" / "generated-clients"


def kept(name, inputs, build):
    """The directory that ``build`` filled, now or in an earlier run with the same ``inputs``.

    ``build`` gets an empty directory. If it fails, nothing is kept.
    """
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in inputs)).hexdigest()[:16]
    directory = KEPT / f"{name}-{digest}"
    if not directory.exists():
        shutil.rmtree(KEPT / name, ignore_errors=True)
        for old in KEPT.glob(f"{name}-*"):
            shutil.rmtree(old)
        (KEPT / name).mkdir(parents=True)
        build(KEPT / name)
        (KEPT / name).rename(directory)
    return directory


@pytest.fixture(scope="module")
def schema():
    return json.loads(Client().get("/api/schema/").content)


@pytest.fixture(scope="module")
def schema_file(schema, tmp_path_factory):
    file = tmp_path_factory.mktemp("schema") / "schema.json"
    file.write_text(json.dumps(schema))
    return file


@pytest.fixture(scope="module")
def inputs(schema_file):
    """The files that the results of the programs depend on."""
    own = [Path(__file__), settings.BASE_DIR / "requirements-dev.txt"]
    return [schema_file, *own, *sorted(file for file in FOLDER.iterdir() if file.is_file())]


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def program(name):
    if shutil.which("node") is None or not (PROGRAMS / name).exists():
        pytest.skip(f"{name} needs node and npm; make test installs it where they are")
    return PROGRAMS / name


def test_spectral_finds_nothing_in_the_schema(schema_file, inputs):
    spectral = program("spectral")

    def lint(directory):
        found = run(spectral, "lint", schema_file, "--ruleset", FOLDER / "spectral.yaml", "--format", "json")
        assert json.loads(found.partition("\n\n")[0].partition("No results")[0] or "[]") == []

    kept("spectral", inputs, lint)


def test_redocly_finds_nothing_in_the_schema(schema_file, inputs):
    redocly = program("redocly")

    def lint(directory):
        found = run(redocly, "lint", schema_file, "--config", FOLDER / "redocly.yaml", "--format", "json")
        assert json.loads(found)["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}

    kept("redocly", inputs, lint)


class World:
    """An organization in which one operation can succeed. Each call gets its own world."""

    def __init__(self):
        self.organization = OrganizationFactory()
        self.caller = self.person(SiteRole.ADMINISTRATOR)
        self.token = TokenFactory(owner=self.caller, scope="api tokens:rotate")

    def person(self, role=SiteRole.USER, **fields):
        return UserFactory(organization=self.organization, site_role=role, **fields)

    def notification(self):
        return Notification.objects.create(person=self.caller, kind="first_use", once="client")

    def trust_rule(self):
        return TrustRuleFactory(account=ServiceAccountFactory(organization=self.organization))

    def service(self):
        return ServiceFactory(organization=self.organization)

    def secret(self, service):
        return ServiceCredentialFactory(service=service)

    def webhook(self):
        return WebhookFactory(organization=self.organization)

    def delivery(self):
        return delivered(Webhook.objects.get(organization=self.organization))

    def pipeline(self):
        return PipelineFactory(owner=self.caller)

    def pipeline_with(self, *steps):
        """Its only run went as far as possible: it waits at a gate, or it failed."""
        stage = Stage(self.caller, None, *steps)
        stage.ask()
        stage.work()
        return stage.pipeline

    def locked_pipeline(self):
        return services.lock_pipeline(actor=self.caller, pipeline=self.pipeline())

    def invited_person(self):
        return self.person(joined_at=None)

    def deactivated_person(self):
        return self.person(is_active=False, email=GONE)

    def person_with_passkey(self):
        person = self.person()
        add_passkey(person)
        return person

    def group(self):
        return GroupFactory(organization=self.organization)

    def service_account(self):
        return ServiceAccountFactory(organization=self.organization, responsible=[self.caller])

    def use(self):
        return log_use(self.token).request_id

    def action(self):
        return record(actor=self.caller, action=Action.TOKEN_ISSUED, target=self.token).public_id

    def session(self):
        return sign_in_elsewhere(self.caller)

    def other_token(self):
        return TokenFactory(owner=self.caller)

    def request_of_somebody(self):
        return ApprovalRequestFactory(token__owner=self.person())

    def campaign(self):
        return ReviewCampaignFactory(planned_by=self.caller)

    def token_to_confirm(self):
        return ReviewItemFactory(token=self.other_token(), campaign=self.campaign()).token

    def own_request(self):
        return ApprovalRequestFactory(token__owner=self.caller)

    def headers(self, *, by_token):
        if by_token:
            return {"Authorization": f"Bearer {jwt.encode(self.token)[0]}"}
        browser = Client()
        browser.force_login(User.objects.get(pk=self.caller.pk))
        csrf_token = "c" * 32
        session = browser.cookies[settings.SESSION_COOKIE_NAME].value
        cookies = {settings.SESSION_COOKIE_NAME: session, settings.CSRF_COOKIE_NAME: csrf_token}
        return {"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items()), "X-CSRFToken": csrf_token}


# Creates the object for the id in an address. The key is the path before the id, or the operation
# if the object's state matters.
IDS = {
    "approvals": World.request_of_somebody,
    "approval_withdraw": World.own_request,
    "review-campaigns": World.campaign,
    "users": World.person,
    "groups": World.group,
    "service-accounts": World.service_account,
    "pipelines": World.pipeline,
    "tokens": World.other_token,
    "me/sessions": World.session,
    "logs/user/tokens": World.use,
    "logs/user/actions": World.action,
    "me/authentication-log": World.use,
    "me/activity-log": World.action,
    "services": World.service,
    "webhooks": World.webhook,
    "trust-rules": World.trust_rule,
    "pipeline_unlock": World.locked_pipeline,
    "user_invitation": World.invited_person,
    "user_erase": World.deactivated_person,
    "user_two_factor_reset": World.person_with_passkey,
}


def with_id(pipeline, **fields):
    return {"pipelineId": str(pipeline.pk), **fields}


# A valid body for each operation that has one.
BODIES = {
    "approval_approve": lambda world: {"reason": "Agreed"},
    "approval_reject": lambda world: {"reason": "Not now"},
    "review_campaign_create": lambda world: {"answer_days": 30, "repeat_months": 6},
    "token_to_confirm_confirm": lambda world: {"ids": [str(world.token_to_confirm().pk)], "note": "Needed"},
    "token_to_confirm_expire": lambda world: {"ids": [str(world.token_to_confirm().pk)]},
    "group_change": lambda world: {"name": "Renamed"},
    "group_create": lambda world: {"name": "Made by a client", "members": [str(world.person().pk)]},
    "notification_mark_read": lambda world: {"ids": [str(world.notification().public_id)]},
    "organization_token_expire": lambda world: {"ids": [str(world.other_token().pk)], "reason": "Found in a log"},
    "pipeline_access_rules_replace": lambda world: {"rules": [{"user_id": str(world.person().pk), "role": "user"}]},
    "pipeline_approve": lambda world: with_id(world.pipeline_with("gate")),
    "pipeline_change": lambda world: {"tags": ["nightly", "über alles"]},
    "pipeline_create": lambda world: {
        "name": "Made by a client",
        "steps": [{"name": "Call", "url": "https://ci.example.com/", "headers": {"X-One": "1"}}],
    },
    "pipeline_duplicate": lambda world: {"name": "A copy"},
    "pipeline_logs": lambda world: with_id(world.pipeline_with(UNREACHABLE), runCount=1),
    "pipeline_reject": lambda world: with_id(world.pipeline_with("gate"), message="Not today"),
    "pipeline_reset": lambda world: with_id(world.pipeline_with(UNREACHABLE, "gate")),
    "pipeline_resume": lambda world: with_id(world.pipeline_with(UNREACHABLE, "gate")),
    "pipeline_run": lambda world: with_id(world.pipeline_with(UNREACHABLE)),
    "pipeline_status": lambda world: with_id(world.pipeline_with(UNREACHABLE)),
    "pipeline_stop": lambda world: with_id(world.pipeline_with("gate")),
    "pipeline_summary": lambda world: with_id(world.pipeline_with(UNREACHABLE)),
    "pipeline_transfer": lambda world: {"owner_id": str(world.person().pk)},
    "policy_change": lambda world: {"max_live_tokens": 49},
    "policy_preview": lambda world: {"max_live_tokens": 49},
    "preferences_change": lambda world: {"wants_expiry_mails": False},
    "service_account_change": lambda world: {"description": "Deploys the shop"},
    "service_account_create": lambda world: {"name": "CI", "responsible": [str(world.caller.pk)]},
    "service_account_token_create": lambda world: {"name": "Élan", "scopes": ["pipeline"], "lifetime": "1d"},
    "session_end_all": lambda world: {"including_here": False},
    "single_sign_on_change": lambda world: {
        "name": "Made by a client",
        "issuer": "https://id.example.com",
        "client_id": "portal",
        "client_secret": "a secret",
        "role_rules": [{"claim": "groups", "value": "ops", "site_role": "auditor"}],
    },
    "single_sign_on_preview": lambda world: {"claims": {"groups": ["ops"]}},
    "token_change": lambda world: {"description": "For the nightly build"},
    "token_create": lambda world: {"name": "Élan", "scopes": ["pipeline"], "lifetime": "1d"},
    "token_current_expire": lambda world: {"reason": "Lost"},
    "token_current_rotate": lambda world: {"overlap_hours": 1},
    "token_expire": lambda world: {"reason": "Lost"},
    "token_lookup": lambda world: {"token": jwt.encode(world.other_token())[0]},
    "token_replace": lambda world: {"overlap_hours": 1},
    "token_report": lambda world: {"tokens": ["nothing of ours"]},
    "trust_rule_change": lambda world: {"lifetime_minutes": 5},
    "trust_rule_create": lambda world: {
        "name": "Shop",
        "issuer": "https://id.example.com",
        "audience": "https://portal.example.com/acme",
        "claims": [{"claim": "sub", "value": "build"}],
        "service_account_id": str(world.service_account().pk),
        "scopes": ["pipeline"],
    },
    "service_access_rules_replace": lambda world: {"rules": [{"user_id": str(world.person().pk)}]},
    "service_change": lambda world: {"description": "Dashboards", "is_enabled": False},
    "service_create": lambda world: {
        "name": "Grafana",
        "short_name": "grafana",
        "scopes": [{"name": "read", "label": "Read", "only_reads": True}],
        "path_rules": ["GET,HEAD /api/** read"],
    },
    "service_secret_create": lambda world: {"overlap_hours": 1},
    "service_try": lambda world: {"method": "GET", "path": "/api/dashboards/7"},
    "webhook_change": lambda world: {"description": "Renamed"},
    "webhook_create": lambda world: {"url": "https://hooks.example.com/", "events": ["leaked"]},
    "webhook_send_again": lambda world: {"event_id": str(world.delivery().event_id)},
    "user_change": lambda world: {"is_active": False},
    "user_erase": lambda world: {"confirm": GONE},
    "user_invite": lambda world: {"email": "new@example.com", "name": "New", "site_role": "user"},
}


# They need a JWT that an issuer has just signed, and the credentials of a service.
NOT_CALLED = {"token_exchange", "service_report_uses"}


def plan(schema):
    """One successful call for each operation: its ids, body and credentials."""
    called = sorted(
        (path, described["operationId"], described) for (_, path), described in operations_of(schema).items()
    )
    return [call(path, described) for path, operation_id, described in called if operation_id not in NOT_CALLED]


def call(path, described):
    world, operation_id = World(), described["operationId"]
    before_id = path.partition("/{id}")[0].removeprefix("/api/v1/")
    make_id = IDS.get(operation_id) or IDS.get(before_id)
    thing = make_id(world) if "{id}" in path else None
    by_token = any("accessToken" in way for way in described["security"])
    return {
        "id": operation_id,
        "path": ids_in(path, world, thing),
        "query": {},
        "headers": world.headers(by_token=by_token),
        **({"body": BODIES[operation_id](world)} if "requestBody" in described else {}),
    }


def ids_in(path, world, thing):
    ids = {} if thing is None else {"id": getattr(thing, "pk", thing)}
    return ids | {"secret_id": world.secret(thing).pk} if "{secret_id}" in path else ids


def good_status(described):
    return next(int(status) for status in described["responses"] if status.startswith("2"))


def by_id(schema):
    found = {described["operationId"]: described for described in operations_of(schema).values()}
    return {name: described for name, described in found.items() if name not in NOT_CALLED}


@pytest.fixture(scope="module")
def python_client(schema_file, inputs):
    """The generated package. The generator gave no warning."""
    name = "generated_portal_client"

    def generate(directory):
        program = Path(sys.executable).parent / "openapi-python-client"
        run(
            *(program, "generate", "--path", schema_file, "--output-path", directory / name),
            *("--meta", "none", "--fail-on-warning"),
            env={"PATH": str(Path(sys.executable).parent)},
        )

    directory = str(kept("python", inputs, generate))
    sys.path.insert(0, directory)
    yield importlib.import_module(name)
    sys.path.remove(directory)


def test_generated_python_client_calls_every_operation(live_server, schema, python_client):
    for planned in plan(schema):
        operation = by_id(schema)[planned["id"]]
        status = good_status(operation)

        answer = call_in_python(live_server.url, operation, planned)

        assert answer.status_code == HTTPStatus(status), (planned["id"], answer.content)
        assert (answer.parsed is not None) is ("content" in operation["responses"][str(status)]), planned["id"]


def call_in_python(url, operation, planned):
    package = "generated_portal_client"
    module = importlib.import_module(f"{package}.api.{operation['tags'][0].replace('-', '_')}.{planned['id']}")
    client = importlib.import_module(package).Client(base_url=url, headers=planned["headers"])
    arguments = dict(planned["path"])
    if "body" in planned:
        shape = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
        body_class = getattr(importlib.import_module(f"{package}.models"), shape)
        arguments["body"] = body_class.from_dict(planned["body"])
    return module.sync_detailed(client=client, **arguments)


@pytest.fixture(scope="module")
def typescript_client(schema_file, inputs):
    """The directory of the generated client and its caller, both compiled to JavaScript."""
    generator, compiler = program("openapi-ts"), program("tsc")

    def generate(directory):
        for name in ("call.ts", "tsconfig.json"):
            shutil.copy(FOLDER / name, directory)
        (directory / "node_modules").symlink_to(FOLDER / "node_modules")
        run(generator, "-i", schema_file, "-o", directory / "client", "-c", "@hey-api/client-fetch", cwd=directory)
        run(compiler, "--project", directory)

    return kept("typescript", inputs, generate)


def test_generated_typescript_client_calls_every_operation(live_server, schema, typescript_client, tmp_path):
    plan_file = tmp_path / "plan.json"
    plan_file.write_text(json.dumps(plan(schema), default=str))

    lines = run(shutil.which("node"), typescript_client / "call.js", plan_file, live_server.url).splitlines()

    answers = {answer["id"]: answer for answer in map(json.loads, lines)}
    expected = {name: good_status(operation) for name, operation in by_id(schema).items()}
    assert {name: answer.get("status") for name, answer in answers.items()} == expected, answers
