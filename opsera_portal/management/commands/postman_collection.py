"""A Postman collection, generated from the OpenAPI schema."""

import json
import re
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from drf_spectacular.generators import SchemaGenerator

from accounts.models import Organization, User
from accounts.roles import Ability, SiteRole, roles_with
from core.api.operations import Operation, routes

SCHEMA_URL = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"

# Operations that expire a token come last. A run of the whole collection skips them unless a variable asks for them.
GUARDED = {"token_expire": "tokenToExpire", "token_current_expire": "expireTokenInUse"}

# A run also skips everything else that changes something, except running a pipeline, which is what people try first.
CHANGE_GUARD = "changeThings"
RUN_ANYWAY = {"pipeline_run", "pipeline_status", "pipeline_summary", "pipeline_logs", "token_lookup"}

# Operations that access rules decide about: the roles that can do this to anyone's pipeline.
ROLES_BY_RULES = {
    "pipeline_access_rules": roles_with(Ability.SEE_ALL_PIPELINES),
    "pipeline_run": roles_with(Ability.USE_PIPELINES),
}
ADMINISTRATION = {
    "name": "Administration",
    "description": (
        "Operations for Administrators, which a User can't do. Some requests also work for other roles. A run of the "
        "collection skips what your role does not allow; it learns your role from the first request."
    ),
}

# In a run, values come from the first row of these lists.
REMEMBERS = {
    "pipeline_list": "pipelineId",
    "token_list": "tokenId",
    "user_list": "userId",
    "group_list": "groupId",
    "service_account_list": "serviceAccountId",
    "service_list": "serviceId",
    "trust_rule_list": "trustRuleId",
    "webhook_list": "webhookId",
    "approval_list": "approvalId",
    "review_campaign_list": "reviewCampaignId",
    "logs_user_tokens": "useId",
    "logs_user_actions": "actionId",
    "me_authentication_log": "myUseId",
    "me_activity_log": "myActionId",
}
# Bodies that a token may send, if a person may send more.
BODIES: dict[str, dict[str, Any]] = {"user_change": {"is_active": False}, "service_try": {"method": "GET", "path": "/"}}
VALUES = {"pipelineId": "{{pipelineId}}", "runCount": "{{runCount}}", "reason": "Postman", "token": "{{token}}"}
# By the part of the address before an id.
IDS = {
    "users": "{{userId}}",
    "groups": "{{groupId}}",
    "service-accounts": "{{serviceAccountId}}",
    "services": "{{serviceId}}",
    "trust-rules": "{{trustRuleId}}",
    "webhooks": "{{webhookId}}",
    "approvals": "{{approvalId}}",
    "review-campaigns": "{{reviewCampaignId}}",
    "pipelines": "{{pipelineId}}",
    "tokens": "{{tokenId}}",
    "logs/user/tokens": "{{useId}}",
    "logs/user/actions": "{{actionId}}",
    "me/authentication-log": "{{myUseId}}",
    "me/activity-log": "{{myActionId}}",
}
VARIABLES = {
    "address": "http://127.0.0.1:8000",
    "token": "",
    "pipelineId": "",
    "runCount": "1",
    "tokenId": "",
    "userId": "",
    "groupId": "",
    "serviceAccountId": "",
    "serviceId": "",
    "trustRuleId": "",
    "webhookId": "",
    "approvalId": "",
    "reviewCampaignId": "",
    "useId": "",
    "actionId": "",
    "myUseId": "",
    "myActionId": "",
    "siteRole": "",
    "changeThings": "",
    "tokenToExpire": "",
    "expireTokenInUse": "",
}


class Command(BaseCommand):
    help = (
        "Writes a Postman collection (v2.1) with every operation that is open to tokens, from the OpenAPI schema. Set "
        "its variables `address` and `token`. When run from top to bottom it checks each answer and runs one "
        "pipeline. It changes other things only if `changeThings`, `tokenToExpire` or `expireTokenInUse` is set."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--output", type=Path, help="the file to write (default: standard output)")

    def handle(self, *args: Any, output: Path | None, **options: Any) -> None:
        schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
        text = json.dumps(collection(schema), indent=2, ensure_ascii=False) + "\n"
        if output is None:
            self.stdout.write(text)
        else:
            output.write_text(text)
            self.stdout.write(f"Wrote {output}.")


def collection(schema: dict[str, Any]) -> dict[str, Any]:
    operations = [
        (path, method, operation)
        for path, item in schema["paths"].items()
        for method, operation in item.items()
        if any("accessToken" in requirement for requirement in operation["security"])
    ]
    operations.sort(key=lambda entry: _order(entry[2]["operationId"]))
    return {
        "info": {
            "name": schema["info"]["title"],
            "description": schema["info"]["description"],
            "schema": SCHEMA_URL,
        },
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{token}}", "type": "string"}]},
        "variable": [{"key": name, "value": value} for name, value in VARIABLES.items()],
        "item": _items(schema, operations),
    }


def _items(schema: dict[str, Any], operations: list[tuple[str, str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """First what a User can do, then a folder with the rest, then the operations that expire a token."""
    declared = {(route.method.lower(), re.sub(r"<[^>]+>", "{id}", route.path)): route.operation for route in routes()}
    items: dict[str, list[dict[str, Any]]] = {"everyone": [], "administration": [], "expires a token": []}
    for path, method, operation in operations:
        roles = _roles(operation["operationId"], declared[method, path])
        if operation["operationId"] in GUARDED:
            place = "expires a token"
        else:
            place = "everyone" if SiteRole.USER in roles else "administration"
        items[place].append(_item(schema, path, method, operation, roles))
    return [*items["everyone"], {**ADMINISTRATION, "item": items["administration"]}, *items["expires a token"]]


def _roles(operation_id: str, operation: Operation) -> list[SiteRole]:
    """The roles whose tokens can do it."""
    decided_by_rules = ROLES_BY_RULES.get(operation_id, list(SiteRole))
    members = [User(site_role=role, organization=Organization()) for role in decided_by_rules]
    return [SiteRole(member.site_role) for member in members if operation.is_open_to_token_of(member)]


def _order(operation_id: str) -> tuple[int, str]:
    """Lists first, because they set the variables that others need; then the run, whose number others need."""
    if operation_id == "pipeline_run":
        return 2, ""
    if operation_id in GUARDED:
        return 3 + list(GUARDED).index(operation_id), ""
    if operation_id in REMEMBERS:
        return 1, operation_id
    return (0 if operation_id == "me" else 2), operation_id


def _item(
    schema: dict[str, Any], path: str, method: str, operation: dict[str, Any], roles: list[SiteRole]
) -> dict[str, Any]:
    own_guard = GUARDED.get(operation["operationId"])
    changes = method != "get" and operation["operationId"] not in RUN_ANYWAY
    guard = own_guard or (CHANGE_GUARD if changes else None)
    parts = path.strip("/").split("/")
    before_id = path.partition("{")[0].removeprefix("/api/v1/").rstrip("/")
    row = f"{{{{{own_guard}}}}}" if own_guard else IDS.get(before_id, "")
    segments = [row if part.startswith("{") else part for part in parts]
    query = [
        {"key": parameter["name"], "value": "", "description": parameter.get("description", ""), "disabled": True}
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "query"
    ]
    request: dict[str, Any] = {
        "method": method.upper(),
        "description": operation.get("description", ""),
        "header": [{"key": "Accept", "value": "application/json"}],
        "url": {
            "raw": "{{address}}/" + "/".join(segments),
            "host": ["{{address}}"],
            "path": segments,
            "query": query,
        },
    }
    if "requestBody" in operation:
        request["header"].append({"key": "Content-Type", "value": "application/json"})
        body = json.dumps(_example_body(schema, operation), indent=2)
        request["body"] = {"mode": "raw", "raw": body.replace('"{{runCount}}"', "{{runCount}}")}
    events = [_event("test", _script(operation))]
    before = [f"if (!pm.variables.get('{guard}')) pm.execution.skipRequest();"] if guard else []
    if len(roles) < len(SiteRole):
        before += [
            "const role = pm.variables.get('siteRole');",
            f"if (role && !{json.dumps(roles)}.includes(role)) pm.execution.skipRequest();",
        ]
    if before:
        events.append(_event("prerequest", before))
    return {"name": operation["summary"], "request": request, "event": events}


def _event(listen: str, script: list[str]) -> dict[str, Any]:
    return {"listen": listen, "script": {"type": "text/javascript", "exec": script}}


def _example_body(schema: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    body = schema["components"]["schemas"][reference.rsplit("/", 1)[1]]
    if operation["operationId"] in BODIES:
        return BODIES[operation["operationId"]]
    return {name: VALUES.get(name, _example_value(value)) for name, value in body["properties"].items()}


def _example_value(described: dict[str, Any]) -> Any:
    if "default" in described:
        return described["default"]
    kinds = described.get("type", "string")
    kind = kinds[0] if isinstance(kinds, list) else kinds
    return {"array": [], "object": {}, "boolean": True, "integer": described.get("minimum", 1)}.get(kind, "")


def _script(operation: dict[str, Any]) -> list[str]:
    good = [int(code) for code in operation["responses"] if code.startswith("2")]
    lines = [
        f"pm.test('answers {' or '.join(map(str, good))}', () => pm.expect(pm.response.code).to.be.oneOf({good}));",
        "pm.test('names its request', () => pm.response.to.have.header('X-Request-ID'));",
    ]
    if variable := REMEMBERS.get(operation["operationId"]):
        lines += [
            "const rows = pm.response.json().data;",
            f"if (rows.length) pm.collectionVariables.set('{variable}', rows[0].id);",
        ]
    if operation["operationId"] == "me":
        lines.append("pm.collectionVariables.set('siteRole', pm.response.json().site_role);")
    if operation["operationId"] == "pipeline_run":
        lines.append("pm.collectionVariables.set('runCount', String(pm.response.json().runCount));")
    return lines
