"""Exchanges the identity of a CI job for a short token of a service account (RFC 8693).

In order, from cheap to dear: the JWT is read, rules for its issuer are found, the issuer's key checks the signature and
the times, and a rule must match. A strange JWT costs one query, and no call to anyone.
"""

import contextlib
import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_noop
from django.views.decorators.debug import sensitive_variables

from accounts.pipelines_for_tokens import pipelines_for_tokens
from accounts.provider_rules import deciding_claims
from auditlog.actions import Action
from auditlog.record import record
from core.api import scopes
from core.rate_limits import Limit
from tokens import seen as fingerprints
from tokens.approval.rules import why_needed
from tokens.keys.ring import signing_lock
from tokens.models import Token, TokenExchange, TrustRefusals, TrustRule
from tokens.names import MAX_LENGTH
from tokens.policy.rules import scopes_not_allowed
from tokens.services import issue_exchanged_token, locked_policy
from tokens.trust import issuers, keys, subject_token
from tokens.trust.patterns import mismatch
from tokens.trust.subject_token import SubjectTokenRefused

# RFC 8693 section 2.1.
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"

# From one address.
FROM_ADDRESS = Limit("token-exchange-address", amount=60, seconds=60)
# Live tokens of one service account that exchanges made.
MOST_LIVE = 200
LOGGED_EVERY = timedelta(minutes=1)
# Organizations that get an entry for one refused exchange.
MOST_LOGGED = 20

INVALID_REQUEST, INVALID_SCOPE, INVALID_TARGET = "invalid_request", "invalid_scope", "invalid_target"
UNAVAILABLE = "temporarily_unavailable"

AUDIENCE, CLAIM, ACCOUNT, POLICY, SCOPE = "audience", "claims", "service_account", "policy", "scope"
REPLAYED, SEVERAL, NO_KEYS, TOO_MANY, PIPELINES = "replayed", "several", "no_keys", "too_many", "pipelines"
NO_RULE, ORPHANED, APPROVAL = "no_rule", "orphaned", "approval_needed"
# A stranger learns nothing about rules: before the signature is checked, every refusal that depends on them is this.
_UNKNOWN = gettext_noop("No trust rule of this portal accepts this subject token.")
TEXTS = subject_token.TEXTS | {
    NO_RULE: _UNKNOWN,
    AUDIENCE: gettext_noop("The subject token is for another audience."),
    CLAIM: gettext_noop("The claims of the subject token match no trust rule."),
    ACCOUNT: gettext_noop("The service account of the trust rule is deactivated."),
    POLICY: gettext_noop("The organization's policy allows none of the requested scopes."),
    SCOPE: gettext_noop("The trust rule doesn't give the requested scope."),
    REPLAYED: gettext_noop("The subject token was exchanged before. Request a new one for each exchange."),
    SEVERAL: gettext_noop("Rules of several organizations match. Name yours: audience is its short name."),
    NO_KEYS: gettext_noop("The issuer's keys can't be read now. Try again in a minute."),
    TOO_MANY: gettext_noop("The service account has too many live tokens of exchanges. Try again in a minute."),
    ORPHANED: gettext_noop(
        "Nobody is responsible for the service account, and the organization's policy ends the tokens of such accounts."
    ),
    APPROVAL: gettext_noop(
        "The organization's policy asks for an approval of such tokens, which an exchange can't wait for."
    ),
    PIPELINES: gettext_noop("The service account can't use any of the trust rule's pipelines."),
}
_ERRORS = {SCOPE: INVALID_SCOPE, POLICY: INVALID_SCOPE, NO_KEYS: UNAVAILABLE, TOO_MANY: UNAVAILABLE}


class ExchangeRefused(Exception):
    """``error``: the code of RFC 6749 section 5.2 and RFC 8693 section 2.2.2. ``reason`` and ``detail``: for the
    activity log."""

    def __init__(self, reason: str, *, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail
        self.error = _ERRORS.get(reason, INVALID_REQUEST)
        self.description = _UNKNOWN if reason == subject_token.SIGNATURE else TEXTS[reason]


@dataclass(frozen=True)
class Exchanged:
    token: Token
    signed_jwt: str = field(repr=False)

    @property
    def seconds(self) -> int:
        return max(0, math.floor((self.token.expires_at - timezone.now()).total_seconds()))


@sensitive_variables()
def exchange_token(
    *, encoded: str, wanted: Iterable[str] = (), organization: str = "", request: HttpRequest | None = None
) -> Exchanged:
    """``wanted``: scopes, empty for all of the rule. ``organization``: the short name of the only one whose rules
    count.

    Raises ``ExchangeRefused``. Every exchange is logged for the rule's organization, and refusals for those whose rules
    name the issuer and the audience.
    """
    claims: dict[str, Any] | None = None
    trusting: Sequence[TrustRule] = ()
    rule: TrustRule | None = None
    try:
        unverified = subject_token.read(encoded)
        trusting = _trusting(unverified.issuer, organization)
        if not trusting:
            raise ExchangeRefused(NO_RULE)
        claims = _verified(encoded, unverified)
        rule = _matching(trusting, claims)
        with signing_lock(), transaction.atomic():
            return _issue(rule, claims, list(wanted), request)
    except SubjectTokenRefused as error:
        refused = ExchangeRefused(error.reason)
    except ExchangeRefused as error:
        refused = error
    concerned = [rule] if rule else _concerned(trusting, unverified_claims(encoded))
    _log_refusal(concerned, refused, claims, request)
    raise refused


def why_not(rule: TrustRule, claims: Mapping[str, Any]) -> tuple[str, str]:
    """Why these claims don't match the rule: a reason, and the claim that decides if one does. Empty if they match."""
    if claims.get("iss") != rule.issuer:
        return "issuer", "iss"
    if rule.audience not in subject_token.audiences_of(claims):
        return AUDIENCE, "aud"
    if wrong := mismatch(rule.claims, claims):
        return CLAIM, wrong
    if not rule.account.is_active:
        return ACCOUNT, ""
    return "", ""


def log_waiting_refusals(stopping: object = None) -> None:
    """Writes the entries of refusals that came within a minute after the last entry."""
    before = timezone.now() - LOGGED_EVERY
    for row in TrustRefusals.objects.filter(count__gt=0, logged_at__lte=before).select_related("rule__account")[:500]:
        _log_if_due(row.rule, row.reason, None, None)


def unverified_claims(encoded: str) -> Mapping[str, Any]:
    try:
        return subject_token.read(encoded).claims
    except SubjectTokenRefused:
        return {}


def _trusting(issuer: str, organization: str) -> Sequence[TrustRule]:
    found = TrustRule.objects.trusting(issuer)
    return list(found.filter(organization__slug=organization) if organization else found)


@sensitive_variables()
def _verified(encoded: str, unverified: subject_token.Unverified) -> dict[str, Any]:
    try:
        key = keys.find_key(unverified.issuer, unverified.key_id)
    except keys.KeysUnavailable as error:
        raise ExchangeRefused(NO_KEYS, detail=str(error)) from None
    if key is None:
        raise SubjectTokenRefused(subject_token.SIGNATURE)
    return subject_token.verify(encoded, unverified, key)


def _matching(trusting: Sequence[TrustRule], claims: Mapping[str, Any]) -> TrustRule:
    """The oldest rule that matches. Rules of several organizations never decide by their age: another organization
    must not be able to give its own tokens to these jobs."""
    answers = [(rule, why_not(rule, claims)[0]) for rule in trusting]
    matching = [rule for rule, reason in answers if not reason]
    if len({rule.organization_id for rule in matching}) > 1:
        raise ExchangeRefused(SEVERAL)
    if matching:
        return matching[0]
    reasons = {reason for _rule, reason in answers}
    raise ExchangeRefused(next(reason for reason in (ACCOUNT, CLAIM, AUDIENCE) if reason in reasons))


@sensitive_variables()
def _issue(rule: TrustRule, claims: Mapping[str, Any], wanted: list[str], request: HttpRequest | None) -> Exchanged:
    policy = locked_policy(rule.account)
    # A change of a rule takes the same lock. One that was changed since is read again, not used.
    now = TrustRule.objects.trusting(rule.issuer).filter(pk=rule.pk).first()
    if now is None or fingerprints.of_trust_rule(now) != fingerprints.of_trust_rule(rule):
        raise ExchangeRefused(CLAIM)
    if not now.account.is_active:
        raise ExchangeRefused(ACCOUNT)
    now.organization = policy
    _check_responsible(now)
    chosen = _scopes(now, wanted)
    if why_needed(policy, chosen=chosen, lifetime=now.lifetime, owner=now.account):
        raise ExchangeRefused(APPROVAL)
    _check_pipelines(now)
    replay_key = subject_token.replay_key_of(claims)
    # The constraint decides between two at once. This saves the work for those that come later.
    if replay_key and TokenExchange.objects.filter(replay_key=replay_key).exists():
        raise ExchangeRefused(REPLAYED)
    if Token.objects.owned_by(now.account).live().filter(exchange__isnull=False).count() >= MOST_LIVE:
        raise ExchangeRefused(TOO_MANY)
    try:
        made = issue_exchanged_token(
            rule=now,
            name=_name(now, claims),
            chosen=chosen,
            replay_key=replay_key,
            claims=deciding_claims(claims, {*now.claims, *issuers.TELLING}),
            request=request,
        )
    except IntegrityError:
        if replay_key and TokenExchange.objects.filter(replay_key=replay_key).exists():
            raise ExchangeRefused(REPLAYED) from None
        raise
    except ValidationError:
        raise ExchangeRefused(PIPELINES) from None
    return Exchanged(*made)


def _scopes(rule: TrustRule, wanted: list[str]) -> list[scopes.Scope]:
    """Those requested, or all of the rule, that the policy allows now. Raises ``ExchangeRefused``."""
    chosen = rule.scopes
    if wanted:
        if set(wanted) - {scope.id for scope in chosen}:
            raise ExchangeRefused(SCOPE)
        chosen = [scope for scope in chosen if scope.id in wanted]
    refused = set(scopes_not_allowed(scopes.as_string(chosen), rule.organization))
    if not (allowed := [scope for scope in chosen if scope not in refused]):
        raise ExchangeRefused(POLICY)
    return allowed


def _check_responsible(rule: TrustRule) -> None:
    """A policy that ends the tokens of orphaned service accounts also gives them no new ones."""
    days, orphaned_at = rule.organization.orphaned_service_tokens_end_after_days, rule.account.orphaned_at
    if days is not None and orphaned_at is not None and orphaned_at <= timezone.now() - timedelta(days=days):
        raise ExchangeRefused(ORPHANED)


def _check_pipelines(rule: TrustRule) -> None:
    """Leaves out pipelines that were deleted, or that the service account can't see any more."""
    if rule.pipeline_ids is None:
        return
    ids = [uuid.UUID(text) for text in rule.pipeline_ids]
    rule.pipeline_ids = [str(pipeline.id) for pipeline in pipelines_for_tokens().seen_by(rule.account, ids)]
    if not rule.pipeline_ids:
        raise ExchangeRefused(PIPELINES)


def _name(rule: TrustRule, claims: Mapping[str, Any]) -> str:
    run = issuers.run_of(claims)
    return f"{rule.name[: MAX_LENGTH - len(run) - 1].rstrip()} {run}" if run else rule.name


def _concerned(trusting: Sequence[TrustRule], claims: Mapping[str, Any]) -> list[TrustRule]:
    """The rules for which a refusal is logged: those for the token's audience. If there are none, those of the issuer
    if only one organization trusts it, because many organizations share some issuers."""
    meant = [rule for rule in trusting if rule.audience in subject_token.audiences_of(claims)]
    if not meant and len({rule.organization_id for rule in trusting}) == 1:
        meant = list(trusting)
    # One for each organization, the oldest.
    return list({rule.organization_id: rule for rule in reversed(meant)}.values())[:MOST_LOGGED]


def _log_refusal(
    rules: Iterable[TrustRule],
    refused: ExchangeRefused,
    claims: Mapping[str, Any] | None,
    request: HttpRequest | None,
) -> None:
    """``claims``: only if they are proved."""
    for rule in rules:
        # The rule can be deleted meanwhile.
        with contextlib.suppress(IntegrityError), transaction.atomic():
            row, _is_new = TrustRefusals.objects.get_or_create(rule=rule, reason=refused.reason)
            TrustRefusals.objects.filter(pk=row.pk).update(count=F("count") + 1)
            _log_if_due(rule, refused.reason, claims, request, detail=refused.detail)


def _log_if_due(
    rule: TrustRule,
    reason: str,
    claims: Mapping[str, Any] | None,
    request: HttpRequest | None,
    *,
    detail: str = "",
) -> None:
    """One entry a minute for a rule and a reason: a conditional update decides who writes it."""
    now = timezone.now()
    due = Q(logged_at__isnull=True) | Q(logged_at__lte=now - LOGGED_EVERY)
    with transaction.atomic():
        row = TrustRefusals.objects.select_for_update().filter(due, rule=rule, reason=reason, count__gt=0).first()
        # The second condition is for SQLite, which has no row locks.
        if row is None or not TrustRefusals.objects.filter(due, pk=row.pk, count__gte=row.count).update(
            count=F("count") - row.count, logged_at=now
        ):
            return
        told = deciding_claims(claims, {*rule.claims, *issuers.TELLING}) if claims else {}
        record(
            actor=rule.account,
            action=Action.TOKEN_EXCHANGE_REFUSED,
            target=rule,
            request=request,
            issuer=rule.issuer,
            reason=detail or TEXTS[reason],
            count=row.count,
            claims=told,
            **({"claim": why_not(rule, claims)[1]} if claims and reason == CLAIM else {}),
        )
