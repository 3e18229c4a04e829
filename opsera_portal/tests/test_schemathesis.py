"""Each operation of the API answers as its OpenAPI document says, whatever a caller sends.

Schemathesis reads the document and calls each operation: with boundary values of every field and parameter, with values
and methods that the document does not allow, without credentials and with wrong ones, and in sequences. It checks every
answer. The seed is fixed, so a failure can be repeated.
"""

import re
from collections import defaultdict

import pytest
import schemathesis
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.db import DEFAULT_DB_ALIAS, close_old_connections, connection, connections, transaction
from django.test import Client
from django.utils import timezone
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.engine import events
from schemathesis.generation.meta import CoverageScenario, TestPhase
from schemathesis.transport.wsgi import WSGITransport

from gateway.tests.factories import ServiceRuleFactory
from opsera_portal.tests.test_schema import ROUTES
from opsera_portal.wsgi import application
from pipelines.tests.factories import RunFactory, StepFactory
from tokens.tests.factories import TokenFactory, bearer

pytestmark = pytest.mark.integration

TOKEN, SESSION = "the-token", "the-session"
CHECKS = {
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "positive_data_acceptance",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
    "use_after_free",
    "ensure_resource_availability",
    "object_level_authorization",
}

# Parameters whose values no schema can describe: a cursor comes from its list, the last day or moment must not be
# before the first, and a group or a pipeline must belong to the organization.
NOT_INVENTED = ("cursor", "after", "date_to", "before_at", "group", "pipeline")

# Operations that can answer 400 to a body that the schema allows. The body names people, groups or steps by ids that
# don't exist, or breaks a rule about several fields: one kind of step needs a URL and the other must not have one, the
# organization limits the lifetime of tokens, and a pasted text can contain several tokens. A time zone must exist, a
# network be one, and a webhook needs a URL that can be called.
# The scopes of a service must fit its path rules.
# A trust rule has further rules for its claims, and a subject token must be genuine.
JUDGED_BEYOND_THE_SCHEMA = [
    "PATCH /api/v1/groups/{id}",
    "PATCH /api/v1/me/preferences",
    "PATCH /api/v1/organization/policy",
    "PATCH /api/v1/organization/single-sign-on",
    "PATCH /api/v1/pipelines/{id}",
    "PATCH /api/v1/services/{id}",
    "PATCH /api/v1/tokens/{id}",
    "PATCH /api/v1/trust-rules/{id}",
    # Schemathesis sends it an If-Match that the pattern does not allow, and calls it valid.
    "PATCH /api/v1/users/{id}",
    "PATCH /api/v1/webhooks/{id}",
    "POST /api/v1/groups",
    "POST /api/v1/organization/policy/preview",
    "POST /api/v1/pipelines",
    "POST /api/v1/pipelines/{id}/transfer",
    "POST /api/v1/review-campaigns",
    "POST /api/v1/service-accounts",
    "POST /api/v1/services",
    "POST /api/v1/token-exchange",
    "POST /api/v1/tokens",
    "POST /api/v1/tokens/lookup",
    "POST /api/v1/tokens/to-confirm/confirm",
    "POST /api/v1/tokens/to-confirm/expire",
    "POST /api/v1/trust-rules",
    "POST /api/v1/users",
    "POST /api/v1/webhooks",
    "PUT /api/v1/pipelines/{id}/access-rules",
    "PUT /api/v1/services/{id}/access-rules",
]
# 422: Schemathesis sends the same Idempotency-Key with several bodies.
ACCEPTED = ["2xx", "401", "403", "404", "409", "412", "422", "429"]
# 413: a text that is longer than its field allows can also be too large for a request.
REFUSED = ["400", "401", "403", "404", "405", "406", "409", "412", "413", "415", "429"]


def configuration(*phases):
    return SchemathesisConfig.from_dict(
        {
            "seed": 20261125,
            "continue-on-failure": True,
            "auth": {"openapi": {"accessToken": {"bearer": TOKEN}, "browserSession": {"api_key": SESSION}}},
            "checks": {
                "positive_data_acceptance": {"expected-statuses": ACCEPTED},
                "negative_data_rejection": {"expected-statuses": REFUSED},
            },
            "operations": [
                {
                    "include-name": JUDGED_BEYOND_THE_SCHEMA,
                    "checks": {"positive_data_acceptance": {"expected-statuses": [*ACCEPTED, "400"]}},
                }
            ],
            "generation": {
                "max-examples": 3,
                "deterministic": True,
                "database": "none",
                "no-shrink": True,
                # `PortalOf` supplies the credentials, and the checks remove them.
                "with-security-parameters": False,
            },
            "phases": {
                "examples": {"enabled": "examples" in phases},
                "coverage": {"enabled": "coverage" in phases, "unexpected-methods": ["put", "delete", "trace"]},
                "fuzzing": {"enabled": "fuzzing" in phases},
                "stateful": {"enabled": "stateful" in phases},
            },
        }
    )


class PortalOf:
    """The portal as a WSGI application, for one person.

    Replaces `TOKEN` by a token of this person, and `SESSION` by a session. Unless ``is_kept``, each request is rolled
    back, so that all requests find the same rows.
    """

    def __init__(self, person, *, is_kept):
        self.person = person
        self.is_kept = is_kept
        self.connection = connections[DEFAULT_DB_ALIAS]
        # Was used just now, so that no request has to save when it was.
        self.bearer = bearer(TokenFactory(owner=person, last_used_at=timezone.now()))["Authorization"]
        browser = Client()
        browser.force_login(person)
        self.session = browser.cookies[settings.SESSION_COOKIE_NAME].value

    def __call__(self, environ, start_response):
        # Schemathesis sends one request at a time, from another thread. It uses the test's transaction.
        connections[DEFAULT_DB_ALIAS] = self.connection
        with transaction.atomic():
            if environ.get("HTTP_AUTHORIZATION") == f"Bearer {TOKEN}":
                if self.is_kept:
                    # An earlier request may have expired the last token.
                    self.bearer = bearer(TokenFactory(owner=self.person))["Authorization"]
                environ["HTTP_AUTHORIZATION"] = self.bearer
            if f"{settings.SESSION_COOKIE_NAME}={SESSION}" in environ.get("HTTP_COOKIE", ""):
                csrf_token = "c" * 32
                environ["HTTP_X_CSRFTOKEN"] = csrf_token
                environ["HTTP_COOKIE"] = (
                    f"{settings.SESSION_COOKIE_NAME}={self.session}; {settings.CSRF_COOKIE_NAME}={csrf_token}"
                )
            answer = application(environ, start_response)
            body = list(answer)
            answer.close()
            transaction.set_rollback(not self.is_kept)
        return body


@pytest.fixture(autouse=True)
def one_connection(db):
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    connection.inc_thread_sharing()
    yield
    connection.dec_thread_sharing()
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture(autouse=True)
def no_sockets(monkeypatch):
    """Removes options for sockets. Schemathesis does so itself, except where a check repeats a request."""
    send = WSGITransport.send

    def send_without_socket(self, case, *, session=None, **kwargs):
        for name in ("max_redirects", "verify", "cert", "proxies"):
            kwargs.pop(name, None)
        return send(self, case, session=session, **kwargs)

    monkeypatch.setattr(WSGITransport, "send", send_without_socket)


@pytest.fixture
def something_of_everything(administrator):
    """Creates rows for the lists, so that their answers are compared with the schema."""
    run = RunFactory(pipeline__owner=administrator, pipeline__run_count=1)
    StepFactory(pipeline=run.pipeline)
    TokenFactory(owner=administrator)
    ServiceRuleFactory(service__organization=administrator.organization, user=administrator)


def reduce_to_its_parameter(case):
    """Removes all other query parameters if a case tests the value of one. Other cases combine them."""
    about = case.meta.phase.data
    if about.parameter_location is ParameterLocation.QUERY and about.parameter in case.query:
        case.query = {about.parameter: case.query[about.parameter]}


def keys_of(case):
    """Returns keys for what a case can show. If earlier cases had all of them, the portal answers as it did before."""
    about = case.meta.phase.data
    scenario, operation = about.scenario, case.operation.label
    if scenario is CoverageScenario.OBJECT_UNEXPECTED_PROPERTIES and case.query:
        # An unknown parameter is refused whatever else is in the query.
        return {(operation, scenario)}
    if scenario is CoverageScenario.INCORRECT_TYPE and about.parameter_location is ParameterLocation.BODY:
        # Each field gets a wrong type in each operation, and every wrong type in one of the operations that have it.
        kind = kind_of(value_at(case.body, re.findall(r"/(?:properties|additionalProperties)/([^/]+)", about.location)))
        return {(operation, scenario, about.location), (scenario, about.location, kind)}
    if scenario is CoverageScenario.INCORRECT_TYPE:
        # Outside of a body, a value of any type arrives as text; in a query, several values are the parameter again.
        is_repeated = isinstance((case.query or {}).get(about.parameter), list)
        return {(operation, scenario, about.parameter_location, about.parameter, is_repeated)}
    if scenario is CoverageScenario.ENUM_VALUE and about.parameter_location is ParameterLocation.QUERY:
        # Lists share their filters.
        value = repr(case.query.get(about.parameter))
        return {(operation, scenario, about.parameter), (scenario, about.parameter, value)}
    if scenario is CoverageScenario.VALID_OBJECT:
        # One of several values near a boundary. Each choice in one of the operations that have it.
        keys = {(operation, scenario, about.description)}
        if about.description.endswith("Enum value"):
            value = value_at(case.body, re.findall(r"'([^']+)'", about.description))
            keys.add((scenario, about.description, repr(value)))
        return keys
    query = {name: value for name, value in (case.query or {}).items() if name not in NOT_INVENTED}
    headers, body = repr(case.headers), repr(case.body)
    return {(operation, case.method, repr(case.path_parameters), repr(query), headers, body, case.media_type)}


def value_at(body, names):
    """The value of the field with these names, one inside the other. In a list, of its first item."""
    for name in names:
        body = (body[0] if isinstance(body, list) else body)[name]
    return body


def kind_of(value):
    return f"list of {kind_of(value[0])}" if isinstance(value, list) and value else type(value).__name__


def load(portal, *phases):
    schema = schemathesis.openapi.from_wsgi("/api/schema/", portal, config=configuration(*phases))
    sent = set()

    @schema.hook
    def filter_case(context, case):
        """Skips boundary values that show nothing new. Each request finds the same rows."""
        if case.meta is None or case.meta.phase.name is not TestPhase.COVERAGE:
            return True
        reduce_to_its_parameter(case)
        keys = {repr(key) for key in keys_of(case)}
        is_new = not keys <= sent
        sent.update(keys)
        return is_new

    @schema.hook
    def map_case(context, case):
        if "stateful" in phases:
            # With a repeated key, the portal would answer with objects that were removed meanwhile.
            case.headers.pop("Idempotency-Key", None)
        for name in NOT_INVENTED:
            if isinstance(case.query, dict):
                case.query.pop(name, None)
        if isinstance(case.query, dict) and "page_size" in case.query:
            # Two names of one parameter: a request can contain only one of them.
            case.query.pop("count", None)
        if isinstance(case.query, dict) and case.query.get("format", "csv") != "csv":
            # Only CSV has a byte order mark.
            case.query.pop("bom", None)
        return case

    return schema


class Outcome:
    """The result of a run: the called operations, the checks that ran, and their findings."""

    def __init__(self, schema):
        self.operations, self.checks, self.findings = set(), set(), defaultdict(list)
        for event in engine.from_schema(schema).execute():
            if isinstance(event, events.ScenarioFinished):
                self._note(event)
            elif isinstance(event, events.NonFatalError):
                self.findings[event.label, "error"].append(str(event.value))
            elif isinstance(event, events.FatalError):
                self.findings["all", "error"].append(str(event.exception))

    def _note(self, scenario):
        for case in scenario.recorder.cases.values():
            self.operations.add(case.value.operation.label)
        for checks in scenario.recorder.checks.values():
            for check in checks:
                self.checks.add(check.name)
                if check.failure_info is not None:
                    failure = check.failure_info.failure
                    self.findings[failure.operation, check.name].append(
                        f"{failure.title}: {failure.message}\n{check.failure_info.code_sample}"[:2000]
                    )

    def __str__(self):
        return "\n\n".join(
            f"{operation}, {check}, {len(found)} times:\n{found[0]}"
            for (operation, check), found in sorted(self.findings.items())
        )


@pytest.mark.once
def test_every_operation_answers_as_the_schema_says(administrator, something_of_everything):
    schema = load(PortalOf(administrator, is_kept=False), "coverage", "fuzzing")

    outcome = Outcome(schema)

    assert not outcome.findings, str(outcome)
    assert outcome.operations == {f"{method.upper()} {address}" for method, address in ROUTES}
    assert outcome.checks >= CHECKS


@pytest.mark.once
def test_created_object_is_found_and_deleted_object_is_not(administrator):
    schema = load(PortalOf(administrator, is_kept=True), "stateful")

    outcome = Outcome(schema)

    assert not outcome.findings, str(outcome)
    assert {"use_after_free", "ensure_resource_availability"} <= outcome.checks
