"""What a body of SCIM changes: a whole resource (POST and PUT), or operations (PATCH, RFC 7644 section 3.5.2).

Identity providers differ from the RFC, and this module accepts what Entra ID and Okta send: `"active": "False"`, `"op":
"Replace"`, names with dots as keys (`{"name.givenName": "Ada"}`), and attributes that the portal doesn't store.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from accounts.roles import SiteRole
from accounts.scim import schemas
from accounts.scim.grammar import Attribute, Both, Comparison, Either, Filter, Not, Path, Selection, parse_path
from accounts.scim.problems import InvalidPath, InvalidSyntax, InvalidValue, NoTarget, NotChangeable
from core import ids
from core.text import is_printable

# The portal has no passwords from elsewhere, and one address, which is the name.
_IGNORED = schemas.NOT_STORED | {"password", "emails"}
_READ_ONLY = frozenset({"id", "meta", "schemas", "groups"})
_OPERATIONS = frozenset({"add", "replace", "remove"})


class UserDraft:
    """Collects what a body says about a person. ``changes`` is for the services."""

    urn = schemas.USER
    extensions = (schemas.ENTERPRISE_USER,)

    def __init__(self, site_role: str = SiteRole.GUEST) -> None:
        self._changes: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._site_role = site_role

    def put(self, path: Path, value: Any) -> None:
        name, sub = path.attribute.name, path.attribute.sub
        match name:
            case "username":
                self._changes["email"] = _text("userName", value).strip()
            case "displayname":
                self._names["displayname"] = _text("displayName", value)
            case "name" if sub:
                self._names[sub] = _text(f"name.{sub}", value)
            case "name":
                parts = _object("name", value)
                self._names |= {part: _text(f"name.{part}", text) for part, text in parts.items() if text is not None}
            case "active":
                self._changes["is_active"] = _flag("active", value)
            case "externalid":
                self._changes["external_id"] = _text("externalId", value)
            case "roles":
                self._put_role(path, value)
            case _ if name not in _IGNORED:
                raise _unknown(name)

    def remove(self, path: Path, value: Any) -> None:
        name = path.attribute.name
        if name in {"username", "displayname", "active"}:
            raise NotChangeable(f"{name} is required and can't be removed.")
        if name == "externalid":
            self._changes["external_id"] = ""
        elif name == "roles" and not path.attribute.sub and self._selects_role(path):
            self._site_role = self._changes["site_role"] = SiteRole.GUEST
        elif name not in _IGNORED and name not in {"name", "roles"}:
            raise _unknown(name)

    def changes(self, *, is_whole: bool) -> dict[str, Any]:
        """``is_whole``: given and family name are the whole name even if one of them is missing."""
        parts = [self._names.get(part, "").strip() for part in ("givenname", "familyname")]
        joined = " ".join(filter(None, parts)) if is_whole or all(parts) else ""
        found = (self._names.get("displayname", "").strip(), self._names.get("formatted", "").strip(), joined)
        name = next(filter(None, found), "")
        return self._changes | ({"name": name} if name or "displayname" in self._names else {})

    def _put_role(self, path: Path, value: Any) -> None:
        if path.attribute.sub in {"display", "primary", "type"}:
            return
        if path.selection is not None and not self._selects_role(path):
            raise NoTarget("No role of this person fits the filter.")
        self._site_role = self._changes["site_role"] = _site_role(value)

    def _selects_role(self, path: Path) -> bool:
        role = {"value": self._site_role, "primary": "true", "type": ""}
        return path.selection is None or _fits(path.selection, role)


class GroupDraft:
    """Collects what a body says about a group. ``replaced``: the ids of all its members, if the body has them."""

    urn = schemas.GROUP
    extensions = ()

    def __init__(self) -> None:
        self.changes: dict[str, Any] = {}
        self.replaced: set[UUID] | None = None
        self.added: set[UUID] = set()
        self.removed: set[UUID] = set()

    def put(self, path: Path, value: Any) -> None:
        """As `add`, but a list of members replaces those that the group has."""
        if path.attribute.name == "members" and path.selection is None:
            self.replaced, self.added, self.removed = _members(value), set(), set()
        else:
            self.add(path, value)

    def add(self, path: Path, value: Any) -> None:
        match path.attribute.name:
            case "displayname":
                self.changes["name"] = _text("displayName", value)
            case "externalid":
                self.changes["external_id"] = _text("externalId", value)
            case "members" if path.selection is None and not path.attribute.sub:
                ids_of_members = _members(value)
                self.added |= ids_of_members
                self.removed -= ids_of_members
            case "members":
                raise NotChangeable("A member can't be changed, only added and removed.")
            case name:
                raise _unknown(name)

    def remove(self, path: Path, value: Any) -> None:
        match path.attribute.name:
            case "displayname":
                raise NotChangeable("displayName is required and can't be removed.")
            case "externalid":
                self.changes["external_id"] = ""
            case "members" if path.attribute.sub:
                raise NotChangeable("A member can't be changed, only added and removed.")
            case "members" if path.selection is not None:
                self._leave(set(_selected_ids(path.selection)))
            case "members" if value is not None:
                # Entra ID names the members in `value` instead of a filter.
                self._leave(_members(value))
            case "members":
                self.replaced, self.added, self.removed = set(), set(), set()
            case name:
                raise _unknown(name)

    def _leave(self, ids_of_members: set[UUID]) -> None:
        self.removed |= ids_of_members
        self.added -= ids_of_members


Draft = UserDraft | GroupDraft


def read_resource(draft: Draft, body: Mapping[str, Any]) -> None:
    """Reads the body of POST or PUT. What is read-only is ignored (RFC 7644 section 3.3). Raises ``Problem``."""
    _check_schemas(body, draft.urn)
    for key, value in body.items():
        path = _path(key, draft) if key.lower() not in _READ_ONLY else None
        # RFC 7643 section 2.5: null is the same as no value.
        if path is not None and value is not None:
            draft.put(path, value)


def read_operations(draft: Draft, body: Mapping[str, Any]) -> None:
    """Reads the body of PATCH: all operations, in their order. Raises ``Problem``."""
    _check_schemas(body, schemas.PATCH)
    operations = _object("the body", body).get("operations")
    if not isinstance(operations, list) or not operations:
        raise InvalidSyntax("Operations must be a list of at least one operation.")
    for operation in operations:
        fields = _object("an operation", operation)
        kind, place, value = fields.get("op"), fields.get("path"), fields.get("value")
        if not isinstance(kind, str) or kind.lower() not in _OPERATIONS:
            raise InvalidSyntax("op must be add, replace or remove.")
        if place is not None and not isinstance(place, str):
            raise InvalidPath("path must be a text.")
        _apply(draft, kind.lower(), place or "", value)


def _apply(draft: Draft, kind: str, place: str, value: Any) -> None:
    if place and place.lower() != draft.urn.lower():
        _apply_at(draft, kind, _path(place, draft), value, is_named=True)
        return
    if kind == "remove":
        raise NoTarget("remove needs a path.")
    if not isinstance(value, dict):
        raise InvalidValue("Without a path, value must be an object with the attributes to change.")
    for key, inner in value.items():
        _apply_at(draft, kind, _path(key, draft), inner, is_named=False)


def _apply_at(draft: Draft, kind: str, path: Path | None, value: Any, *, is_named: bool) -> None:
    if path is None:
        return
    if path.attribute.name in _READ_ONLY:
        if is_named:
            raise NotChangeable(f"{path.attribute.name} is read-only.")
    elif kind == "remove" or value is None:
        draft.remove(path, value)
    elif kind == "add" and isinstance(draft, GroupDraft):
        draft.add(path, value)
    else:
        draft.put(path, value)


def _path(text: str, draft: Draft) -> Path | None:
    """``None`` for what belongs to a schema that the portal doesn't store. Raises ``InvalidPath``."""
    if text.lower().startswith(tuple(urn.lower() for urn in draft.extensions)):
        return None
    path = parse_path(text)
    if path.attribute.urn and path.attribute.urn != draft.urn.lower():
        raise InvalidPath(f"The portal has nothing of the schema {path.attribute.urn}.")
    return path


def _check_schemas(body: Mapping[str, Any], expected: str) -> None:
    named = {key.lower(): value for key, value in body.items()}.get("schemas")
    if named is None:
        return
    if not isinstance(named, list) or expected.lower() not in {str(urn).lower() for urn in named}:
        raise InvalidSyntax(f"schemas must be a list with {expected}.")


def _unknown(name: str) -> InvalidPath:
    return InvalidPath(f"There is no attribute {name}. /Schemas lists all of them.")


def _object(what: str, value: Any) -> dict[str, Any]:
    """With keys in lower case, because names have no case."""
    if not isinstance(value, dict):
        raise InvalidSyntax(f"{what} must be an object.")
    return {key.lower(): inner for key, inner in value.items()}


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidValue(f"{name} must be a text.")
    if not is_printable(value):
        raise InvalidValue(f"{name} has a character that can't be shown.")
    return value


def _flag(name: str, value: Any) -> bool:
    found = {"true": True, "false": False}.get(str(value).lower()) if isinstance(value, str | bool) else None
    if found is None:
        raise InvalidValue(f"{name} must be true or false.")
    return found


def _values(value: Any) -> Iterator[Any]:
    """The `value` of each value of a multi-valued attribute; of a single one, too."""
    for each in value if isinstance(value, list) else [value]:
        yield _object("a value", each).get("value") if isinstance(each, dict) else each


def _site_role(value: Any) -> SiteRole:
    """The one site role. By its id or its English name; without any, the least one."""
    named = {_text("roles.value", each).strip().lower() for each in _values(value)}
    known = {spelling.lower(): role for role in SiteRole for spelling in (role.value, str(role.label))}
    if unknown := named - known.keys():
        raise InvalidValue(f"roles: {', '.join(sorted(unknown))} is none of {', '.join(SiteRole.values)}.")
    found = {known[name] for name in named}
    if len(found) > 1:
        raise InvalidValue("roles: a person has exactly one site role.")
    return found.pop() if found else SiteRole.GUEST


def _members(value: Any) -> set[UUID]:
    found = set()
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, dict) and str(_object("a member", each).get("type") or "User").lower() != "user":
            raise InvalidValue("members: only people can be members.")
        member = None if isinstance(each, list) else next(_values(each))
        if not isinstance(member, str) or not ids.FORM.fullmatch(member):
            raise InvalidValue("members: value must be the id of a person.")
        found.add(ids.read(member))
    return found


def _selected_ids(selection: Filter) -> Iterator[UUID]:
    """Of `members[value eq "..." or value eq "..."]`. Raises ``InvalidPath`` for other filters."""
    match selection:
        case Either():
            for term in selection.terms:
                yield from _selected_ids(term)
        case Comparison(Attribute("value", "", ""), "eq", str() as text):
            if ids.FORM.fullmatch(text):
                yield ids.read(text)
        case _:
            raise InvalidPath('members are chosen by their id: members[value eq "..."].')


def _fits(found: Filter, value: Mapping[str, str]) -> bool:
    """Whether a value, all of whose parts are texts, fits the filter."""
    match found:
        case Not():
            return not _fits(found.inner, value)
        case Both():
            return all(_fits(term, value) for term in found.terms)
        case Either():
            return any(_fits(term, value) for term in found.terms)
        case Selection():
            raise InvalidPath("Brackets can't be inside of brackets.")
    part = value.get(found.attribute.name, "")
    if found.operator == "pr":
        return bool(part)
    if found.operator not in {"eq", "ne"}:
        raise InvalidPath(f"{found.operator} can't be used here.")
    return (part == str(found.value).lower()) is (found.operator == "eq")
