"""What people who manage the organization do with trust rules. Pages and API call these.

A rule makes tokens without a person, so creating and changing one asks again who you are, and tokens can't do it.
"""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils.translation import gettext, gettext_lazy, ngettext

from accounts.models import User
from accounts.pipelines_for_tokens import pipelines_for_tokens
from accounts.privileges import Privilege, require_proof
from accounts.roles import Ability
from accounts.services.guard import allowed
from auditlog.actions import Action
from auditlog.record import record
from core.api import scopes
from core.db.locks import lock_if_exists
from core.errors import DomainError, NameTaken, NotAllowed, errors_of
from core.seen import check_seen
from core.setting_readers import is_issuer
from core.text import NOT_PRINTABLE
from tokens import seen as fingerprints
from tokens.models import TrustRule
from tokens.names import clean_name, name_key
from tokens.pipeline_choice import check_choice, unknown_pipelines
from tokens.trust import issuers, keys
from tokens.trust.patterns import clean_patterns

MOST_RULES = 100
LONGEST_MINUTES = 60
# A token of an exchange must not outlive it, and nobody provisions people from a CI job.
SCOPES = tuple(scope for scope in scopes.SCOPES if scope not in {scopes.SCIM, scopes.ROTATE})
CHOICES = [choice for choice in scopes.CHOICES if choice[0] in {scope.id for scope in SCOPES}]
NAME_TAKEN = gettext_lazy("Your organization has a trust rule with this name already.")
TEXT_LIMIT = 200


class TooManyTrustRules(DomainError):
    code = "too_many_trust_rules"


def create_rule(*, actor: User, request: HttpRequest | None = None, **values: Any) -> TrustRule:
    """``values``: ``name``, ``issuer``, ``audience``, ``claims``, ``account``, ``scopes``, ``pipelines`` (ids, ``None``
    for all), ``lifetime_minutes`` and ``is_enabled``. Raises ``NotAllowed``, ``TooManyTrustRules``, ``NameTaken``, or
    ``ValidationError`` by field."""
    require_proof(Privilege.CHANGE_TRUST_RULES, request)
    with transaction.atomic():
        # It locks the organization, so that two at once count each other.
        person = allowed(actor, Ability.MANAGE_ORGANIZATION)
        home = person.own_organization
        if TrustRule.objects.filter(organization=home).count() >= MOST_RULES:
            raise TooManyTrustRules(
                ngettext(
                    "An organization can have %(count)s trust rule. Delete one first.",
                    "An organization can have %(count)s trust rules. Delete one first.",
                    MOST_RULES,
                )
                % {"count": MOST_RULES}
            )
        rule = TrustRule(organization=home)
        _take(rule, person, values)
        _save(rule, is_new=True)
        record(actor=actor, action=Action.TRUST_RULE_CREATED, target=rule, request=request, changes=_details(rule))
    return rule


def change_rule(
    *, actor: User, rule: TrustRule, seen: str | None = None, request: HttpRequest | None = None, **values: Any
) -> TrustRule:
    """Changes those values that are given. ``seen``: `tokens.seen.of_trust_rule`. Raises what `create_rule` raises, and
    ``ChangedMeanwhile``."""
    require_proof(Privilege.CHANGE_TRUST_RULES, request)
    with transaction.atomic():
        person, locked = _locked(actor, rule)
        check_seen(seen, fingerprints.of_trust_rule(locked))
        before = _details(locked)
        _take(locked, person, values)
        after = _details(locked)
        changes = {name: {"from": before[name], "to": value} for name, value in after.items() if before[name] != value}
        if changes:
            _save(locked)
            record(actor=actor, action=Action.TRUST_RULE_CHANGED, target=locked, request=request, changes=changes)
    return locked


def delete_rule(*, actor: User, rule: TrustRule, request: HttpRequest | None = None) -> None:
    """The tokens that exist stay until they end, in at most an hour."""
    require_proof(Privilege.CHANGE_TRUST_RULES, request)
    with transaction.atomic():
        _person, locked = _locked(actor, rule)
        record(actor=actor, action=Action.TRUST_RULE_DELETED, target=locked, request=request, issuer=locked.issuer)
        locked.delete()


def _locked(actor: User, rule: TrustRule) -> tuple[User, TrustRule]:
    person = allowed(actor, Ability.MANAGE_ORGANIZATION)
    found = TrustRule.objects.manageable_by(person)
    locked: TrustRule | None = lock_if_exists(found, rule.pk, blocks_references=True)
    if locked is None:
        raise NotAllowed
    return person, locked


def _details(rule: TrustRule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "issuer": rule.issuer,
        "audience": rule.audience,
        "claims": ", ".join(f"{claim} = {pattern}" for claim, pattern in rule.claims.items()),
        "service_account": rule.account.email,
        "scope": rule.scope,
        "pipelines": rule.pipeline_ids,
        "lifetime_minutes": rule.lifetime_minutes,
        "is_enabled": rule.is_enabled,
    }


def _take(rule: TrustRule, person: User, values: Mapping[str, Any]) -> None:
    """Sets the values, checked. Raises ``ValidationError`` by field: all that are wrong."""
    errors: dict[str, Any] = {}
    for name, value in values.items():
        try:
            with errors_of(name):
                _TAKERS[name](rule, person, value)
        except ValidationError as error:
            errors |= error.message_dict
    if not errors and (missing := _missing_owner(rule)):
        errors["claims"] = [missing]
    if errors:
        raise ValidationError(errors)


def _take_name(rule: TrustRule, person: User, value: str) -> None:
    rule.name = clean_name(value)
    rule.name_key = name_key(rule.name)


def _take_issuer(rule: TrustRule, person: User, value: str) -> None:
    if len(value) > TEXT_LIMIT or not is_issuer(value):
        raise ValidationError(gettext("Enter an address like https://id.example.com/realm: https, without ? and #."))
    if not keys.may_ask(value):
        hosts = ", ".join(settings.OIDC_ORGANIZATION_HOSTS)
        raise ValidationError(gettext("The operator allows only these hosts: %(hosts)s.") % {"hosts": hosts})
    rule.issuer = value


def _take_audience(rule: TrustRule, person: User, value: str) -> None:
    if not value.strip() or len(value) > TEXT_LIMIT or not value.isprintable():
        raise ValidationError(NOT_PRINTABLE)
    rule.audience = value.strip()


def _take_claims(rule: TrustRule, person: User, value: Mapping[str, str]) -> None:
    rule.claims = clean_patterns(value)


def _take_account(rule: TrustRule, person: User, value: User) -> None:
    found = User.objects.service_accounts().filter(pk=value.pk, organization_id=rule.organization_id).first()
    if found is None:
        raise ValidationError(gettext("Choose a service account of your organization."))
    rule.account = found


def _take_scopes(rule: TrustRule, person: User, value: list[scopes.Scope]) -> None:
    if not value or set(value) - set(SCOPES):
        raise ValidationError(gettext("Choose at least one of the scopes in the list."))
    rule.scope = scopes.as_string(value)


def _take_pipelines(rule: TrustRule, person: User, value: list[uuid.UUID] | None) -> None:
    chosen = None if value is None else check_choice(value)
    if chosen is not None:
        kept = set(rule.pipeline_ids or ())
        new = [pipeline_id for pipeline_id in chosen if str(pipeline_id) not in kept]
        known = {pipeline.id for pipeline in pipelines_for_tokens().seen_by(person, new)}
        if missing := [str(pipeline_id) for pipeline_id in new if pipeline_id not in known]:
            raise unknown_pipelines(missing)
    rule.pipeline_ids = None if chosen is None else sorted(map(str, chosen))


def _take_lifetime(rule: TrustRule, person: User, value: int) -> None:
    if not 1 <= value <= LONGEST_MINUTES:
        raise ValidationError(gettext("Choose 1 to %(most)s minutes.") % {"most": LONGEST_MINUTES})
    rule.lifetime_minutes = value


def _take_enabled(rule: TrustRule, person: User, value: bool) -> None:
    rule.is_enabled = value


_TAKERS: dict[str, Callable[[TrustRule, User, Any], None]] = {
    "name": _take_name,
    "issuer": _take_issuer,
    "audience": _take_audience,
    "claims": _take_claims,
    "account": _take_account,
    "scopes": _take_scopes,
    "pipelines": _take_pipelines,
    "lifetime_minutes": _take_lifetime,
    "is_enabled": _take_enabled,
}


def _missing_owner(rule: TrustRule) -> str:
    """What a rule for an issuer with many customers lacks: a claim that names one of them. Empty if nothing."""
    owners = issuers.owners_of(rule.issuer)
    for claim, position in owners.items():
        segments = rule.claims.get(claim, "").replace(":", "/").split("/")
        if position < len(segments) and segments[position] and "*" not in "".join(segments[: position + 1]):
            return ""
    if not owners:
        return ""
    said = gettext("Everyone can have jobs at this issuer. Name yours with one of these claims, without *: %(claims)s.")
    return said % {"claims": ", ".join(owners)}


def _save(rule: TrustRule, *, is_new: bool = False) -> None:
    try:
        with transaction.atomic():
            rule.save(force_insert=is_new)
    except IntegrityError:
        raise NameTaken(NAME_TAKEN) from None
