from typing import TYPE_CHECKING, Any, Self, TypeVar

from django.db import models

from core.db.unreadable import ReadableRows
from core.types import User

if TYPE_CHECKING:
    from auditlog.models import Activity, TokenUsage, TokenUse  # noqa: F401  (in the class's base)

Row = TypeVar("Row", bound=models.Model)


class ReadableQuerySet(models.QuerySet[Row]):
    """Says who can read which rows. ``person_field`` is the field of the person that a row is about."""

    person_field = "owner"

    def of(self, user: User) -> Self:
        """The entries about this person, whatever their role: their own log."""
        return self.filter(**{self.person_field: user})

    def readable_org_entries(self, user: User) -> Self:
        """All entries of this person's organization if their role can read its logs, otherwise none."""
        if user.is_superuser:
            return self.all()
        if not user.may_read_organization_logs:
            return self.none()
        return self.filter(organization_id=user.organization_id)

    def answered_for_by(self, user: User) -> Self:
        """The entries about this person and about the service accounts that they are responsible for."""
        theirs = models.Q(**{f"{self.person_field}__in": user.accounts_answered_for})
        return self.filter(models.Q(**{self.person_field: user}) | theirs)

    def visible_to(self, user: User) -> Self:
        if user.is_superuser or user.may_read_organization_logs:
            return self.readable_org_entries(user)
        return self.answered_for_by(user)


class LogQuerySet(ReadableQuerySet[Row]):
    """Log entries can be read, even if one of their values can't be, but not changed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._iterable_class = ReadableRows

    def update(self, **values: Any) -> int:
        raise TypeError("Log entries are never changed.")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise TypeError("Log entries are deleted by the retention command only.")


class TokenUseQuerySet(LogQuerySet["TokenUse"]):
    person_field = "owner"

    def refused(self) -> Self:
        return self.filter(outcome=self.model.Outcome.REFUSED)

    def of_ended_tokens(self) -> Self:
        """Uses of expired tokens, including tokens that were expired early."""
        return self.filter(reason__in=[self.model.Reason.EXPIRED, self.model.Reason.REVOKED])

    def with_services(self) -> Self:
        """With the service of each entry: one query for all entries of a page, and none if they have no service."""
        return self.prefetch_related(models.Prefetch("service", self.services()))

    def services(self) -> models.QuerySet[Any]:
        """All services, with what pages show of them. By the relation, because their app is on a higher floor."""
        service: Any = self.model._meta.get_field("service").related_model
        rows: models.QuerySet[Any] = service.objects.only("name", "slug", "scopes")
        return rows


class ActivityQuerySet(LogQuerySet["Activity"]):
    person_field = "actor"


class UsageQuerySet(ReadableQuerySet["TokenUsage"]):
    """Usage counts can be read by the same people as the entries that they count."""
