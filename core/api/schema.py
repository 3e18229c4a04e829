"""Generates the OpenAPI schema from the views: scopes, parameters of pages, and all errors."""

import re
from inspect import cleandoc
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiFilterExtension,
    OpenApiSerializerExtension,
    OpenApiSerializerFieldExtension,
)
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent, get_doc
from drf_spectacular.utils import OpenApiParameter

from core.api import etags, idempotency, sunset, throttling
from core.api.operations import Operation, operation_of, tag_of
from core.api.problems import CODES, CONTENT_TYPE, TITLES, ReauthenticationRequired

_BEARER = "accessToken"
_SESSION = "browserSession"
_SERVICE = "serviceCredentials"

# In the order in which newcomers need them. Operations get their tag from their address (`tag_of`).
TAGS = [
    {"name": "me", "description": "The caller: who they are, their logs, usage, sessions and preferences."},
    {"name": "tokens", "description": "Personal access tokens. Only metadata: a token is shown once, when created."},
    {"name": "pipelines", "description": "Pipelines, their steps, runs, logs and access rules."},
    {"name": "logs", "description": "The organization's authentication log and activity log."},
    {"name": "approvals", "description": "Tokens that a second person must approve before they can be shown."},
    {"name": "review-campaigns", "description": "Owners confirm or expire each of their live tokens until a date."},
    {"name": "organization", "description": "The organization's rules and reports."},
    {"name": "users", "description": "The people of the organization."},
    {"name": "groups", "description": "Groups of people, for access rules."},
    {
        "name": "service-accounts",
        "description": "Actors for machines: they own tokens and never sign in.",
    },
    {"name": "services", "description": "Programs of the organization that its tokens open, and who may use them."},
    {"name": "token-exchange", "description": "A short token for a CI job, without a stored secret."},
    {"name": "trust-rules", "description": "Which CI jobs get tokens of which service account."},
    {"name": "webhooks", "description": "Where the portal sends what happens in the organization."},
]


_IDEMPOTENCY_KEY = OpenApiParameter(
    idempotency.HEADER,
    type={"type": "string", "minLength": 1, "maxLength": idempotency.MAX_LENGTH, "pattern": f"^{idempotency.PATTERN}$"},
    location=OpenApiParameter.HEADER,
    description=(
        "For clients that retry: a new value for each new request. The same request with the same key within 24 hours "
        f"gets the first answer again, with `{idempotency.REPLAYED_HEADER}: true`, and nothing is done twice."
    ),
)


_IF_MATCH = OpenApiParameter(
    "If-Match",
    type=etags.PARAMETER["type"],
    location=OpenApiParameter.HEADER,
    description=etags.PARAMETER["description"],
)


class AccessTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "tokens.authentication.AccessTokenAuthentication"
    name = _BEARER

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A personal access token, as the portal showed it when it was created.",
        }


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "rest_framework.authentication.SessionAuthentication"
    name = _SESSION
    # Before drf-spectacular's own.
    priority = 1

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "A signed-in browser; requests that change something carry `X-CSRFToken`.",
        }


_SERVICE_SCHEME = ResolvedComponent(  # type: ignore[no-untyped-call]
    name=_SERVICE,
    type=ResolvedComponent.SECURITY_SCHEMA,
    object=_SERVICE,
    schema={
        "type": "http",
        "scheme": "basic",
        "description": "The client ID and the client secret of a service (RFC 6749 section 2.3.1).",
    },
)


class StrictSerializerShape(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    target_class = "core.api.serializers.StrictSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        shape = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {**shape, "additionalProperties": False, **self.target.together}


class BoundedListShape(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    target_class = "core.api.serializers.BoundedListField"
    match_subclasses = True

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        shape: dict[str, Any] = auto_schema._map_serializer_field(self.target, direction, bypass_extensions=True)
        # What drf-spectacular adds to the type, it adds again to the result of this method.
        shape["type"] = "array"
        if self.target.is_set:
            shape["uniqueItems"] = True
        if not self.target.allow_empty:
            shape["minItems"] = 1
        return shape


class NameShape(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    target_class = "core.api.serializers.NameField"
    match_subclasses = True

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        shape: dict[str, Any] = auto_schema._map_serializer_field(self.target, direction, bypass_extensions=True)
        if self.target.allow_blank:
            return shape
        return {**shape, "minLength": 1, "pattern": self.target.pattern}


class IPAddressShape(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """drf-spectacular would describe an IP address as any text."""

    target_class = "rest_framework.serializers.IPAddressField"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        return {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}


class PagingParameters(OpenApiFilterExtension):  # type: ignore[no-untyped-call]
    """The parameters of a pagination class are the fields of its ``query_class``."""

    target_class = "core.api.paging.WholeList"
    match_subclasses = True

    def get_schema_operation_parameters(self, auto_schema: Any, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        fields = auto_schema._map_serializer(self.target.query_class(), "request").get("properties", {})
        return [
            {"in": "query", "name": name, "schema": shape, "description": shape.pop("description")}
            for name, shape in fields.items()
        ]


class OperationSchema(AutoSchema):
    """Summary, scopes and security come from the declaration of the operation."""

    @property
    def operation(self) -> Operation | None:
        return operation_of(self.view, getattr(self.view, "action_map", None), self.method)

    @property
    def checks_if_match(self) -> bool:
        return self.operation is not None and self.operation.has_etag and not self.operation.only_reads

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        described: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        operation = self.operation
        if described is None or operation is None:
            return described
        if operation.asks_again or operation.limited_to:
            described["responses"]["403"] = _may_ask_again()
        if operation.has_etag:
            described["responses"]["200"].setdefault("headers", {})["ETag"] = etags.HEADER
        if self.checks_if_match:
            described["responses"]["412"] = _problem_response(412)
        if operation.is_public:
            # drf-spectacular leaves out an empty list, but it says that the operation needs no credentials.
            described["security"] = []
        elif operation.is_for_services:
            self.registry.register_on_missing(_SERVICE_SCHEME)
        elif operation.scopes:
            described["x-scopes"] = [scope.id for scope in operation.scopes]
        return described

    def get_override_parameters(self) -> list[Any]:
        parameters: list[Any] = list(super().get_override_parameters())
        if idempotency.takes_key(self.method, self.operation):
            parameters.append(_IDEMPOTENCY_KEY)
        if self.checks_if_match:
            parameters.append(_IF_MATCH)
        return parameters

    def get_tags(self) -> list[str]:
        return [tag_of(self.path)]

    def get_summary(self) -> str:
        return str(self.operation.label) if self.operation else ""

    def get_description(self) -> str:  # type: ignore[override]
        """The docstring of the action or of its viewset. Docstrings of base classes are for us, not for clients."""
        action = getattr(self.view, getattr(self.view, "action", ""), None)
        text = get_doc(action) or cleandoc(type(self.view).__doc__ or "")
        return f"{text}\n\n{self._scope_sentence(self.operation)}".strip() if self.operation else text

    def get_auth(self) -> list[dict[str, list[str]]]:
        # Only called to add the schemes above to the components of the schema.
        super().get_auth()
        operation = self.operation
        session: dict[str, list[str]] = {_SESSION: []}
        if operation is not None and operation.is_public:
            return []
        if operation is not None and operation.is_for_services:
            return [{_SERVICE: []}]
        if operation is None or operation.is_closed_to_tokens:
            return [session]
        # A list here would require all scopes (OpenAPI 3.1), but one of them is enough: `x-scopes`.
        return [{_BEARER: []}, session]

    def _get_request_body(self, direction: Any = "request") -> dict[str, Any] | None:
        body: dict[str, Any] | None = super()._get_request_body(direction)  # type: ignore[no-untyped-call]
        if body is not None and getattr(self.get_request_serializer(), "together", None):
            # No single field is required, but a body without any is an error.
            body["required"] = True
        return body

    def _scope_sentence(self, operation: Operation) -> str:
        if operation.is_public:
            return "Everyone can use it, without credentials."
        if operation.is_for_services:
            return (
                "Tokens can't use it, and people can't either: only the service itself, with its client ID and secret "
                "(HTTP Basic)."
            )
        if operation.any_token:
            return "Every live token can use it, whatever its scopes."
        if operation.asks_again:
            return (
                "Tokens can't use it, only signed-in people. 403 with the code `reauthentication_required` if the "
                f"person proved who they are more than {settings.ACCOUNT_REAUTHENTICATION_TIMEOUT // 60} minutes ago."
            )
        if operation.is_closed_to_tokens:
            return "Tokens can't use it, only signed-in people."
        sentence = f"A token needs one of these scopes: {', '.join(f'`{scope.id}`' for scope in operation.scopes)}."
        if operation.is_closed_to_limited:
            sentence += " Not with a token that is limited to chosen pipelines."
        return (
            f"{sentence} A token can do only this: {operation.limited_to.lower()}."
            if operation.limited_to
            else sentence
        )


def describe_problems(result: dict[str, Any], generator: Any, **kwargs: Any) -> dict[str, Any]:
    """Adds the problem document, and the possible errors of each operation."""
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = {
        "type": "object",
        "description": "What went wrong (RFC 9457).",
        "required": ["type", "title", "status", "detail", "code", "request_id"],
        "properties": {
            "type": {"type": "string", "examples": ["about:blank"]},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "For people."},
            "code": {"type": "string", "description": "For programs; stable."},
            "request_id": {"type": "string", "format": "uuid", "description": "The same as in the log."},
            "errors": {
                "type": "object",
                "description": "Only with 400: what is wrong, by field.",
                "additionalProperties": {"type": "array", "items": {"type": "string"}},
            },
        },
    }
    for path, item in result.get("paths", {}).items():
        for method, operation in item.items():
            for status in _possible_problems(path, method, operation):
                operation["responses"].setdefault(str(status), _problem_response(status))
    return result


_TOKEN_HEADERS = {**sunset.HEADERS, **throttling.HEADERS}


def describe_token_headers(result: dict[str, Any], generator: Any, **kwargs: Any) -> dict[str, Any]:
    """Adds the headers of answers to tokens: when the token ends, and its rate limits."""
    result.setdefault("components", {})["headers"] = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in _TOKEN_HEADERS.items()
    }
    references = {name: {"$ref": f"#/components/headers/{name}"} for name in _TOKEN_HEADERS}
    for item in result.get("paths", {}).values():
        for operation in item.values():
            if any(_BEARER in way for way in operation["security"]):
                for response in operation["responses"].values():
                    response.setdefault("headers", {}).update(references)
    return result


def describe_tags(result: dict[str, Any], generator: Any, **kwargs: Any) -> dict[str, Any]:
    """Declares and describes each tag."""
    result["tags"] = TAGS
    return result


def _possible_problems(path: str, method: str, operation: dict[str, Any]) -> list[int]:
    statuses = [400, 401, 403, 406, 429, 503]
    if "requestBody" in operation:
        statuses += [413, 415]
    if any(parameter["name"] == idempotency.HEADER for parameter in operation.get("parameters", [])):
        statuses.append(422)
    if "{" in path:
        # For text that is not an id.
        statuses.append(404)
    if operation["security"] == []:
        # It needs no credentials, and changes nothing that could conflict.
        return sorted({*statuses} - {401})
    if method != "get" and not re.search(r"/(pipeline/(status|summary|logs)|tokens/lookup)$", path):
        statuses.append(409)
    return sorted(statuses)


def _may_ask_again() -> dict[str, Any]:
    """The 403 of an operation for which people must have proved recently who they are."""
    code = ReauthenticationRequired.default_code
    again = f"The code is `{code}` if the signed-in person must confirm who they are."
    return _problem_response(403) | {"description": f"{TITLES[403]}. {again}"}


def _problem_response(status: int) -> dict[str, Any]:
    example = {
        "type": "about:blank",
        "title": TITLES[status],
        "status": status,
        "detail": "What happened and what to do.",
        "code": CODES[status],
        "request_id": "9b2f1c9e-6f0a-4c52-8a56-0f3f4d1f2c11",
    }
    response: dict[str, Any] = {
        "description": TITLES[status],
        "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
    }
    if status in _HEADERS:
        name, description, shape = _HEADERS[status]
        response["headers"] = {name: {"description": description, "required": True, "schema": shape}}
    return response


_WAIT = ("Retry-After", "Seconds until the next try.", {"type": "integer", "minimum": 1})
_HEADERS: dict[int, tuple[str, str, dict[str, Any]]] = {
    401: (
        "WWW-Authenticate",
        "How to authenticate, and what is wrong with the token (RFC 6750).",
        {"type": "string"},
    ),
    429: _WAIT,
    503: _WAIT,
}
