"""What decides whether a person may use a service now, read in one statement at each use.

`ServiceQuerySet.usable_by` asks the same for lists; a test compares the two. The statement goes to the driver itself,
as for the token (`core/db/prepared_statements.py`).
"""

import json
import uuid
from dataclasses import dataclass
from functools import lru_cache

from accounts.models import Group, User
from core.db.prepared_statements import fetch_one, own_connection, uuid_as_stored
from gateway import path_rules
from gateway.models import Check, Service, ServiceRule, scope_id
from gateway.path_rules import PathRule


@dataclass(frozen=True)
class Admission:
    """A service and one person. ``is_named``: whether an access rule names the person or one of their groups.
    ``groups``: the names of their groups, in order. ``scopes``: the ids of those that the service has now."""

    slug: str
    host: str
    check_by: str
    is_enabled: bool
    allows_sessions: bool
    scopes: frozenset[str]
    rules: tuple[PathRule, ...]
    site_roles: tuple[str, ...]
    organization_id: uuid.UUID
    is_named: bool
    groups: tuple[str, ...]

    def is_open_to(self, person: User) -> bool:
        same = person.is_active and person.organization_id == self.organization_id
        return same and (self.is_named or person.site_role in self.site_roles)

    def scopes_of(self, scope: str) -> str:
        """A token's scopes, without those that the service has lost since."""
        return " ".join(each for each in scope.split(" ") if each in self.scopes)

    @property
    def is_asked_by_proxies(self) -> bool:
        return self.check_by == Check.FORWARD_AUTH


def find(service_id: uuid.UUID, person_id: uuid.UUID) -> Admission | None:
    """``None`` if there is no such service."""
    connection = own_connection()
    as_stored = uuid_as_stored(connection)
    person = as_stored(person_id)
    row = fetch_one(connection, _statement(connection.vendor), [person, person, person, as_stored(service_id)])
    if row is None:
        return None
    slug, address, check_by, is_enabled, allows_sessions, scopes, rules, site_roles, home, is_named, groups = row
    return Admission(
        slug=slug,
        host=Service(address=address).host,
        check_by=check_by,
        is_enabled=bool(is_enabled),
        allows_sessions=bool(allows_sessions),
        scopes=_scope_ids(slug, scopes),
        rules=path_rules.parse(rules),
        site_roles=tuple(site_roles.split()),
        organization_id=home if isinstance(home, uuid.UUID) else uuid.UUID(home),
        is_named=bool(is_named),
        groups=tuple(sorted(groups.split("\n"))) if groups else (),
    )


# As for the path rules: each request reads them, and they change seldom.
@lru_cache(maxsize=500)
def _scope_ids(slug: str, stored: str) -> frozenset[str]:
    """``stored``: the column, which the database driver returns as text."""
    return frozenset(scope_id(slug, scope["name"]) for scope in json.loads(stored))


@lru_cache
def _statement(vendor: str) -> str:
    service, rule, group = (model._meta.db_table for model in (Service, ServiceRule, Group))
    members = Group.members.through._meta.db_table
    # No name has a line break.
    names = "string_agg(g.\"name\", E'\\n')" if vendor == "postgresql" else 'group_concat(g."name", char(10))'
    fields = "slug, address, check_by, is_enabled, allows_sessions, scopes, rules, site_roles, organization_id"
    columns = ", ".join(f's."{name}"' for name in fields.split(", "))
    return (
        f"SELECT {columns}, "  # noqa: S608
        f'EXISTS(SELECT 1 FROM "{rule}" r WHERE r."service_id" = s."id" AND (r."user_id" = %s OR r."group_id" IN '
        f'(SELECT m."group_id" FROM "{members}" m WHERE m."user_id" = %s))), '
        f'(SELECT {names} FROM "{group}" g JOIN "{members}" m ON m."group_id" = g."id" WHERE m."user_id" = %s) '
        f'FROM "{service}" s WHERE s."id" = %s'
    )
