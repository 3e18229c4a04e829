"""Which operations of the API a token can do: those that its scopes allow and that its owner's site role allows.

Each request is checked in the same way (core/api/permissions.py). For a single pipeline, its access rules must allow it
too.
"""

from dataclasses import dataclass, replace

from django.utils.translation import gettext_lazy as _

from accounts.models import User
from core.api import scopes
from core.api.operations import Route, routes, tag_of
from core.text import Text
from tokens.models import Token
from tokens.states import TokenState

RUN_PIPELINE = "/api/v1/pipeline/run"

# What operations are about, by the tags of the API, in the order of the page. Some tags have the same title.
TITLES: dict[str, Text] = {
    "pipelines": _("Pipelines"),
    "me": _("Profile"),
    "tokens": _("Access tokens"),
    "approvals": _("Approvals"),
    "review-campaigns": _("Review campaigns"),
    "logs": _("Logs"),
    "organization": _("Organization"),
    "users": _("Users"),
    "groups": _("Groups"),
    "service-accounts": _("Service accounts"),
    "services": _("Services"),
    "trust-rules": _("Trust"),
    "token-exchange": _("Trust"),
    "webhooks": _("Webhooks"),
    "scim": _("User Provisioning (SCIM)"),
}
_ORDER = {tag: place for place, tag in enumerate(TITLES)}


@dataclass(frozen=True)
class Verdict:
    route: Route
    scope_opens: bool
    role_allows: bool
    limit_allows: bool = True

    @property
    def title(self) -> str:
        """What the operation is about."""
        return str(TITLES[tag_of(self.route.path)])

    @property
    def allows(self) -> bool:
        return self.scope_opens and self.role_allows and self.limit_allows


def open_to_tokens() -> list[Route]:
    """All operations, without those that only a signed-in person can do."""
    return [route for route in routes() if not route.operation.is_closed_to_tokens]


def verdicts(token: Token, among: list[Route]) -> list[Verdict]:
    """None of them for a token of a service: the API refuses it, even where any token is enough."""
    found = verdicts_of(scopes.parse(token.scope), token.owner, among, is_limited=token.is_limited)
    return found if token.service_id is None else [replace(verdict, scope_opens=False) for verdict in found]


def verdicts_of(
    granted: frozenset[scopes.Scope], owner: User, among: list[Route], *, is_limited: bool
) -> list[Verdict]:
    """For each of the operations, whether one of the scopes allows it, the owner's site role allows it, and a token
    with chosen pipelines can do it at all."""
    return [
        Verdict(
            route,
            scope_opens=route.operation.is_open_to(granted),
            role_allows=route.operation.is_open_to_token_of(owner),
            limit_allows=not (is_limited and route.operation.is_closed_to_limited),
        )
        for route in among
    ]


def by_title(found: list[Verdict]) -> list[Verdict]:
    """Sorted, so that those with the same title are next to each other."""
    return sorted(found, key=lambda verdict: _ORDER[tag_of(verdict.route.path)])


def can_run_pipelines(token: Token) -> bool:
    """Whether the token can run pipelines that their access rules let its owner run."""
    return any(verdict.allows and verdict.route.path == RUN_PIPELINE for verdict in verdicts(token, open_to_tokens()))


class OperationCounter:
    """Counts what tokens can do. Tokens with the same scopes, of owners with the same site role, are counted once: with
    and without chosen pipelines apart."""

    def __init__(self) -> None:
        self._routes = open_to_tokens()
        self._known: dict[tuple[str, str, bool], int] = {}

    @property
    def total(self) -> int:
        return len(self._routes)

    def allowed(self, token: Token, state: TokenState) -> int:
        """How many operations the token can do now. A token that is not active can do none."""
        if state is not TokenState.ACTIVE:
            return 0
        key = token.scope, token.owner.site_role, token.is_limited
        if key not in self._known:
            self._known[key] = sum(verdict.allows for verdict in verdicts(token, self._routes))
        return self._known[key]
