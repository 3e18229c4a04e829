"""What Administrators do with services. Pages, API and Django admin call these.

A service decides what tokens open, and its secret lets it ask about them. So each change asks again who you are, and
tokens can't do it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy, ngettext
from django.views.decorators.debug import sensitive_variables

from accounts.models import Group, User
from accounts.privileges import Privilege, require_proof
from accounts.roles import Ability
from accounts.services.guard import allowed, check_subjects
from auditlog.actions import Action
from auditlog.record import record
from core.db.locks import lock_if_exists
from core.errors import DomainError, NameTaken, NotAllowed
from core.seen import check_seen
from gateway import seen as fingerprints
from gateway import values as service_values
from gateway.models import RULES_LIMIT, SERVICES_LIMIT, Service, ServiceCredential, ServiceRule
from gateway.secrets import digest_of, new_secret

# How long the old secret of a service works after it was replaced.
OVERLAP_HOURS = 24
LONGEST_OVERLAP_HOURS = 168
# Secrets that no longer work. Older ones are in the activity log.
ENDED_SECRETS_KEPT = 10

NAME_TAKEN = gettext_lazy("Your organization has a service with this name already.")
SLUG_TAKEN = gettext_lazy("Your organization has a service with this short name already.")


class TooManyServices(DomainError):
    code = "too_many_services"


class ServiceInUse(DomainError):
    code = "service_in_use"
    message = gettext_lazy("Tokens were made for this service, so it can't be deleted. Switch it off instead.")


class SecretHasEnded(DomainError):
    code = "secret_ended"
    message = gettext_lazy("This secret no longer works.")


def create_service(*, actor: User, request: HttpRequest | None = None, **values: Any) -> Service:
    """``values``: ``name``, ``slug``, ``address``, ``description``, ``check_by``, ``scopes`` (objects as in
    `Service.scopes`), ``rules`` (text), ``site_roles`` (a list), ``needs_approval`` and ``allows_sessions``.

    Raises ``NotAllowed``, ``TooManyServices``, ``NameTaken``, or ``ValidationError`` by field.
    """
    require_proof(Privilege.CHANGE_SERVICES, request)
    with transaction.atomic():
        # It locks the organization, so that two at once count each other.
        person = allowed(actor, Ability.MANAGE_ORGANIZATION)
        home = person.own_organization
        _check_count(Service.objects.filter(organization=home).count())
        service = Service(organization=home)
        service_values.take(service, values)
        _save(service, is_new=True)
        details = {name: value for name, value in _details(service).items() if value}
        record(actor=actor, action=Action.SERVICE_CREATED, target=service, request=request, **details)
    return service


def change_service(
    *, actor: User, service: Service, seen: str | None = None, request: HttpRequest | None = None, **values: Any
) -> Service:
    """Changes those values that are given, which can't include ``slug``. It applies from the next request on.

    ``seen``: `gateway.seen.of_service`. Raises what `create_service` raises, and ``ChangedMeanwhile``.
    """
    require_proof(Privilege.CHANGE_SERVICES, request)
    if "slug" in values:
        raise ValidationError({"slug": gettext("The short name of a service never changes.")})
    with transaction.atomic():
        locked = _locked(actor, service, blocks_references="name" in values)
        check_seen(seen, fingerprints.of_service(locked))
        before = _details(locked)
        service_values.take(locked, values)
        after = _details(locked)
        changes = {name: {"from": before[name], "to": value} for name, value in after.items() if before[name] != value}
        if changes:
            _save(locked)
            record(actor=actor, action=Action.SERVICE_CHANGED, target=locked, request=request, **changes)
    return locked


def switch_off(*, actor: User, service: Service, request: HttpRequest | None = None) -> Service:
    """From the next request on, its tokens are refused. They work again if it is switched on."""
    return _switch(actor, service, request, is_enabled=False)


def switch_on(*, actor: User, service: Service, request: HttpRequest | None = None) -> Service:
    return _switch(actor, service, request, is_enabled=True)


def delete_service(*, actor: User, service: Service, request: HttpRequest | None = None) -> None:
    """Raises ``NotAllowed``, or ``ServiceInUse`` if a token was ever made for it."""
    require_proof(Privilege.CHANGE_SERVICES, request)
    with transaction.atomic():
        locked = _locked(actor, service, blocks_references=True)
        record(actor=actor, action=Action.SERVICE_DELETED, target=locked, request=request)
        try:
            locked.delete()
        except ProtectedError:
            raise ServiceInUse from None


def add_access(
    *, actor: User, service: Service, subject: User | Group, request: HttpRequest | None = None
) -> ServiceRule:
    """Lets a person or a group use the service. A rule that exists already is no error. Raises ``NotAllowed`` or
    ``ValidationError``."""
    require_proof(Privilege.CHANGE_SERVICES, request)
    with transaction.atomic():
        locked = _locked(actor, service)
        check_subjects(locked.organization_id, [subject])
        found = locked.access_rules.filter(**_key(subject)).first()
        if found is None:
            if locked.access_rules.count() >= RULES_LIMIT:
                raise ValidationError({"rules": _too_many_rules()})
            found = locked.access_rules.create(**_key(subject))
            _record_access(actor, locked, request, added=[found.subject_name])
    return found


def remove_access(*, actor: User, service: Service, rule: ServiceRule, request: HttpRequest | None = None) -> None:
    """A rule that no longer exists is no error. Raises ``NotAllowed``."""
    require_proof(Privilege.CHANGE_SERVICES, request)
    with transaction.atomic():
        locked = _locked(actor, service)
        found = locked.access_rules.filter(pk=rule.pk).first()
        if found is not None:
            found.delete()
            _record_access(actor, locked, request, removed=[found.subject_name])


def set_access(
    *,
    actor: User,
    service: Service,
    subjects: Sequence[User | Group],
    seen: str | None = None,
    request: HttpRequest | None = None,
) -> Service:
    """Replaces all people and groups that may use the service. ``seen``: `gateway.seen.of_access`.

    Raises ``NotAllowed``, ``ChangedMeanwhile`` or ``ValidationError``; then nothing is changed.
    """
    require_proof(Privilege.CHANGE_SERVICES, request)
    with transaction.atomic():
        locked = _locked(actor, service)
        had = {rule.user_id or rule.group_id: rule for rule in locked.access_rules.select_related("user", "group")}
        check_seen(seen, fingerprints.of_access(locked, had.values()))
        wanted = {subject.pk: subject for subject in subjects}
        _check_list(subjects)
        check_subjects(locked.organization_id, subjects)
        removed = [rule for pk, rule in had.items() if pk not in wanted]
        added = [subject for pk, subject in wanted.items() if pk not in had]
        ServiceRule.objects.filter(pk__in=[rule.pk for rule in removed]).delete()
        ServiceRule.objects.bulk_create(ServiceRule(service=locked, **_key(subject)) for subject in added)
        names = {
            "added": sorted(str(subject) for subject in added),
            "removed": sorted(rule.subject_name for rule in removed),
        }
        if added or removed:
            _record_access(actor, locked, request, **names)
    return locked


@sensitive_variables()
def create_secret(
    *, actor: User, service: Service, overlap_hours: int = OVERLAP_HOURS, request: HttpRequest | None = None
) -> tuple[ServiceCredential, str]:
    """Returns the first secret of the service, or one that replaces the current one. It is shown this once.

    The replaced one works for ``overlap_hours`` more. Older ones end now, so at most two work at once. Raises
    ``NotAllowed``, or ``ValidationError`` by field.
    """
    require_proof(Privilege.CHANGE_SERVICES, request)
    if not 0 <= overlap_hours <= LONGEST_OVERLAP_HOURS:
        said = gettext("Choose 0 to %(most)s hours.") % {"most": LONGEST_OVERLAP_HOURS}
        raise ValidationError({"overlap_hours": said})
    with transaction.atomic():
        locked, secret, now = _locked(actor, service), new_secret(), timezone.now()
        ends_at = now + timedelta(hours=overlap_hours)
        locked.credentials.working(now).filter(ends_at__isnull=False).update(ends_at=now)
        has_replaced = locked.credentials.current().update(ends_at=ends_at)
        made = locked.credentials.create(digest=digest_of(secret), created_at=now)
        _forget_old_secrets(locked, now)
        details = {"works_until": ends_at.isoformat()} if has_replaced else {}
        record(actor=actor, action=Action.SERVICE_SECRET_CREATED, target=locked, request=request, **details)
    return made, secret


def end_secret(
    *, actor: User, service: Service, secret: ServiceCredential, request: HttpRequest | None = None
) -> ServiceCredential:
    """It stops working now. Raises ``NotAllowed`` or ``SecretHasEnded``."""
    require_proof(Privilege.CHANGE_SERVICES, request)
    with transaction.atomic():
        locked, now = _locked(actor, service), timezone.now()
        found = locked.credentials.working(now).filter(pk=secret.pk).first()
        if found is None:
            raise SecretHasEnded
        found.ends_at = now
        found.save(update_fields=["ends_at"])
        details = {"created_at": found.created_at.isoformat()}
        record(actor=actor, action=Action.SERVICE_SECRET_ENDED, target=locked, request=request, **details)
    return found


def _switch(actor: User, service: Service, request: HttpRequest | None, *, is_enabled: bool) -> Service:
    require_proof(Privilege.CHANGE_SERVICES, request)
    action = Action.SERVICE_SWITCHED_ON if is_enabled else Action.SERVICE_SWITCHED_OFF
    with transaction.atomic():
        locked = _locked(actor, service)
        if locked.is_enabled != is_enabled:
            locked.is_enabled = is_enabled
            locked.save(update_fields=["is_enabled"])
            record(actor=actor, action=action, target=locked, request=request)
    return locked


def _locked(actor: User, service: Service, *, blocks_references: bool = False) -> Service:
    person = allowed(actor, Ability.MANAGE_ORGANIZATION)
    found = Service.objects.manageable_by(person)
    locked: Service | None = lock_if_exists(found, service.pk, blocks_references=blocks_references)
    if locked is None:
        raise NotAllowed
    return locked


def _save(service: Service, *, is_new: bool = False) -> None:
    try:
        with transaction.atomic():
            service.save(force_insert=is_new)
    except IntegrityError:
        raise _taken(service) from None


def _taken(service: Service) -> NameTaken:
    others = Service.objects.filter(organization_id=service.organization_id).exclude(pk=service.pk)
    if others.filter(name_key=service.name_key).exists():
        return NameTaken(NAME_TAKEN)
    return NameTaken(SLUG_TAKEN, field="slug")


def _details(service: Service) -> dict[str, Any]:
    """For the activity log."""
    return {
        "name": service.name,
        "short_name": service.slug,
        "address": service.address,
        "description": service.description,
        "check_by": service.check_by.replace("_", " "),
        "scopes": [_scope_in_words(scope) for scope in service.scopes],
        "path_rules": service.rules.splitlines(),
        "site_roles": service.site_roles,
        "needs_approval": service.needs_approval,
        "allows_sessions": service.allows_sessions,
    }


def _scope_in_words(scope: dict[str, Any]) -> str:
    words = [scope["name"], scope["label"], scope["description"], "only reads" if scope["only_reads"] else ""]
    return " | ".join(filter(None, words))


def _forget_old_secrets(service: Service, now: datetime) -> None:
    ended = service.credentials.filter(ends_at__lte=now).order_by("-ends_at", "pk")
    forgotten = list(ended.values_list("pk", flat=True)[ENDED_SECRETS_KEPT:])
    ServiceCredential.objects.filter(pk__in=forgotten).delete()


def _check_count(count: int) -> None:
    if count >= SERVICES_LIMIT:
        raise TooManyServices(
            ngettext(
                "An organization can have %(count)s service. Delete one first.",
                "An organization can have %(count)s services. Delete one first.",
                SERVICES_LIMIT,
            )
            % {"count": SERVICES_LIMIT}
        )


def _check_list(subjects: Sequence[User | Group]) -> None:
    if len(subjects) > RULES_LIMIT:
        raise ValidationError({"rules": _too_many_rules()})
    if len({subject.pk for subject in subjects}) != len(subjects):
        raise ValidationError({"rules": gettext("A person or a group appears twice.")})


def _key(subject: User | Group) -> dict[str, Any]:
    return {"group" if isinstance(subject, Group) else "user": subject}


def _too_many_rules() -> str:
    return ngettext(
        "A service has at most %(limit)s access rule. Use groups.",
        "A service has at most %(limit)s access rules. Use groups.",
        RULES_LIMIT,
    ) % {"limit": RULES_LIMIT}


def _record_access(actor: User, service: Service, request: HttpRequest | None, **names: list[str]) -> None:
    details = {name: value for name, value in names.items() if value}
    record(actor=actor, action=Action.SERVICE_ACCESS_CHANGED, target=service, request=request, **details)
