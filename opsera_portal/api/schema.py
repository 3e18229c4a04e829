"""How the OpenAPI schema is written from the views: scopes, paging, and every error."""

import re
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

from opsera_portal.api.operations import Operation, operation_of
from opsera_portal.api.problems import CODES, CONTENT_TYPE, TITLES

_BEARER = "accessToken"
_SESSION = "browserSession"


class AccessTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "tokens.authentication.AccessTokenAuthentication"
    name = _BEARER

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A personal access token, as the portal showed it when it was made.",
        }


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "rest_framework.authentication.SessionAuthentication"
    name = _SESSION
    # Before the one that drf-spectacular brings along.
    priority = 1

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "A signed-in browser; requests that change something carry `X-CSRFToken`.",
        }


class OperationSchema(AutoSchema):
    """Summary, scopes and security of an operation are read from its declaration, and nowhere written again."""

    @property
    def operation(self) -> Operation | None:
        return operation_of(self.view, getattr(self.view, "action_map", None), self.method)

    def get_tags(self) -> list[str]:
        first = self.path.removeprefix("/api/v1/").split("/")[0]
        return [{"pipeline": "pipelines", "me": "tokens", "organization": "tokens"}.get(first, first)]

    def get_summary(self) -> str:
        return self.operation.label if self.operation else ""

    def get_description(self) -> str:  # type: ignore[override]
        text = super().get_description() or ""
        if self.operation is None:
            return text
        return f"{text}\n\n{self._scope_sentence(self.operation)}".strip()

    def get_auth(self) -> list[dict[str, list[str]]]:
        # Its answer is another, but it puts the schemes above among the schema's components.
        super().get_auth()
        operation = self.operation
        session: dict[str, list[str]] = {_SESSION: []}
        if operation is None or operation.is_closed_to_tokens:
            return [session]
        return [{_BEARER: [scope.id for scope in operation.scopes]}, session]

    def is_list_view(self, *args: Any, **kwargs: Any) -> bool:
        """Only lists of rows are lists; what they answer is wrapped below."""
        return getattr(self.view, "action", "") == "list"

    def _get_paginator(self) -> Any:
        return None

    def _get_response_for_code(
        self, serializer: Any, status_code: str, media_types: Any = None, direction: Any = "response"
    ) -> Any:
        response = super()._get_response_for_code(  # type: ignore[no-untyped-call]
            serializer, status_code, media_types, direction
        )
        for content in response.get("content", {}).values():
            if content.get("schema", {}).get("type") == "array":
                content["schema"] = {
                    "type": "object",
                    "required": ["count", "data", "next"],
                    "properties": {
                        "count": {"type": "integer", "description": "Rows in this answer."},
                        "data": content["schema"],
                        "next": {"type": ["string", "null"], "format": "uri"},
                    },
                }
        return response

    def _scope_sentence(self, operation: Operation) -> str:
        if operation.any_token:
            return "Open to every live token, whatever its scopes."
        if operation.is_closed_to_tokens:
            return "Closed to tokens: for a signed-in person only."
        return f"Scopes that open it: {', '.join(f'`{scope.id}`' for scope in operation.scopes)}."


def describe_problems(result: dict[str, Any], generator: Any, **kwargs: Any) -> dict[str, Any]:
    """Adds the problem document, and to each operation every error that it can answer."""
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


def _possible_problems(path: str, method: str, operation: dict[str, Any]) -> list[int]:
    statuses = [400, 401, 403, 406, 429, 503]
    if "requestBody" in operation:
        statuses += [413, 415]
    if method != "get" and not re.search(r"/pipeline/(status|summary|logs)$", path):
        statuses.append(409)
    return sorted(statuses)


def _problem_response(status: int) -> dict[str, Any]:
    example = {
        "type": "about:blank",
        "title": TITLES[status],
        "status": status,
        "detail": "What happened and what to do.",
        "code": CODES[status],
        "request_id": "9b2f1c9e-6f0a-4c52-8a56-0f3f4d1f2c11",
    }
    return {
        "description": TITLES[status],
        "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
    }
