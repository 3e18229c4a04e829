"""What tokens know of services (accounts/services_for_tokens.py)."""

import uuid
from contextlib import suppress

from django.db.models import Q, QuerySet

from accounts.models import User
from accounts.services_for_tokens import ServicesForTokens
from core import ids
from core.db.locks import lock_if_exists
from gateway.models import Service


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

    def may_use(self, person: User, service_id: uuid.UUID) -> bool:
        return Service.objects.usable_by(person).filter(pk=service_id).exists()

    def people_who_may_use(self, service_id: uuid.UUID) -> QuerySet[User]:
        service = Service.objects.filter(pk=service_id, is_enabled=True).first()
        return User.objects.none() if service is None else service.people()
