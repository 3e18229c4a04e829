"""The policy, a change of it and the consequences of the change, in words."""

from collections.abc import Iterator

from django.utils.translation import gettext, gettext_lazy, ngettext, pgettext

from accounts.forms import PolicyForm
from accounts.models import POLICY_FIELDS, Organization, ServiceTokenCreators
from accounts.roles import SiteRole
from core.api.scopes import BY_ID
from core.text import Text, counted, grouped
from tokens.policy import rules
from tokens.policy.preview import SOON, Effect, Review

# Labels of the form that end with a unit. Here, the value has it.
LABELS_WITHOUT_UNIT: dict[str, Text] = {
    "max_token_lifetime_days": gettext_lazy("Longest lifetime of a token"),
    "max_service_token_lifetime_days": gettext_lazy("Longest lifetime of a service account's token"),
    "max_replacement_overlap_hours": gettext_lazy("Longest time that a replaced token works on"),
    "approval_lifetime_days": gettext_lazy("Lifetime above which tokens need approval"),
    "log_retention_days": gettext_lazy("How long both logs are kept"),
}
APPROVAL_FIELDS = ("approval_scopes", "approval_lifetime_days", "approval_for_service_accounts")


def in_words(organization: Organization) -> dict[str, str]:
    """Each field's label with its value, in the order of the form."""
    unused_days = organization.unused_tokens_end_after_days
    orphaned_days = organization.orphaned_service_tokens_end_after_days
    texts = {
        "max_token_lifetime_days": _days(organization.max_token_lifetime_days),
        "allowed_scopes": ", ".join(str(BY_ID[scope].label) for scope in organization.allowed_scopes.split()),
        "max_live_tokens": str(organization.max_live_tokens),
        "unused_tokens_end_after_days": gettext("Never") if unused_days is None else _days(unused_days),
        "token_networks": _networks(organization.token_networks),
        "max_replacement_overlap_hours": _hours(organization.max_replacement_overlap_hours),
        "approval_scopes": ", ".join(str(BY_ID[scope].label) for scope in organization.approval_scopes.split())
        or pgettext("scopes", "None"),
        "approval_lifetime_days": pgettext("lifetime", "No limit")
        if organization.approval_lifetime_days is None
        else _days(organization.approval_lifetime_days),
        "approval_for_service_accounts": _yes_or_no(organization.approval_for_service_accounts),
        "two_factor_roles": _site_roles(organization.two_factor_roles),
        "sign_in_networks": _networks(organization.sign_in_networks),
        "sign_in_network_roles": _site_roles(organization.sign_in_network_roles),
        "max_service_token_lifetime_days": _days(organization.max_service_token_lifetime_days),
        "service_token_creators": str(ServiceTokenCreators(organization.service_token_creators).label),
        "orphaned_service_tokens_end_after_days": gettext("Never") if orphaned_days is None else _days(orphaned_days),
        "log_retention_days": _days(organization.log_retention_days),
    }
    return {_label(field): texts[field] for field in POLICY_FIELDS}


def _label(field: str) -> str:
    return str(LABELS_WITHOUT_UNIT.get(field, PolicyForm.base_fields[field].label))


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
        yield gettext("Unused tokens are expired within the hour, and their owners get a mail.")
    if effect.by_rule[rules.ORPHANED.id]:
        yield gettext("Tokens of orphaned service accounts are expired within the hour, and Administrators get a mail.")
    if effect.unblocked_tokens:
        yield ngettext(
            "%(count)s token that the policy blocks now will work again.",
            "%(count)s tokens that the policy blocks now will work again.",
            effect.unblocked_tokens,
        ) % {"count": grouped(effect.unblocked_tokens)}
    if effect.unused_soon:
        yield ngettext(
            "%(count)s token will expire as unused within %(days)s days, unless somebody uses them.",
            "%(count)s tokens will expire as unused within %(days)s days, unless somebody uses them.",
            effect.unused_soon,
        ) % {"count": grouped(effect.unused_soon), "days": SOON.days}
    if effect.people_to_set_up_two_factor:
        yield ngettext(
            "%(count)s person must set up two-factor before doing anything else in the portal.",
            "%(count)s people must set up two-factor before doing anything else in the portal.",
            effect.people_to_set_up_two_factor,
        ) % {"count": grouped(effect.people_to_set_up_two_factor)}
    if effect.people_above_max_live_tokens:
        yield ngettext(
            "%(count)s person over the new limit keeps their tokens but can't create more.",
            "%(count)s people over the new limit keep their tokens but can't create more.",
            effect.people_above_max_live_tokens,
        ) % {"count": grouped(effect.people_above_max_live_tokens)}
    if effect.tokens_used_outside:
        yield ngettext(
            "%(count)s live token was last used from outside the new networks. From there, it will be refused.",
            "%(count)s live tokens were last used from outside the new networks. From there, they will be refused.",
            effect.tokens_used_outside,
        ) % {"count": grouped(effect.tokens_used_outside)}
    if effect.people_signed_in_outside:
        yield ngettext(
            "%(count)s person is signed in outside the new networks. Their session will be refused there.",
            "%(count)s people are signed in outside the new networks. Their sessions will be refused there.",
            effect.people_signed_in_outside,
        ) % {"count": grouped(effect.people_signed_in_outside)}
    if review.after.max_replacement_overlap_hours < review.before.max_replacement_overlap_hours:
        yield gettext("Tokens that are being replaced now keep their end.")
    if any(getattr(review.after, field) != getattr(review.before, field) for field in APPROVAL_FIELDS):
        yield gettext(
            "The rules of approval apply to new tokens only. Existing tokens work on, but those that would need "
            "approval can't be replaced."
        )
    kept = review.after.log_retention_days
    if kept < review.before.log_retention_days:
        yield ngettext(
            "Entries older than %(count)s day are permanently removed from both logs within a day.",
            "Entries older than %(count)s days are permanently removed from both logs within a day.",
            kept,
        ) % {"count": grouped(kept)}


def blocked_tokens(effect: Effect) -> str:
    """`12 tokens of 4 people will be blocked from their next use: 7 have a scope that is ...`"""
    if not effect.blocked_tokens:
        return gettext("No token that works now will be blocked.")
    parts = [rule.tells(count) for rule in rules.RULES if (count := effect.by_rule[rule.id])]
    # Translators: such as “12 tokens of 4 people will be blocked from their next use: 7 have a scope that is not ...”
    sentence = ngettext(
        "%(tokens)s of %(people)s will be blocked from their next use: %(reasons)s.",
        "%(tokens)s of %(people)s will be blocked from their next use: %(reasons)s.",
        effect.blocked_tokens,
    ) % {
        "tokens": counted(effect.blocked_tokens, "token", "tokens"),
        "people": counted(effect.blocked_people, "person", "people"),
        "reasons": ", ".join(parts),
    }
    if sum(effect.by_rule.values()) > effect.blocked_tokens:
        return " ".join([sentence, gettext("A token that breaks several rules is counted for each of them.")])
    return sentence


def _networks(networks: str) -> str:
    return ", ".join(networks.split()) or pgettext("networks", "Everywhere")


def _site_roles(ids: str) -> str:
    return ", ".join(str(SiteRole(role).label) for role in ids.split()) or pgettext("site roles", "None")


def _yes_or_no(value: bool) -> str:
    return gettext("Yes") if value else gettext("No")


def _days(number: int) -> str:
    return counted(number, "day", "days")


def _hours(number: int) -> str:
    return counted(number, "hour", "hours")
