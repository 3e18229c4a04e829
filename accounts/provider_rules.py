"""Which site role and groups follow from what an organization's provider says about a person.

Nothing here reads or changes the database, so the page can try the rules on any claims.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from accounts.roles import SiteRole

# Providers can send long lists of groups. A claim with more values than this is cut.
VALUES_READ = 5000
CLAIM_LIMIT = 200
# Characters of JSON of all claims.
CLAIMS_LIMIT = 100_000
# The activity log has the beginning of longer values.
LOGGED_CHARACTERS = 100


class RoleRule(TypedDict):
    claim: str
    value: str
    site_role: str


class GroupRule(TypedDict):
    """``group`` is the id of a group."""

    claim: str
    value: str
    group: str


@dataclass(frozen=True)
class Outcome:
    """What the rules say about a person.

    ``site_role``: ``None`` if the rules say nothing about it, so it stays. ``role_rule``: the position of the rule that
    gave it, from 1; ``None`` if none applied. ``is_refused``: none applied, and the organization refuses such people.
    ``groups``: the ids of the groups that the person belongs in, and for each the position of its first rule.
    ``left_out``: claims that the provider left out because they are too long. Nothing is changed by rules on these.
    """

    site_role: str | None = None
    role_rule: int | None = None
    is_refused: bool = False
    groups: Mapping[str, int] = field(default_factory=dict)
    left_out: Collection[str] = ()


def outcome_of(
    claims: Mapping[str, Any],
    *,
    role_rules: Sequence[RoleRule],
    group_rules: Sequence[GroupRule],
    default_role: str,
    refuses_unmapped: bool,
) -> Outcome:
    """Applies the rules: the first role rule that matches, and every group rule that matches."""
    named = {rule["claim"] for rule in [*role_rules, *group_rules]}
    left_out = sorted(name for name in named if is_left_out(claims, name))
    groups: dict[str, int] = {}
    for position, rule in enumerate(group_rules, start=1):
        if matches(claims, rule["claim"], rule["value"]):
            groups.setdefault(rule["group"], position)
    if not role_rules:
        return Outcome(groups=groups, left_out=left_out)
    for position, role_rule in enumerate(role_rules, start=1):
        if role_rule["claim"] in left_out:
            # An earlier rule could have matched: nobody may get a role by a claim that is missing.
            return Outcome(groups=groups, left_out=left_out)
        if matches(claims, role_rule["claim"], role_rule["value"]):
            return Outcome(SiteRole(role_rule["site_role"]), position, groups=groups, left_out=left_out)
    return Outcome(default_role, None, refuses_unmapped, groups, left_out)


def matches(claims: Mapping[str, Any], claim: str, value: str) -> bool:
    """Exactly, with upper and lower case: providers can have groups whose names differ only in that."""
    return value in values_of(claims, claim)


def values_of(claims: Mapping[str, Any], claim: str) -> list[str]:
    """The values of a claim as texts: of a list each, otherwise the one. Objects have none.

    ``claim`` is a name, or a path like ``realm_access.roles`` if no claim has this name.
    """
    found = claims.get(claim)
    if claim not in claims:
        found = claims
        for part in claim.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    parts = found[:VALUES_READ] if isinstance(found, list) else [found]
    return list(_texts(parts))


def is_left_out(claims: Mapping[str, Any], claim: str) -> bool:
    """Whether the provider says that the claim exists, but elsewhere (OpenID Connect Core 1.0 section 5.6.2).

    Entra ID does so for people in more groups than fit into a token. Of a path, the first part is a claim.
    """
    elsewhere = claims.get("_claim_names")
    if claim in claims or not isinstance(elsewhere, Mapping):
        return False
    first = claim.partition(".")[0]
    return claim in elsewhere or (first in elsewhere and first not in claims)


def deciding_claims(claims: Mapping[str, Any], names: Iterable[str]) -> dict[str, list[str]]:
    """The values of these claims, shortened, for the activity log."""
    shown = {
        name: [_storable(value[:LOGGED_CHARACTERS]) for value in values_of(claims, name)[:20]]
        for name in sorted(set(names))
    }
    return {name: values for name, values in shown.items() if values}


def _storable(text: str) -> str:
    """Without NUL and half characters, which a provider can send in JSON and no database stores."""
    return text.encode(errors="replace").decode().replace("\x00", "?")


def _texts(parts: Iterable[Any]) -> Iterable[str]:
    for part in parts:
        if isinstance(part, bool):
            yield "true" if part else "false"
        elif isinstance(part, str | int):
            yield str(part)
