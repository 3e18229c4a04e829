from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from django.db import models
from django.db.models import Count, Exists, F, OuterRef, Q, Value
from django.db.models.functions import Concat, StrIndex
from django.db.models.lookups import GreaterThan

import gateway.models
from accounts.models import User
from accounts.querysets import OrganizationRowsQuerySet, SubjectRuleQuerySet
from accounts.roles import Ability
from accounts.security import sessions

if TYPE_CHECKING:
    from gateway.models import (  # noqa: F401  (in the classes' bases)
        Service,
        ServiceCredential,
        ServiceRule,
        ServiceSession,
    )


class ServiceQuerySet(OrganizationRowsQuerySet["Service"]):
    def visible_to(self, user: User) -> Self:
        """All services, for roles that see everyone's tokens; for everyone else those that they may use."""
        rows = self.in_organization(user)
        sees_all = user.is_superuser or user.may(Ability.READ_TOKENS)
        return rows if sees_all else rows.open_to(user)

    def manageable_by(self, user: User) -> Self:
        return self.in_organization_with(Ability.MANAGE_ORGANIZATION, user)

    def for_service_table(self) -> Self:
        """With ``rule_count``: how many people and groups may use it."""
        return self.annotate(rule_count=Count("access_rules")).order_by("name", "pk")

    def usable_by(self, user: User) -> Self:
        """Those that are switched on and that the person may use now. `gateway.checks` asks the same at each use."""
        if not user.is_active or user.organization_id is None:
            return self.none()
        return self.in_organization(user).open_to(user).filter(is_enabled=True)

    def opened_in_browsers(self) -> Self:
        """Those that people can open without a token: their proxies ask the portal."""
        return self.filter(allows_sessions=True, check_by=gateway.models.Check.FORWARD_AUTH)

    def open_to(self, user: User) -> Self:
        """By the site role, or by an access rule for the person or one of their groups."""
        return self.filter(open_to_role(user.site_role) | Q(Exists(_rules_for(user))))


def open_to_role(role: str) -> Q:
    roles = Concat(Value(" "), F("site_roles"), Value(" "))
    return Q(GreaterThan(StrIndex(roles, Value(f" {role} ")), 0))


def _rules_for(user: User) -> "models.QuerySet[Any]":
    groups = user.member_groups.order_by().values("pk")
    rules = gateway.models.ServiceRule.objects.filter(service=OuterRef("pk"))
    return rules.filter(Q(user=user) | Q(group__in=groups))


class ServiceRuleQuerySet(SubjectRuleQuerySet["ServiceRule"]):
    pass


class ServiceCredentialQuerySet(models.QuerySet["ServiceCredential"]):
    def current(self) -> Self:
        """At most one of each service: that which no other one has replaced."""
        return self.filter(ends_at__isnull=True)

    def working(self, at: datetime) -> Self:
        return self.filter(Q(ends_at__isnull=True) | Q(ends_at__gt=at))


class ServiceSessionQuerySet(models.QuerySet["ServiceSession"]):
    def working(self, at: datetime) -> Self:
        """Those whose code or session has not expired, and whose portal session nobody has ended."""
        return self.filter(expires_at__gt=at, portal_session__in=sessions.not_ended().order_by().values("pk"))
