"""Finds the people and groups that access rules name in the API, in the caller's organization."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from rest_framework import serializers

from accounts.models import Group, User
from accounts.services.guard import UNKNOWN_SUBJECT
from core.api.serializers import IdField, StrictSerializer, TextField


class SubjectBody(StrictSerializer):
    """For a person, by id or e-mail address, or for a group, by id or name."""

    id = IdField(required=False, help_text="Not needed: a person and a group have at most one rule.")
    user_id = IdField(required=False, allow_null=True)
    user_email = TextField(required=False, allow_null=True, max_length=254)
    group_id = IdField(required=False, allow_null=True)
    group_name = TextField(required=False, allow_null=True, max_length=50)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        person = attrs.get("user_id") or attrs.get("user_email")
        group = attrs.get("group_id") or attrs.get("group_name")
        if bool(person) == bool(group):
            raise serializers.ValidationError("Name either a person or a group.")
        return attrs


def subjects_of(caller: User, rows: Sequence[Mapping[str, Any]]) -> list[User | Group]:
    """In the order of the rows. Raises ``ValidationError``. At most four queries, however many rows."""
    people, groups = User.objects.in_organization(caller), Group.objects.in_organization(caller)
    tables: dict[str, dict[Any, User | Group]] = {
        "user_id": rows_by(people, "pk", (row.get("user_id") for row in rows)),
        "user_email": rows_by(people, "email", (plain(row.get("user_email")) for row in rows)),
        "group_id": rows_by(groups, "pk", (row.get("group_id") for row in rows)),
        "group_name": {},
    }
    if any(row.get("group_name") for row in rows):
        tables["group_name"] = {group.name.lower(): group for group in groups}
    found = []
    for number, row in enumerate(rows, start=1):
        subjects = {table.get(plain(row[field])) for field, table in tables.items() if row.get(field)}
        subject = subjects.pop() if len(subjects) == 1 else None
        if subject is None:
            raise ValidationError({"rules": f"Rule {number}: {UNKNOWN_SUBJECT}"})
        found.append(subject)
    return found


def rows_by(rows: QuerySet[Any], field: str, keys: Iterable[Any]) -> dict[Any, Any]:
    wanted = {key for key in keys if key}
    return {getattr(row, field): row for row in rows.filter(**{f"{field}__in": wanted})} if wanted else {}


def plain(value: Any) -> Any:
    """The form in which addresses are stored and names are compared."""
    return value.strip().lower() if isinstance(value, str) else value
