"""What tokens know of services (accounts/services_for_tokens.py)."""

import uuid
from collections.abc import Collection
from contextlib import suppress
from typing import cast

from django.db.models import Q, QuerySet

from accounts.models import Group, User
from accounts.services_for_tokens import ServicesForTokens, TokenService
from core import ids
from core.db.locks import lock_if_exists
from gateway.models import Service, ServiceRule


class ServicesOfPortal(ServicesForTokens):
    def offered_to(self, person: User) -> list[Service]:
        return list(Service.objects.usable_by(person).order_by("name", "pk"))

    def find(self, person: User, word: str) -> Service | None:
        wanted = Q(slug=word)
        with suppress(ValueError):
            wanted = Q(pk=ids.read(word))
        return Service.objects.usable_by(person).filter(wanted).first() if "\0" not in word else None

    def lock(self, person: User, service_id: uuid.UUID) -> Service | None:
        return lock_if_exists(Service.objects.usable_by(person), service_id)

    def of_organization(self, person: User) -> list[Service]:
        return list(Service.objects.in_organization(person).order_by("name", "pk"))

    def usable_pairs(self, pairs: Collection[tuple[User, TokenService]]) -> set[tuple[uuid.UUID, uuid.UUID]]:
        known = [(person, cast(Service, service)) for person, service in pairs]
        open_pairs = [(person, service) for person, service in known if _can_be_open(person, service)]
        by_role = {(person.pk, service.pk) for person, service in open_pairs if person.site_role in service.role_list}
        others = {(person.pk, service.pk) for person, service in open_pairs} - by_role
        return by_role | (others & _named_in_rules(others)) if others else by_role

    def may_use(self, person: User, service_id: uuid.UUID) -> bool:
        return Service.objects.usable_by(person).filter(pk=service_id).exists()

    def people_who_may_use(self, service_id: uuid.UUID) -> QuerySet[User]:
        service = Service.objects.filter(pk=service_id, is_enabled=True).first()
        return User.objects.none() if service is None else service.people()


def _can_be_open(person: User, service: Service) -> bool:
    return service.is_enabled and person.is_active and person.organization_id == service.organization_id


def _named_in_rules(pairs: set[tuple[uuid.UUID, uuid.UUID]]) -> set[tuple[uuid.UUID, uuid.UUID]]:
    """The pairs of people and services where an access rule names the person or one of their groups."""
    people, services = {person for person, _ in pairs}, {service for _, service in pairs}
    rules = ServiceRule.objects.filter(service__in=services)
    named = set(rules.filter(user__in=people).values_list("user", "service"))
    of_groups = Group.members.through.objects.filter(user__in=people, group__in=rules.values("group"))
    services_of: dict[uuid.UUID, set[uuid.UUID]] = {}
    for person_id, group_id in of_groups.values_list("user", "group"):
        services_of.setdefault(group_id, set()).add(person_id)
    in_groups = rules.filter(group__in=services_of).values_list("group", "service") if services_of else ()
    return named | {(person, service) for group, service in in_groups for person in services_of[group]}
