"""Says what would happen to a request to a service: for people who write its path rules, and for the API."""

from dataclasses import dataclass

from django.utils.translation import gettext

from gateway import path_rules, request_paths
from gateway.asked_requests import AskedRequest
from gateway.models import Service, scope_id
from gateway.path_rules import NOBODY


@dataclass(frozen=True)
class Decision:
    """``is_open``: some token of the service can do it. ``scope``: the id of the scope that it needs; empty for none.
    ``line``: of the rule that decides. ``why``: a code of refusals, empty if it is open."""

    is_open: bool
    sentence: str
    why: str = ""
    scope: str = ""
    line: int | None = None


def decide(service: Service, method: str, target: str) -> Decision:
    """``target``: a path, with or without a query, as the client would send it."""
    asked = f"{method} {target}"
    try:
        path = AskedRequest(method, target).path()
    except request_paths.Ambiguous as error:
        said = gettext("%(request)s is refused: %(why)s") % {"request": asked, "why": gettext(str(error))}
        return Decision(False, said, "ambiguous_path")
    numbered = enumerate(service.path_rules, start=1)
    line, rule = next(((line, rule) for line, rule in numbered if rule.matches(method, path)), (None, None))
    if rule is None or line is None:
        return Decision(False, gettext("%(request)s is refused: no line matches.") % {"request": asked}, _CLOSED)
    values = {"request": asked, "line": line}
    if rule.needs == NOBODY:
        return Decision(False, gettext("%(request)s is refused (line %(line)s).") % values, _CLOSED, line=line)
    if rule.needs == path_rules.ANY:
        said = gettext("%(request)s is open to every token of the service (line %(line)s).") % values
        return Decision(True, said, line=line)
    scope = scope_id(service.slug, rule.needs)
    values["scope"] = next((known.label for known in service.all_scopes if known.id == scope), rule.needs)
    said = gettext("%(request)s needs the scope %(scope)s (line %(line)s).") % values
    return Decision(True, said, scope=scope, line=line)


_CLOSED = "path_not_allowed"
