"""People and groups as resources of SCIM, and which of their attributes an answer has."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import UUID

from accounts import seen
from accounts.models import Group, User
from accounts.scim import schemas
from accounts.scim.schemas import address

# RFC 7643 section 7: `returned` is `always`.
_ALWAYS = frozenset({"schemas", "id"})


class Choice:
    """Which attributes an answer has: the parameters `attributes` and `excludedAttributes`, as names with commas.

    Names have no case, and may begin with the schema. Unknown names are ignored, as in RFC 7644 section 3.9.
    """

    def __init__(self, wanted: Iterable[str] = (), left_out: Iterable[str] = ()) -> None:
        self._wanted = frozenset(map(_plain, wanted))
        self._left_out = frozenset(map(_plain, left_out))

    def has(self, name: str) -> bool:
        """Whether the answer has the attribute, or a part of it."""
        name = name.lower()
        if self._wanted:
            return any(wanted.partition(".")[0] == name for wanted in self._wanted)
        return name not in self._left_out

    def of(self, resource: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: value if name in _ALWAYS else self._parts(name.lower(), value)
            for name, value in resource.items()
            if name in _ALWAYS or self.has(name)
        }

    def _parts(self, name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [self._parts(name, each) for each in value]
        if not isinstance(value, dict):
            return value
        if name in self._wanted:
            return value
        chosen = self._wanted or None
        return {
            part: inner
            for part, inner in value.items()
            if (f"{name}.{part.lower()}" in chosen if chosen else f"{name}.{part.lower()}" not in self._left_out)
        }


def _plain(name: str) -> str:
    return name.strip().lower().rpartition(":")[2]


def of_user(user: User, choice: Choice) -> dict[str, Any]:
    """``user.member_groups`` is read only if the answer has `groups`."""
    resource = {
        "schemas": [schemas.USER],
        "id": str(user.pk),
        "externalId": user.external_id,
        "userName": user.email,
        "displayName": user.name,
        "name": {"formatted": user.name},
        "active": user.is_active,
        "emails": [{"value": user.email, "type": "work", "primary": True}],
        "roles": [{"value": user.site_role}],
        "meta": {
            "resourceType": "User",
            "created": user.created_at.isoformat().replace("+00:00", "Z"),
            "location": address(f"Users/{user.pk}"),
            "version": f'"{seen.of_provisioned_user(user)}"',
        },
    }
    if not user.external_id:
        del resource["externalId"]
    if choice.has("groups"):
        resource["groups"] = [
            {"value": str(group.pk), "$ref": address(f"Groups/{group.pk}"), "display": group.name, "type": "direct"}
            for group in user.member_groups.all()
        ]
    return resource


def of_group(group: Group, choice: Choice, members: Collection[UUID]) -> dict[str, Any]:
    """``members``: their ids. The version is that of name and members, so it is left out with them."""
    meta = {
        "resourceType": "Group",
        "created": group.created_at.isoformat().replace("+00:00", "Z"),
        "location": address(f"Groups/{group.pk}"),
    }
    resource: dict[str, Any] = {"schemas": [schemas.GROUP], "id": str(group.pk), "displayName": group.name}
    if group.external_id:
        resource["externalId"] = group.external_id
    if choice.has("members"):
        resource["members"] = [{"value": str(pk), "$ref": address(f"Users/{pk}"), "type": "User"} for pk in members]
        meta["version"] = f'"{seen.of_provisioned_group(group, members)}"'
    return resource | {"meta": meta}
