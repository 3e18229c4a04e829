"""The fingerprint of what the form and the API show of a token (`core/seen.py`)."""

from core.seen import fingerprint
from tokens.models import Token, TrustRule


def of_texts(token: Token) -> str:
    """Name and description, which are all that can change."""
    return fingerprint("token texts", token.pk, token.name, token.description)


def of_trust_rule(rule: TrustRule) -> str:
    """All that people change."""
    shown = [
        rule.name, rule.issuer, rule.audience, rule.claims, rule.account_id, rule.scope, rule.pipeline_ids,
        rule.lifetime_minutes, rule.is_enabled,
    ]  # fmt: skip
    return fingerprint("trust rule", rule.pk, *shown)
