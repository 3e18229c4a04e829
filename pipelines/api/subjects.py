"""Finds people and groups of the caller's organization by id, address or name.

The error is the same whether a person does not exist or belongs to another organization.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from accounts.models import Group, User
from pipelines.access import ItemRole
from pipelines.services import RuleInput
from pipelines.services.rules import UNKNOWN_SUBJECT


def people_of(caller: User, emails: Sequence[str]) -> list[User]:
    """Raises ``ValidationError``."""
    wanted = sorted({_plain(email) for email in emails})
    found = _by(User.objects.people().in_organization(caller).active(), "email", wanted)
    for email in wanted:
        if email not in found:
            raise ValidationError({"notified_people": f"Nobody active in your organization has this address: {email}"})
    return [found[email] for email in wanted]


def new_owner_of(caller: User, body: Mapping[str, Any]) -> User:
    """From ``owner_id`` or ``owner_email``. Raises ``ValidationError``."""
    people = User.objects.people().in_organization(caller).active()
    ((field, value),) = body.items()
    matching = people.filter(pk=value) if field == "owner_id" else people.filter(email=_plain(value))
    found: User | None = matching.first()
    if found is None:
        raise ValidationError({field: "Nobody active in your organization."})
    return found


def rules_of(caller: User, rows: Sequence[Mapping[str, Any]]) -> list[RuleInput]:
    """Raises ``ValidationError``. At most four queries, however many rows."""
    people, groups = User.objects.in_organization(caller), Group.objects.in_organization(caller)
    tables: dict[str, dict[Any, User | Group]] = {
        "user_id": _by(people, "pk", (row.get("user_id") for row in rows)),
        "user_email": _by(people, "email", (_plain(row.get("user_email")) for row in rows)),
        "group_id": _by(groups, "pk", (row.get("group_id") for row in rows)),
        "group_name": {},
    }
    if any(row.get("group_name") for row in rows):
        tables["group_name"] = {group.name.lower(): group for group in groups}
    inputs = []
    for number, row in enumerate(rows, start=1):
        subjects = {table.get(_plain(row[field])) for field, table in tables.items() if row.get(field)}
        subject = subjects.pop() if len(subjects) == 1 else None
        if subject is None:
            raise ValidationError({"rules": f"Rule {number}: {UNKNOWN_SUBJECT}"})
        inputs.append(RuleInput(subject, ItemRole(row["role"])))
    return inputs


def _by(rows: QuerySet[Any], field: str, keys: Iterable[Any]) -> dict[Any, Any]:
    wanted = {key for key in keys if key}
    return {getattr(row, field): row for row in rows.filter(**{f"{field}__in": wanted})} if wanted else {}


def _plain(value: Any) -> Any:
    """The form in which addresses are stored and names are compared."""
    return value.strip().lower() if isinstance(value, str) else value
