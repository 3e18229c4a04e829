"""What each scope allows one person, in words, for the form that creates a token.

The answers come from the operations of the API (`core.api.operations`) and from the querysets that decide on pages.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from django.utils.text import get_text_list
from django.utils.translation import gettext, gettext_lazy, ngettext

from accounts.models import User
from accounts.roles import SiteRole
from accounts.services_for_tokens import TokenService
from core.api import scopes
from core.api.operations import Operation, Reach, routes
from core.api.scopes import Scope
from core.text import Text, grouped
from tokens.allowed_operations import Verdict, open_to_tokens, verdicts_of

# Of each scope of a service, in the form. The page of a token has all.
PATHS_SHOWN = 5

Count = Callable[[Reach], int]


@dataclass(frozen=True)
class Clauses:
    """A `Reach` in words. ``some`` and ``again`` get the number; ``again`` follows a clause about the same objects."""

    some: Callable[[int], str]
    again: Text
    none: Text
    refused: Text
    refused_to_account: Text


# By the words of the `Reach`, which are English in every language.
CLAUSES = {
    ("run", "pipelines"): Clauses(
        some=lambda number: ngettext("runs %(count)s pipeline", "runs %(count)s pipelines", number),
        again=gettext_lazy("runs %(count)s"),
        none=gettext_lazy("runs no pipelines"),
        refused=gettext_lazy("Your role can't run pipelines"),
        refused_to_account=gettext_lazy("The service account's role can't run pipelines"),
    ),
    ("read", "pipelines"): Clauses(
        some=lambda number: ngettext("reads %(count)s pipeline", "reads %(count)s pipelines", number),
        again=gettext_lazy("reads %(count)s"),
        none=gettext_lazy("reads no pipelines"),
        refused=gettext_lazy("Your role can't read pipelines"),
        refused_to_account=gettext_lazy("The service account's role can't read pipelines"),
    ),
}


def opened_by(scope: Scope) -> list[Operation]:
    """The operations that a token needs this scope for, or one that opens them too."""
    return [route.operation for route in routes() if scope in route.operation.scopes]


def usable_by(user: User, scope: Scope) -> list[Operation]:
    """Those operations that the person's site role allows."""
    return [operation for operation in opened_by(scope) if operation.is_open_to_token_of(user)]


def without_included(chosen: Iterable[Scope]) -> list[Scope]:
    """In the order of all scopes, without those whose operations another chosen one allows too."""
    given = set(chosen)
    return [scope for scope in scopes.SCOPES if scope in given and not _is_included(scope, given - {scope})]


def _is_included(scope: Scope, others: set[Scope]) -> bool:
    opened = opened_by(scope)
    return any(all(other in operation.scopes for operation in opened) for other in others)


def least_scope(operation: Operation, user: User) -> Scope | None:
    """The scope for the fewest operations that lets a token of this person do this one. ``None`` if their role or their
    organization's policy doesn't allow it."""
    if not operation.is_open_to_token_of(user):
        return None
    allowed = scopes.parse(user.own_organization.allowed_scopes)
    fitting = [scope for scope in operation.scopes if scope in allowed]
    return min(fitting, key=lambda scope: len(opened_by(scope)), default=None)


def scope_cards(
    user: User,
    *,
    chosen: Collection[str],
    pipelines: Collection[UUID] | None = None,
    numbers: Mapping[str, int] | None = None,
) -> list[dict[str, Any]]:
    """One card for each scope, for a token that reaches only these pipelines, or all. One query counts what it reaches,
    unless ``numbers`` says so, by the verb of a `Reach`."""
    allowed = scopes.parse(user.own_organization.allowed_scopes)
    among, is_limited = open_to_tokens(), pipelines is not None
    counted = cache(lambda counts: counts(user, pipelines) if numbers is None else numbers)
    is_unchosen = is_limited and not pipelines
    found = {scope: verdicts_of(frozenset({scope}), user, among, is_limited=is_limited) for scope in scopes.SCOPES}
    return [
        _card(
            scope,
            user,
            found[scope],
            is_allowed=scope in allowed,
            chosen=chosen,
            count=None if is_unchosen else lambda reach: counted(reach.counts)[reach.verb],
        )
        for scope in scopes.SCOPES
    ]


def service_cards(service: TokenService, *, chosen: Collection[str]) -> list[dict[str, Any]]:
    """The same for the scopes of a service. ``paths``: the first of the requests that the scope opens."""
    return [
        {
            "id": scope.id,
            "label": scope.label,
            "description": scope.description,
            "checked": scope.id in chosen,
            "is_allowed": True,
            "is_open": True,
            "note": gettext("Only reads.") if scope.only_reads else "",
            "paths": (paths := service.opened_by(scope))[:PATHS_SHOWN],
            "more_paths": len(paths[PATHS_SHOWN:]),
            "input_id": f"id_scopes_{scope.id}",
        }
        for scope in service.all_scopes
    ]


def _card(
    scope: Scope, user: User, found: list[Verdict], *, is_allowed: bool, chosen: Collection[str], count: Count | None
) -> dict[str, Any]:
    opened = [verdict.route.operation for verdict in found if scope in verdict.route.operation.scopes]
    is_open = is_allowed and bool(usable_by(user, scope))
    note = _what_it_opens(scope, user, found, count) if is_open else _why_closed(opened, user, is_allowed=is_allowed)
    return {
        "id": scope.id,
        "label": scope.label,
        "description": scope.description,
        "checked": is_open and scope.id in chosen,
        "is_allowed": is_allowed,
        "is_open": is_open,
        "note": note,
        "input_id": f"id_scopes_{scope.id}",
    }


def _why_closed(opened: list[Operation], user: User, *, is_allowed: bool) -> str:
    if not is_allowed:
        return gettext("Not allowed by your organization")
    roles = get_text_list(_roles_that_use(opened, user), gettext("or"))
    if user.is_service_account:
        said = gettext("Nothing with the service account's role: an Administrator can give it the role %(roles)s.")
    else:
        said = gettext("Nothing with your role: ask an Administrator for the role %(roles)s.")
    return said % {"roles": roles}


def _roles_that_use(operations: list[Operation], user: User) -> list[str]:
    """The site roles that would allow one of the operations. Administrator only if no other role does."""
    people = {role: User(site_role=role, organization=user.own_organization) for role in SiteRole}
    found = [role for role in SiteRole if any(each.is_open_to_token_of(people[role]) for each in operations)]
    labels = [str(role.label) for role in found if role is not SiteRole.ADMINISTRATOR]
    return labels or [str(SiteRole.ADMINISTRATOR.label)]


def _what_it_opens(scope: Scope, user: User, found: list[Verdict], count: Count | None) -> str:
    """The number of operations is the one on the page of a token with this scope: of all operations, with those that
    need no scope. Without ``count``, no pipelines have been chosen yet."""
    opened = [verdict for verdict in found if scope in verdict.route.operation.scopes]
    usable = [verdict for verdict in opened if verdict.allows]
    can, all_ = _reaches(usable), _reaches(opened)
    sentences = [_reached(can, count)] if can else []
    sentences += [_refused(reach, user) for reach in all_ if reach not in can]
    if len(usable) < len(opened) or not sentences:
        numbers = {"allowed": sum(verdict.allows for verdict in found), "total": len(found)}
        sentences.append(gettext("%(allowed)s of %(total)s operations") % numbers)
    return ". ".join(_capitalized(sentences)) + "."


def _reached(reaches: list[Reach], count: Count | None) -> str:
    return get_text_list(list(_counts(reaches, count)), gettext("and")) if count else gettext("Choose pipelines below")


def _counts(reaches: list[Reach], count: Count) -> Iterator[str]:
    """ "runs 4 pipelines", "reads 12": the noun only if it is another than before."""
    before = None
    for reach in reaches:
        number = count(reach)
        clauses = _clauses_of(reach)
        if not number:
            yield str(clauses.none)
        elif reach.many == before:
            yield str(clauses.again) % {"count": grouped(number)}
        else:
            yield clauses.some(number) % {"count": grouped(number)}
        before = reach.many


def _refused(reach: Reach, user: User) -> str:
    clauses = _clauses_of(reach)
    return str(clauses.refused_to_account if user.is_service_account else clauses.refused)


def _clauses_of(reach: Reach) -> Clauses:
    return CLAUSES[reach.verb, reach.many]


def _reaches(verdicts: Iterable[Verdict]) -> list[Reach]:
    """What changes something first."""
    operations = (verdict.route.operation for verdict in verdicts)
    found = sorted(operations, key=lambda operation: operation.only_reads)
    return list(dict.fromkeys(operation.reach for operation in found if operation.reach))


def _capitalized(sentences: list[str]) -> list[str]:
    return [f"{sentence[0].upper()}{sentence[1:]}" for sentence in sentences]
