"""The operations of the API, as data.

Each API view declares an ``Operation`` for every method or action. Nobody can call an action without one: the
permission check refuses it, and a test checks every route. Tokens can't use an operation without scopes.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from django.http import HttpRequest
from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, resolve

from core.api.scopes import API, API_READONLY, PIPELINE, PIPELINE_READONLY, ROTATE, SCIM, SECURITY_LOGS, Scope
from core.text import Text

READ_API = (API, API_READONLY)
CHANGE_API = (API,)
READ_PIPELINES = (API, API_READONLY, PIPELINE, PIPELINE_READONLY)
RUN_PIPELINES = (API, PIPELINE)
# For pipelines themselves and their access rules. A script that only runs pipelines must not be able to change them.
DEFINE_PIPELINES = CHANGE_API
READ_LOGS = (API, API_READONLY, SECURITY_LOGS)
# Only this scope: it creates people and gives them roles, which no other token can do.
PROVISION = (SCIM,)
# Not part of `api`: a token that may do everything else must not live longer than its owner has chosen.
ROTATE_ITSELF = (ROTATE,)


RoleCheck = Callable[[Any], bool]


def everyone(user: Any) -> bool:
    return True


@dataclass(frozen=True)
class Reach:
    """To how many objects a person can do something now: "runs 4 pipelines".

    ``counts`` has the numbers by verb, in one query for all that can be done to these objects. It uses the queryset
    that decides on pages and in the API. Its second argument has the ids of the objects to count, or ``None`` for all.
    """

    verb: str
    one: str
    many: str
    counts: Callable[[Any, Collection[UUID] | None], Mapping[str, int]]


@dataclass(frozen=True)
class Operation:
    """One operation of the API.

    ``scopes``: a token needs one of these. If there are none, only signed-in people can use it.
    ``any_token``: every live token can use it, whatever its scopes.
    ``is_public``: everyone can use it without credentials. Credentials are ignored.
    ``is_for_services``: only services can use it, with their client ID and secret, which the view checks.
    ``shows_secret``: its answer has a secret that is shown only once, so it is never stored for a retry.
    ``role_allows``: whether a person's site role allows it at all; the rule of the object is checked later.
    ``prove``: checks that the signed-in person proved recently who they are, and raises ``ReauthenticationRequired``
    if not. Tokens can never use such an operation.
    ``reach``: to how many objects a person can do it, for one operation of each kind.
    ``limited_to``: the only thing that a token can do with it, if a signed-in person can do more.
    ``is_closed_to_limited``: tokens that reach only chosen pipelines can't use it, because it creates one more.
    ``changes_only_itself``: it changes nothing but the token in use, so tokens of people who can only read may do it.
    ``has_etag``: its answer has an `ETag`, and if it changes the object, it checks `If-Match` (`core/api/etags.py`).
    """

    label: Text
    scopes: tuple[Scope, ...] = ()
    any_token: bool = False
    is_public: bool = False
    is_for_services: bool = False
    only_reads: bool = False
    shows_secret: bool = False
    role_allows: RoleCheck = everyone
    prove: Callable[[HttpRequest], None] | None = None
    reach: Reach | None = None
    limited_to: Text = ""
    has_etag: bool = False
    is_closed_to_limited: bool = False
    changes_only_itself: bool = False

    def __post_init__(self) -> None:
        if self.asks_again and not self.is_closed_to_tokens:
            raise ValueError(f"“{self.label}” asks people to confirm who they are, so it can't have scopes.")

    @property
    def asks_again(self) -> bool:
        return self.prove is not None

    def is_open_to(self, scopes: frozenset[Scope]) -> bool:
        return self.any_token or self.is_public or not scopes.isdisjoint(self.scopes)

    def is_open_to_token_of(self, owner: Any) -> bool:
        """Whether the owner's site role lets their tokens do this, whatever the scopes.

        Tokens of a Guest can only read, although a signed-in Guest can, for example, expire their own tokens.
        """
        if self.is_public:
            return True
        if not self.role_allows(owner):
            return False
        return self.only_reads or self.any_token or self.changes_only_itself or bool(owner.may_change_by_token)

    @property
    def is_closed_to_tokens(self) -> bool:
        return not (self.any_token or self.is_public or self.scopes)


def operation_of(view: Any, actions: Mapping[str, str] | None, method: str) -> Operation | None:
    """The operation that ``view`` declares for this HTTP method; ``actions`` is a viewset's map of method to action."""
    declared: dict[str, Operation] = getattr(view, "operations", {})
    return declared.get((actions or {}).get(method.lower(), method.upper()))


def operation_at(method: str, target: str) -> Operation | None:
    """The operation of a logged request; ``target`` is its percent-encoded path. ``None`` if there is none any more."""
    try:
        endpoint = resolve(unquote(target)).func
    except Resolver404:
        return None
    view, actions = getattr(endpoint, "cls", None), getattr(endpoint, "actions", None)
    return operation_of(view, actions, "GET" if method == "HEAD" else method)


def object_at(route: str, target: str) -> UUID | None:
    """The id in the path of a logged request, if the address contains ``route``, such as `pipelines/<id:pk>`."""
    try:
        match = resolve(unquote(target))
    except Resolver404:
        return None
    found = match.kwargs.get("pk") if f"/{route}" in f"/{match.route}" else None
    return found if isinstance(found, UUID) else None


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    operation: Operation


def routes() -> list[Route]:
    """Every operation of the API with its address, in the order of the URL configuration."""
    return list(_routes_of(get_resolver()))


# Walking through all addresses takes a millisecond, and a page asks dozens of times. Django keeps the resolver, too.
@lru_cache(maxsize=4)
def _routes_of(resolver: URLResolver) -> tuple[Route, ...]:
    return tuple(_walk(resolver.url_patterns, ""))


def _walk(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[Route]:
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, path)
            continue
        view = getattr(pattern.callback, "cls", None)
        for method in api_methods(pattern) if view and hasattr(view, "operations") else ():
            operation = operation_of(view, getattr(pattern.callback, "actions", None), method)
            if operation is not None:
                yield Route(method, "/" + path, operation)


# The first parts of addresses that are about pipelines, too.
_OF_PIPELINES = {"pipeline", "runs", "step-templates"}


def tag_of(path: str) -> str:
    """What an operation is about: the first part of its address after `/api/v1/`, or `scim`."""
    first = path.removeprefix("/api/v1").split("/")[1]
    return "pipelines" if first in _OF_PIPELINES else first


def api_methods(pattern: URLPattern) -> list[str]:
    """The HTTP methods that the view behind ``pattern`` answers."""
    view = pattern.callback.cls  # type: ignore[attr-defined]
    actions = getattr(pattern.callback, "actions", None)
    names = actions or [name for name in view.http_method_names if hasattr(view, name)]
    return [name.upper() for name in names if name not in {"head", "options"}]
