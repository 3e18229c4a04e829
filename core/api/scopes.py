"""The list of all scopes of access tokens (docs/product.md#scopes).

The form, the API's schema, its error messages and the page "what this token can do" read this list. A scope never adds
rights: a token can do what one of its scopes allows AND its owner is allowed to do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from django.utils.translation import gettext, gettext_lazy, gettext_noop

from core.text import Text

# Of all scopes of one token, with spaces. A service can have 20, each with at most 49 characters.
MAX_LENGTH = 1000


@dataclass(frozen=True)
class Scope:
    """The texts are English, so that a scope has the same hash in all languages; pages show their translation."""

    id: str
    english_label: str
    english_description: str
    only_reads: bool

    @property
    def label(self) -> str:
        return gettext(self.english_label)

    @property
    def description(self) -> str:
        return gettext(self.english_description)

    def __str__(self) -> str:
        return self.id


@dataclass(frozen=True)
class ServiceScope(Scope):
    """A scope of one service (`gateway`). The organization wrote its texts, so they are not translated."""

    @property
    def label(self) -> str:
        return self.english_label

    @property
    def description(self) -> str:
        return self.english_description


API = Scope(
    "api",
    gettext_noop("API Access"),
    gettext_noop("Everything except replacing itself, within the owner's role and access rules."),
    only_reads=False,
)
API_READONLY = Scope(
    "api-readonly",
    gettext_noop("API Access (Read Only)"),
    gettext_noop("Everything that can be read through the API. Nothing can be changed or started."),
    only_reads=True,
)
PIPELINE = Scope(
    "pipeline",
    gettext_noop("Pipeline Access"),
    gettext_noop(
        "See pipelines; run, stop, reset and resume them; approve gates; read status and logs. Pipelines themselves "
        "can't be changed: that needs API Access."
    ),
    only_reads=False,
)
PIPELINE_READONLY = Scope(
    "pipeline-readonly",
    gettext_noop("Pipeline Access (Read Only)"),
    gettext_noop("Pipelines: lists, status, summary and logs. Nothing can be started."),
    only_reads=True,
)
SECURITY_LOGS = Scope(
    "security-logs",
    gettext_noop("Security Logs (Read Only)"),
    gettext_noop("The organization's two audit logs, if the owner's role allows reading them."),
    only_reads=True,
)
SCIM = Scope(
    "scim",
    gettext_noop("User Provisioning (SCIM)"),
    gettext_noop(
        "For your identity provider: create, change and deactivate people, and manage groups. Only for Administrators. "
        "No other scope includes it."
    ),
    only_reads=False,
)

ROTATE = Scope(
    "tokens:rotate",
    gettext_noop("Replace Itself"),
    gettext_noop("Create its successor, with the same scopes and limits. Nothing else."),
    only_reads=False,
)

SCOPES: tuple[Scope, ...] = (API, API_READONLY, PIPELINE, PIPELINE_READONLY, SECURITY_LOGS, SCIM, ROTATE)
CHOICES: list[tuple[str, Text]] = [(scope.id, gettext_lazy(scope.english_label)) for scope in SCOPES]
BY_ID: dict[str, Scope] = {scope.id: scope for scope in SCOPES}


# Each request with a token calls this several times, with the same few texts.
@lru_cache(maxsize=100)
def parse(scope_string: str) -> frozenset[Scope]:
    """The known scopes in a space-separated string (RFC 6749 section 3.3); unknown words are ignored."""
    return frozenset(BY_ID[word] for word in scope_string.split(" ") if word in BY_ID)


def in_order(scope_string: str) -> list[Scope]:
    """The known scopes in the order of `SCOPES`, for pages."""
    granted = parse(scope_string)
    return [scope for scope in SCOPES if scope in granted]


def labels_of(scope_string: str) -> str:
    """The labels of the known scopes, for pages; the string itself if there are none."""
    return ", ".join(scope.label for scope in in_order(scope_string)) or scope_string


def as_string(scopes: Iterable[Scope]) -> str:
    """Space-separated, each once, always in the order of the list above. Scopes of a service keep their order."""
    places = {scope: place for place, scope in enumerate(SCOPES)}
    chosen = sorted(dict.fromkeys(scopes), key=lambda scope: places.get(scope, len(SCOPES)))
    return " ".join(scope.id for scope in chosen)
