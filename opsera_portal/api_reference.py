"""The API reference as a page, rendered from the OpenAPI schema: no scripts, and the portal's own look.

It is the same for everyone and in English, like the schema, so each process renders it once.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString

from core.api.operations import routes
from core.api.problems import TITLES
from core.api.schema_view import OnceGenerator
from core.api.scopes import BY_ID, Scope

Shape = dict[str, Any]

# The fields of objects inside a body are listed down to this depth.
MAX_DEPTH = 3
PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Field:
    """A parameter, or a field of a body or an object. Fields of an object in a field have a dotted ``name``."""

    name: str
    kind: SafeString
    place: str
    is_required: bool
    text: SafeString


@dataclass(frozen=True)
class Answer:
    """``example``: the body as text, empty if there is none. ``kind`` links to the object that is answered."""

    status: str
    example: str
    kind: SafeString


@dataclass(frozen=True)
class Described:
    """One operation. ``access`` says in two words who can use it, if no scopes do."""

    id: str
    method: str
    path: str
    summary: str
    text: SafeString
    scopes: list[Scope]
    access: str
    parameters: list[Field]
    body: list[Field]
    curl: str
    answers: list[Answer]
    errors: list[tuple[str, str]]


@dataclass(frozen=True)
class Section:
    name: str
    text: SafeString
    operations: list[Described]


@dataclass(frozen=True)
class Object:
    """A kind of object in answers. Descriptions of serializers are for developers of the portal, so none is shown."""

    name: str
    fields: list[Field]


@cache
def rendered() -> SafeString:
    with translation.override("en"):
        return render_to_string("includes/api_reference.html", context())


def context() -> dict[str, Any]:
    schema = _schema()
    return {
        "sections": sections(schema),
        "objects": list(_objects(schema)),
        "scopes": BY_ID.values(),
        "portal_url": settings.PORTAL_URL,
        "problem": _pretty(schema["paths"]["/api/v1/me"]["get"]["responses"]["403"]["content"][PROBLEM]["example"]),
    }


def _schema() -> Shape:
    return OnceGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]


def sections(schema: Shape) -> list[Section]:
    """Sections in the order of the schema's tags, operations in the order of their addresses in the code."""
    places = {re.sub(r"<[^>]+>", "{id}", route.path): number for number, route in reversed([*enumerate(routes())])}
    paths = sorted(schema["paths"], key=lambda path: places.get(path, len(places)))
    operations = [(path, method, item) for path in paths for method, item in schema["paths"][path].items()]
    order = ["get", "post", "put", "patch", "delete"]
    operations.sort(key=lambda entry: (paths.index(entry[0]), order.index(entry[1])))
    return [
        Section(
            tag["name"],
            prose(tag["description"]),
            [_described(schema, *operation) for operation in operations if tag["name"] in operation[2]["tags"]],
        )
        for tag in schema["tags"]
    ]


def _described(schema: Shape, path: str, method: str, operation: Shape) -> Described:
    parameters = operation.get("parameters", [])
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return Described(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        text=prose(operation["description"]),
        scopes=[BY_ID[name] for name in operation.get("x-scopes", [])],
        access=_access(operation),
        parameters=[_field(schema, each["name"], each, each["schema"], each["in"]) for each in parameters],
        body=list(_fields(schema, body["schema"])) if body else [],
        curl=curl(path, method, operation),
        answers=list(_answers(operation)),
        errors=[(status, TITLES[int(status)]) for status in sorted(operation["responses"]) if status >= "4"],
    )


def _access(operation: Shape) -> str:
    if operation.get("x-scopes"):
        return ""
    if not operation["security"]:
        return "no credentials"
    if any("serviceCredentials" in way for way in operation["security"]):
        return "the service"
    return "any token" if any("accessToken" in way for way in operation["security"]) else "signed-in people"


def curl(path: str, method: str, operation: Shape) -> str:
    """A command that works as pasted, with the token in the variable `TOKEN`."""
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    lines = [f"curl {settings.PORTAL_URL}{path}"]
    if method != ("post" if body else "get"):
        lines.append(f"-X {method.upper()}")
    if any("accessToken" in way for way in operation["security"]):
        lines.append('-H "Authorization: Bearer $TOKEN"')
    elif any("serviceCredentials" in way for way in operation["security"]):
        lines.append('-u "$CLIENT_ID:$CLIENT_SECRET"')
    elif operation["security"]:
        lines.append(f'-H "Cookie: {settings.SESSION_COOKIE_NAME}=$SESSION; {settings.CSRF_COOKIE_NAME}=$CSRF"')
        if method != "get":
            lines += ['-H "X-CSRFToken: $CSRF"', f"-H 'Referer: {settings.PORTAL_URL}/'"]
    if body:
        text = _pretty(body["example"]).replace("'", "'\\''")
        lines += ["-H 'Content-Type: application/json'", f"-d '{text}'"]
    return " \\\n  ".join(lines)


def _answers(operation: Shape) -> Iterator[Answer]:
    """What is answered when all goes well, and errors that are no problem document."""
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        if status.startswith("2") and not content:
            yield Answer(status, "", SafeString(""))
        for media_type, described in content.items():
            if media_type != PROBLEM:
                example = described["example"]
                text = example if isinstance(example, str) else _pretty(example)
                kind = (
                    _kind(described["schema"]) if media_type == "application/json" else conditional_escape(media_type)
                )
                yield Answer(status, text, kind)


def _objects(schema: Shape) -> Iterator[Object]:
    for name, shape in sorted(schema["components"]["schemas"].items()):
        if "properties" in shape and not _is_body(name):
            yield Object(name, list(_fields(schema, shape, depth=MAX_DEPTH)))


def _is_body(name: str) -> bool:
    """Bodies of requests are described with their operation."""
    return name.endswith("BodyRequest")


def _fields(schema: Shape, shape: Shape, prefix: str = "", depth: int = 0) -> Iterator[Field]:
    shape = _resolved(schema, shape)
    for name, described in shape["properties"].items():
        is_required = name in shape.get("required", [])
        yield _field(schema, prefix + name, described | {"required": is_required}, described, "")
        inner = _resolved(schema, described.get("items", described))
        if "properties" in inner and depth < MAX_DEPTH:
            yield from _fields(schema, inner, f"{prefix}{name}.", depth + 1)


def _field(schema: Shape, name: str, described: Shape, shape: Shape, place: str) -> Field:
    return Field(
        name=name,
        kind=_kind(shape, schema),
        place=place,
        is_required=bool(described.get("required")),
        text=prose(described.get("description", "")),
    )


def _kind(shape: Shape, schema: Shape | None = None) -> SafeString:
    """The type of a value in words, with a link if it is an object."""
    if "$ref" in shape:
        name = shape["$ref"].rsplit("/", 1)[1]
        target = schema and _resolved(schema, shape)
        if target and "enum" in target:
            return _choices(target["enum"])
        if _is_body(name):
            return SafeString("object")
        return format_html('<a href="#object-{0}">{0}</a>', name)
    for several, word in (("allOf", " "), ("oneOf", " or ")):
        if several in shape:
            return format_html_join(word, "{}", ((_kind(each, schema),) for each in shape[several]))
    if "enum" in shape:
        return _choices(shape["enum"])
    kinds = shape.get("type", "any value")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    words = [_named(kind, shape, schema) for kind in kinds]
    default = shape.get("default")
    if default not in (None, "", [], {}):
        words[-1] = format_html("{}, default <code>{}</code>", words[-1], json.dumps(default))
    return format_html_join(" or ", "{}", ((word,) for word in words))


def _named(kind: str, shape: Shape, schema: Shape | None) -> SafeString:
    if kind == "array":
        return format_html("array of {}", _kind(shape["items"], schema))
    if kind == "integer" and "minimum" in shape and shape.get("maximum", 2**31) < 2**31 - 1:
        return format_html("integer, {}–{}", shape["minimum"], shape["maximum"])
    if kind == "string" and "format" in shape:
        return format_html("string, {}", shape["format"])
    if kind == "string" and "maxLength" in shape:
        return format_html("string, up to {} characters", shape["maxLength"])
    return conditional_escape(kind)


def _choices(values: list[Any]) -> SafeString:
    shown = [value for value in values if value != ""]
    return format_html_join(", ", "<code>{}</code>", ((value,) for value in shown)) or SafeString("empty")


def _resolved(schema: Shape, shape: Shape) -> Shape:
    while "$ref" in shape:
        shape = schema["components"]["schemas"][shape["$ref"].rsplit("/", 1)[1]]
    return shape


def prose(text: str) -> SafeString:
    """Paragraphs of a docstring, with `code` and **strong** words."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", str(text)) if part.strip()]
    return format_html_join("\n", "<p>{}</p>", ((_inline(part),) for part in paragraphs))


_MARKED = re.compile(r"(`[^`]+`|\*\*[^*]+\*\*)")


def _inline(text: str) -> SafeString:
    return format_html_join("", "{}", ((_word(part),) for part in _MARKED.split(text)))


def _word(part: str) -> str:
    if part.startswith("`") and part.endswith("`"):
        return format_html("<code>{}</code>", part.strip("`"))
    if part.startswith("**") and part.endswith("**"):
        return format_html("<strong>{}</strong>", part.strip("*"))
    return part


def _pretty(example: Any) -> str:
    return json.dumps(example, indent=2, ensure_ascii=False)
