"""Finds people of the caller's organization by id or address.

The error is the same whether a person does not exist or belongs to another organization.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError

from accounts.api.subjects import plain, rows_by, subjects_of
from accounts.models import User
from pipelines.access import ItemRole
from pipelines.services import RuleInput


def people_of(caller: User, emails: Sequence[str]) -> list[User]:
    """Raises ``ValidationError``."""
    wanted = sorted({plain(email) for email in emails})
    found = rows_by(User.objects.people().in_organization(caller).active(), "email", wanted)
    for email in wanted:
        if email not in found:
            raise ValidationError({"notified_people": f"Nobody active in your organization has this address: {email}"})
    return [found[email] for email in wanted]


def new_owner_of(caller: User, body: Mapping[str, Any]) -> User:
    """From ``owner_id`` or ``owner_email``. Raises ``ValidationError``."""
    people = User.objects.people().in_organization(caller).active()
    ((field, value),) = body.items()
    matching = people.filter(pk=value) if field == "owner_id" else people.filter(email=plain(value))
    found: User | None = matching.first()
    if found is None:
        raise ValidationError({field: "Nobody active in your organization."})
    return found


def rules_of(caller: User, rows: Sequence[Mapping[str, Any]]) -> list[RuleInput]:
    """Raises ``ValidationError``. At most four queries, however many rows."""
    roles = [ItemRole(row["role"]) for row in rows]
    return [RuleInput(subject, role) for subject, role in zip(subjects_of(caller, rows), roles, strict=True)]
