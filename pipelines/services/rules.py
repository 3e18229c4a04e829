"""Access rules: who gets which role on one pipeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext, gettext_lazy, ngettext, override

from accounts.models import Group, User
from accounts.services.guard import check_subjects
from auditlog.actions import Action
from auditlog.record import record
from core.seen import ChangedMeanwhile, check_seen
from pipelines import seen as fingerprints
from pipelines.access import ItemRole, PipelineAction, allowed_actions, may_grant
from pipelines.models import RULES_LIMIT, AccessRule, Pipeline
from pipelines.services.guard import fresh, locked_for

ADMINISTRATORS_ONLY = gettext_lazy(
    "Only an Administrator of the pipeline can add, change or remove the role Administrator."
)


@dataclass(frozen=True)
class RuleInput:
    """A role for a person or for a group."""

    subject: User | Group
    role: ItemRole


def set_access_rule(
    *,
    actor: User,
    pipeline: Pipeline,
    subject: User | Group,
    role: ItemRole,
    seen: str | None = None,
    request: HttpRequest | None = None,
) -> AccessRule:
    """Gives ``subject`` the role and replaces an earlier one.

    ``seen``: `pipelines.seen.of_rules`, which is only compared if there is an earlier one. Raises ``NotAllowed``,
    ``ChangedMeanwhile`` or ``ValidationError``.
    """
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.EDIT_ACCESS_RULES)
        actor_may = allowed_actions(fresh(actor), locked)
        check_subjects(locked.organization_id, [subject])
        rule = locked.access_rules.filter(**_key(subject)).first()
        if rule is not None and rule.role != role:
            check_seen(seen, fingerprints.of_rules(locked, locked.access_rules.all()))
        if rule is None:
            if locked.access_rules.count() >= RULES_LIMIT:
                raise ValidationError({"role": _too_many()})
            rule = AccessRule(pipeline=locked, **_key(subject))
        _give(actor, actor_may, rule, role, request)
    return rule


def change_access_rule(
    *,
    actor: User,
    pipeline: Pipeline,
    rule: AccessRule,
    role: ItemRole,
    seen: str | None = None,
    request: HttpRequest | None = None,
) -> AccessRule:
    """Changes the role of a rule. ``seen``: `pipelines.seen.of_rule`.

    Raises ``NotAllowed``, ``ValidationError``, or ``ChangedMeanwhile``, also if the rule no longer exists.
    """
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.EDIT_ACCESS_RULES)
        actor_may = allowed_actions(fresh(actor), locked)
        found = locked.access_rules.select_related("user", "group").filter(pk=rule.pk).first()
        if found is None:
            raise ChangedMeanwhile
        if found.role != role:
            check_seen(seen, fingerprints.of_rule(found))
        _give(actor, actor_may, found, role, request)
    return found


def _give(
    actor: User, actor_may: frozenset[PipelineAction], rule: AccessRule, role: ItemRole, request: HttpRequest | None
) -> None:
    before = rule.role
    if before == role:
        return
    _check_grant(actor_may, [role, before])
    rule.role = role
    rule.save()
    _record(actor, rule.pipeline, request, [f"{rule.subject_name}: {_words(before)} → {_words(role)}"])


def remove_access_rule(
    *, actor: User, pipeline: Pipeline, rule: AccessRule, request: HttpRequest | None = None
) -> None:
    """Removes a rule. Without rules a pipeline is open to everyone. Raises ``NotAllowed`` or ``ValidationError``;
    a rule that no longer exists is no error."""
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.EDIT_ACCESS_RULES)
        found = locked.access_rules.filter(pk=rule.pk).first()
        if found is None:
            return
        _check_grant(allowed_actions(fresh(actor), locked), [found.role])
        found.delete()
        _record(actor, locked, request, [f"{found.subject_name}: {_words(found.role)} → {_words('')}"])


def replace_access_rules(
    *,
    actor: User,
    pipeline: Pipeline,
    rules: Sequence[RuleInput],
    seen: str | None = None,
    request: HttpRequest | None = None,
) -> Pipeline:
    """Replaces all rules of the pipeline. ``seen``: `pipelines.seen.of_rules`.

    Raises ``NotAllowed``, ``ChangedMeanwhile`` or ``ValidationError``; then none is changed.
    """
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.EDIT_ACCESS_RULES)
        # Check before any change: nobody can give themselves the right to add rules.
        actor_may = allowed_actions(fresh(actor), locked)
        had = {_identity(rule): rule for rule in locked.access_rules.select_related("user", "group")}
        check_seen(seen, fingerprints.of_rules(locked, had.values()))
        if len(rules) > RULES_LIMIT:
            raise ValidationError({"rules": _too_many()})
        wanted = {(type(rule.subject).__name__, rule.subject.pk): rule for rule in rules}
        if len(wanted) != len(rules):
            raise ValidationError({"rules": gettext("A person or a group appears twice.")})
        check_subjects(locked.organization_id, [rule.subject for rule in rules])
        changes: list[str] = []
        touched: list[str] = []
        for identity, rule in had.items():
            if identity not in wanted:
                touched.append(rule.role)
                changes.append(f"{rule.subject_name}: {_words(rule.role)} → {_words('')}")
                rule.delete()
        for identity, new in wanted.items():
            old = had.get(identity)
            if old is not None and old.role == new.role:
                continue
            touched += [new.role, old.role if old else ""]
            changes.append(f"{new.subject}: {_words(old.role if old else '')} → {_words(new.role)}")
            AccessRule.objects.update_or_create(pipeline=locked, **_key(new.subject), defaults={"role": new.role})
        _check_grant(actor_may, touched)
        if changes:
            _record(actor, locked, request, changes)
    return locked


def _check_grant(actor_may: frozenset[PipelineAction], roles: Sequence[str]) -> None:
    if not all(may_grant(actor_may, ItemRole(role)) for role in roles if role):
        raise ValidationError({"role": ADMINISTRATORS_ONLY})


def _key(subject: User | Group) -> dict[str, Any]:
    return {"group" if isinstance(subject, Group) else "user": subject}


def _identity(rule: AccessRule) -> tuple[str, object]:
    return ("User", rule.user_id) if rule.user_id else ("Group", rule.group_id)


def _too_many() -> str:
    return ngettext(
        "A pipeline has at most %(limit)s rule. Use groups.",
        "A pipeline has at most %(limit)s rules. Use groups.",
        RULES_LIMIT,
    ) % {"limit": RULES_LIMIT}


def _words(role: str) -> str:
    """For the activity log, which stores texts in English."""
    with override("en"):
        return str(ItemRole(role).label) if role else "no role"


def _record(actor: User, pipeline: Pipeline, request: HttpRequest | None, changes: list[str]) -> None:
    record(actor=actor, action=Action.PIPELINE_ACCESS_RULES_CHANGED, target=pipeline, request=request, changes=changes)
