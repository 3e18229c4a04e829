"""The policy, a change of it and the consequences of the change, in words."""

from collections.abc import Iterator

from accounts.forms import PolicyForm
from accounts.models import POLICY_FIELDS, Organization
from accounts.roles import SiteRole
from core.api.scopes import BY_ID
from core.text import counted
from tokens.policy import rules
from tokens.policy.preview import SOON, Effect, Review


def in_words(organization: Organization) -> dict[str, str]:
    """Each field's label with its value, in the order of the form."""
    unused_days = organization.unused_tokens_end_after_days
    texts = {
        "max_token_lifetime_days": _days(organization.max_token_lifetime_days),
        "allowed_scopes": ", ".join(BY_ID[scope].label for scope in organization.allowed_scopes.split()),
        "max_live_tokens": str(organization.max_live_tokens),
        "unused_tokens_end_after_days": "Never" if unused_days is None else _days(unused_days),
        "two_factor_roles": ", ".join(SiteRole(role).label for role in organization.two_factor_roles.split()) or "None",
        "log_retention_days": _days(organization.log_retention_days),
    }
    return {_label(field): texts[field] for field in POLICY_FIELDS}


def _label(field: str) -> str:
    """As on the form; the value already has the unit."""
    return str(PolicyForm.base_fields[field].label).removesuffix(", in days")


def changes_in_words(review: Review) -> list[dict[str, str]]:
    """Each field that changes, as ``label``, ``before`` and ``after``."""
    before, after = in_words(review.before), in_words(review.after)
    return [
        {"label": label, "before": before[label], "after": after[label]}
        for label in after
        if before[label] != after[label]
    ]


def consequences(review: Review) -> Iterator[str]:
    """What the change does, one sentence each."""
    effect = review.effect
    yield blocked_tokens(effect)
    if effect.by_rule[rules.UNUSED.id]:
        yield "Unused tokens are expired within the hour, and their owners get a mail."
    if effect.unblocked_tokens:
        yield f"{counted(effect.unblocked_tokens, 'token', 'tokens')} that the policy blocks now will work again."
    if effect.unused_soon:
        unused = counted(effect.unused_soon, "token", "tokens")
        yield f"{unused} will expire as unused within {SOON.days} days, unless somebody uses them."
    if effect.people_to_set_up_two_factor:
        people = counted(effect.people_to_set_up_two_factor, "person", "people")
        yield f"{people} must set up two-factor before doing anything else in the portal."
    if effect.people_above_max_live_tokens:
        over_the_limit = ("person over the new limit keeps", "people over the new limit keep")
        yield f"{counted(effect.people_above_max_live_tokens, *over_the_limit)} their tokens but can't create more."
    if review.after.log_retention_days < review.before.log_retention_days:
        kept = _days(review.after.log_retention_days)
        yield f"Entries older than {kept} are permanently removed from both logs within a day."


def blocked_tokens(effect: Effect) -> str:
    """`12 tokens of 4 people will be blocked from their next use: 7 have a scope that is ...`"""
    if not effect.blocked_tokens:
        return "No token that works now will be blocked."
    parts = [
        f"{count:,} {rule.of_one if count == 1 else rule.of_many}"
        for rule in rules.RULES
        if (count := effect.by_rule[rule.id])
    ]
    tokens, people = (
        counted(effect.blocked_tokens, "token", "tokens"),
        counted(effect.blocked_people, "person", "people"),
    )
    sentence = f"{tokens} of {people} will be blocked from their next use: {', '.join(parts)}."
    if sum(effect.by_rule.values()) > effect.blocked_tokens:
        sentence += " A token that breaks several rules is counted for each of them."
    return sentence


def _days(number: int) -> str:
    return counted(number, "day", "days")
