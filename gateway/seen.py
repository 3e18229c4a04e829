"""Fingerprints of what forms and the API show of a service (`core/seen.py`)."""

from collections.abc import Iterable

from core.seen import fingerprint
from gateway.models import Service, ServiceRule


def of_service(service: Service) -> str:
    """All that its form and `PATCH /services/{id}` change."""
    shown = [
        service.name, service.address, service.description, service.check_by, service.scopes, service.rules,
        service.site_roles, service.needs_approval, service.allows_sessions, service.is_enabled,
    ]  # fmt: skip
    return fingerprint("service", service.pk, *shown)


def of_access(service: Service, rules: Iterable[ServiceRule]) -> str:
    subjects = sorted(str(rule.user_id or rule.group_id) for rule in rules)
    return fingerprint("access to service", service.pk, subjects)
