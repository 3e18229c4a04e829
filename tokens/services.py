"""Creating a token, showing it once and ending it. Pages, API, Django admin and commands call these functions."""

import uuid
from collections.abc import Collection, Generator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy, ngettext
from django.views.decorators.debug import sensitive_variables

from accounts.models import Organization, ServiceTokenCreators, User
from accounts.privileges import Privilege, require_proof
from accounts.roles import Ability
from accounts.services import ServiceAccountInactive
from accounts.services_for_tokens import TokenService
from auditlog.actions import Action
from auditlog.open_use import token_in_use
from auditlog.record import record, record_each
from core.api import scopes
from core.db.batches import batches_of, run_batches
from core.db.locks import lock, lock_all, lock_if_exists
from core.errors import DomainError, NameTaken, NotAllowed, errors_of
from core.http.request_context import without_tokens
from core.networks import clean_networks
from core.seen import check_seen
from core.text import Text, grouped
from tokens import jwt
from tokens import seen as fingerprints
from tokens.approval import asking
from tokens.descriptions import clean_description
from tokens.keys.ring import signing_lock
from tokens.lifetimes import check_expiry, check_start, longest_lifetime, now_in_seconds
from tokens.mails import EarlyEndMails, tell_created
from tokens.models import Token, TokenExchange, TrustRule
from tokens.names import clean_name, name_key, numbered
from tokens.pipeline_choice import check_choice, limit_token
from tokens.policy.rules import scopes_not_allowed
from tokens.querysets import TokenQuerySet, not_ended, showable
from tokens.service_choice import NO_PIPELINES, ServiceClosed, lock_service, scopes_of
from tokens.status_lists import assigning as status_lists
from tokens.uses import clean_max_uses

NAME_TAKEN = gettext_lazy("One of your live tokens has this name already.")
NAME_TAKEN_THERE = gettext_lazy("A live token of this service account has this name already.")
REASON_MAX_LENGTH = Token._meta.get_field("revoke_reason").max_length or 0
# How many tokens end in one transaction. SQLite has one writer at a time, and each answered request is a write.
BATCH = 500


class CannotBeRevealed(DomainError):
    message = gettext_lazy("This token was shown before, has expired, or belongs to someone else.")


class AlreadyEnded(DomainError):
    code = "already_ended"
    message = gettext_lazy("This token has already expired.")


class NameOfEndedToken(DomainError):
    code = "already_ended"
    field = "name"
    message = gettext_lazy(
        "This token has ended, so it keeps its name: you can use the name for a new token, and logs and mails call "
        "this one by it. You can change its description."
    )


class OnlyAdministrators(DomainError):
    code = "only_administrators"
    message = gettext_lazy(
        "Your organization's policy lets only Administrators create tokens for service accounts. Ask one of them."
    )


class CountChanged(DomainError):
    """The actor was shown another number of tokens to end. ``count``: how many there are now."""

    def __init__(self, count: int) -> None:
        super().__init__(
            ngettext(
                "The list has changed: there are now %(count)s token. Check before you confirm.",
                "The list has changed: there are now %(count)s tokens. Check before you confirm.",
                count,
            )
            % {"count": grouped(count)}
        )
        self.count = count


def issue_token(
    *,
    actor: User,
    name: str,
    chosen: list[scopes.Scope],
    expires_at: datetime,
    description: str = "",
    pipelines: Collection[uuid.UUID] | None = None,
    networks: Collection[str] = (),
    max_uses: int | None = None,
    service: uuid.UUID | None = None,
    approval_reason: str = "",
    not_before: datetime | None = None,
    owner: User | None = None,
    request: HttpRequest | None = None,
) -> Token:
    """Creates the metadata of a token; `reveal_token` creates the token itself, for ``actor``.

    ``owner``: the service account that the token is for; ``None`` for the actor themselves. ``pipelines``: the only
    ones that it reaches; ``None`` for all that the owner can use. ``networks``: the only ones from which it can be
    used. ``max_uses``: how often. ``not_before``: from when on. ``service``: the id of the service that it is for;
    ``None`` for the portal's own API. ``approval_reason``: why the actor needs it, if the token waits for approval then
    (`tokens.approval`). Raises ``NotAllowed``, ``ServiceAccountInactive``, ``ValidationError`` by field, ``NameTaken``,
    or ``DomainError`` (``too_many_tokens``). If two requests come at once, the second one counts the token of the
    first.
    """
    require_proof(Privilege.CREATE_TOKEN, request)
    return _issue(
        actor=actor,
        name=name,
        chosen=chosen,
        expires_at=expires_at,
        description=description,
        pipelines=pipelines,
        networks=networks,
        max_uses=max_uses,
        not_before=not_before,
        approval_reason=approval_reason,
        owner=owner,
        service=service,
        request=request,
    )


def issue_successor(
    *,
    old: Token,
    actor: User,
    owner: User | None,
    created_at: datetime,
    expires_at: datetime,
    pipelines: Collection[uuid.UUID] | None,
    request: HttpRequest | None = None,
) -> Token:
    """Creates the metadata of the token that replaces ``old``, for `tokens.replacement`. Everything else is a copy, so
    the new token can do nothing that the old one couldn't. ``owner``: as for `issue_token`. ``created_at``: now, as the
    caller has read it to find the end; two moments would make the lifetime a second shorter now and then.

    Raises what `issue_token` raises, ``ApprovalNeeded``, and ``ServiceClosed`` instead of an error of ``service``.
    """
    require_proof_to_replace(old, request)
    chosen = list(old.scopes)
    if not chosen:
        raise ServiceClosed(gettext("The service no longer has the scopes of this token. Create a new token."))
    return _issue(
        actor=actor,
        name=old.name,
        chosen=chosen,
        expires_at=expires_at,
        description=old.description,
        pipelines=pipelines,
        networks=old.networks.split(),
        max_uses=None,
        not_before=None,
        owner=owner,
        service=old.service_id,
        replaces=old,
        created_at=created_at,
        request=request,
    )


def require_proof_to_replace(old: Token, request: HttpRequest | None) -> None:
    """Raises what `require_proof` raises. The one exception: a token with the scope for it replaces itself."""
    used = token_in_use(request)
    if used is None or used.pk != old.pk or scopes.ROTATE not in scopes.parse(used.scope):
        require_proof(Privilege.REPLACE_TOKEN, request)


def _issue(
    *,
    actor: User,
    name: str,
    chosen: list[scopes.Scope],
    expires_at: datetime,
    description: str,
    pipelines: Collection[uuid.UUID] | None,
    networks: Collection[str],
    max_uses: int | None,
    not_before: datetime | None,
    owner: User | None,
    service: uuid.UUID | None,
    approval_reason: str = "",
    replaces: Token | None = None,
    created_at: datetime | None = None,
    request: HttpRequest | None,
) -> Token:
    if not actor.may(Ability.OWN_TOKENS):
        raise NotAllowed
    with errors_of("name"):
        name = clean_name(name)
    with errors_of("description"):
        description = clean_description(description)
    with errors_of("pipelines"):
        chosen_pipelines = None if pipelines is None else check_choice(pipelines)
    with errors_of("networks"):
        chosen_networks = clean_networks(networks)
    with errors_of("max_uses"):
        clean_max_uses(max_uses)
    key = name_key(name)
    try:
        with transaction.atomic():
            policy = locked_policy(actor)
            holder = actor if owner is None else managed_account(actor, owner, policy)
            created_at = created_at or now_in_seconds()
            with errors_of("expires_at"):
                check_expiry(expires_at, start=created_at, longest=longest_lifetime(policy, holder))
            with errors_of("not_before"):
                check_start(not_before, start=created_at, expires_at=expires_at)
            opened = None if service is None else _locked_service(holder, service, is_new=replaces is None)
            with errors_of("scopes"):
                chosen = checked_scopes(chosen, policy, opened)
            if opened is not None and chosen_pipelines is not None:
                raise ValidationError({"pipelines": NO_PIPELINES})
            approval = asking.plan(
                policy=policy,
                owner=holder,
                chosen=chosen,
                created_at=created_at,
                expires_at=expires_at,
                reason=approval_reason,
                service=opened,
                replaces=replaces,
            )
            _check_number(holder, policy)
            _free_name_of_ended_token(holder, key)
            token = Token.objects.create(
                owner=holder,
                created_by=None if owner is None else actor,
                organization=holder.own_organization,
                service_id=service,
                name=name,
                description=description,
                live_name_key=key,
                scope=scopes.as_string(chosen),
                is_limited=chosen_pipelines is not None,
                networks=chosen_networks,
                max_uses=max_uses,
                created_at=created_at,
                not_before=not_before,
                expires_at=expires_at,
                **approval.columns,
            )
            if token.service_id:
                status_lists.assign(token)
            record(
                actor=actor,
                action=Action.TOKEN_ISSUED,
                target=token,
                request=request,
                scope=token.scope,
                expires_at=token.expires_at.isoformat(),
                **({"service": {"name": opened.name, "id": str(opened.pk)}} if opened else {}),
                **_limited(token, holder, chosen_pipelines),
                **({"not_before": not_before.isoformat()} if not_before else {}),
                **({"max_uses": max_uses} if max_uses else {}),
                **({"networks": chosen_networks.split()} if chosen_networks else {}),
                **({"replaces": str(replaces.pk)} if replaces else {}),
                **({"owner": holder.email} if owner is not None else {}),
            )
            if replaces is None:
                tell_created(token, actor=actor)
            asking.ask(approval, actor=actor, token=token, request=request)
    except IntegrityError:
        if Token.objects.owned_by(owner or actor).filter(live_name_key=key).exists():
            raise NameTaken(NAME_TAKEN if owner is None else NAME_TAKEN_THERE) from None
        raise
    return token


def _locked_service(holder: User, service_id: uuid.UUID, *, is_new: bool) -> TokenService:
    """The service as it is now. Raises ``ValidationError``, or ``ServiceClosed`` for a token that replaces another."""
    try:
        with errors_of("service"):
            return lock_service(holder, service_id)
    except ValidationError:
        if is_new:
            raise
        raise ServiceClosed from None


def may_create_for_accounts(person: User, policy: Organization) -> bool:
    """Whether the policy lets this person create tokens for the service accounts whose tokens they manage."""
    is_open = policy.service_token_creators == ServiceTokenCreators.RESPONSIBLE
    return is_open or person.may(Ability.MANAGE_ORGANIZATION)


def managed_account(actor: User, account: User, policy: Organization) -> User:
    """The service account as it is now, if the actor may now create tokens for it.

    Raises ``NotAllowed``, ``OnlyAdministrators`` or ``ServiceAccountInactive``. Call it with the policy locked: a
    change of who is responsible takes the same lock.
    """
    person = User.objects.as_now(actor)
    if person is None or not person.may(Ability.OWN_TOKENS):
        raise NotAllowed
    found: User | None = User.objects.manageable_by(person).select_related("organization").filter(pk=account.pk).first()
    if found is None:
        raise NotAllowed
    if not may_create_for_accounts(person, policy):
        raise OnlyAdministrators
    if not found.is_active:
        raise ServiceAccountInactive
    return found


def _limited(token: Token, owner: User, pipeline_ids: Collection[uuid.UUID] | None) -> dict[str, Any]:
    """Makes the token reach only these pipelines. Returns the details for the log: names and ids."""
    if pipeline_ids is None:
        return {}
    with errors_of("pipelines"):
        reached = limit_token(token, actor=owner, ids=pipeline_ids)
    return {"pipelines": [{"name": name, "id": str(pipeline_id)} for pipeline_id, name in reached]}


def edit_token(
    *,
    actor: User,
    token: Token,
    name: str | None = None,
    description: str | None = None,
    seen: str | None = None,
    request: HttpRequest | None = None,
) -> Token:
    """Changes the name or the description of a token that the actor manages; ``None`` leaves it as it is.

    It gives no rights, so it needs no recent proof. ``seen``: `tokens.seen.of_texts`. Raises ``NotAllowed``,
    ``ChangedMeanwhile``, ``NameOfEndedToken``, ``NameTaken``, or ``ValidationError`` by field. The database's
    constraint decides between two at once.
    """
    wanted = {}
    if name is not None:
        with errors_of("name"):
            wanted["name"] = clean_name(name)
    if description is not None:
        with errors_of("description"):
            wanted["description"] = clean_description(description)
    with transaction.atomic():
        # The name is in a unique constraint.
        locked = lock_if_exists(Token.objects.managed_by(actor), token.pk, blocks_references="name" in wanted)
        if locked is None:
            raise NotAllowed
        check_seen(seen, fingerprints.of_texts(locked))
        changed = {field: value for field, value in wanted.items() if getattr(locked, field) != value}
        # The log keeps the old name. It doesn't keep old descriptions: people remove what they should not have written.
        details: dict[str, Any] = {"fields": list(changed)}
        if "name" in changed:
            if locked.has_ended:
                raise NameOfEndedToken
            details |= {"from": locked.name, "to": changed["name"]}
            changed["live_name_key"] = name_key(changed["name"])
            _free_name_of_ended_token(locked.owner, changed["live_name_key"])
        if changed:
            for field, value in changed.items():
                setattr(locked, field, value)
            _save_texts(locked, list(changed), if_taken=NAME_TAKEN if locked.owner_id == actor.pk else NAME_TAKEN_THERE)
            record(actor=actor, action=Action.TOKEN_CHANGED, target=locked, request=request, **details)
    return locked


def _save_texts(token: Token, fields: list[str], *, if_taken: Text) -> None:
    try:
        with transaction.atomic():
            token.save(update_fields=fields)
    except IntegrityError:
        raise NameTaken(if_taken) from None


@sensitive_variables()
def reveal_token(*, actor: User, token: Token, request: HttpRequest | None = None) -> tuple[Token, str]:
    """Signs the token and marks it as shown. If several requests try it, one succeeds: a conditional update decides.

    Only for its owner, or the person who made it for a service account and still manages that. Returns the row and the
    signed JWT, which exists only in this answer. Raises ``CannotBeRevealed``.
    """
    now = timezone.now()
    if token.created_by_id is None:
        made_by_actor = Q(owner=actor)
    else:
        accounts = User.objects.manageable_by(actor).active().order_by().values("pk")
        made_by_actor = Q(created_by=actor, owner__in=accounts)
    with signing_lock(), transaction.atomic():
        signed_jwt, key_id = jwt.encode(token)
        won = Token.objects.filter(
            made_by_actor,
            showable(now),
            pk=token.pk,
            revealed_at__isnull=True,
            revoked_at__isnull=True,
            expires_at__gt=now,
        ).update(revealed_at=now, signing_key_id=key_id)
        if not won:
            raise CannotBeRevealed
        record(actor=actor, action=Action.TOKEN_REVEALED, target=token, request=request)
    token.revealed_at = now
    token.signing_key_id = key_id
    return token, signed_jwt


@sensitive_variables()
def issue_and_reveal_token(
    *,
    actor: User,
    name: str,
    chosen: list[scopes.Scope],
    expires_at: datetime,
    description: str = "",
    pipelines: Collection[uuid.UUID] | None = None,
    networks: Collection[str] = (),
    max_uses: int | None = None,
    owner: User | None = None,
    not_before: datetime | None = None,
    service: uuid.UUID | None = None,
    approval_reason: str = "",
    request: HttpRequest | None = None,
) -> tuple[Token, str]:
    """Creates and reveals a token in one transaction, for an answer that shows it. Raises what the two raise.

    A token that waits for approval is not revealed: the text is empty then.
    """
    with signing_lock(), transaction.atomic():
        token = issue_token(
            actor=actor,
            name=name,
            chosen=chosen,
            expires_at=expires_at,
            description=description,
            pipelines=pipelines,
            networks=networks,
            max_uses=max_uses,
            owner=owner,
            not_before=not_before,
            service=service,
            approval_reason=approval_reason,
            request=request,
        )
        if token.waits_until is not None:
            return token, ""
        try:
            return reveal_token(actor=actor, token=token, request=request)
        except CannotBeRevealed:
            raise ValidationError({"expires_at": gettext("The token would expire before it can be shown.")}) from None


@sensitive_variables()
def issue_exchanged_token(
    *,
    rule: TrustRule,
    name: str,
    chosen: list[scopes.Scope],
    replay_key: str | None,
    claims: Mapping[str, Any],
    request: HttpRequest | None = None,
) -> tuple[Token, str]:
    """Creates and reveals a token of the rule's service account, for `tokens.trust.exchange`.

    It needs no proof: the person who made the rule gave one. ``claims``: what decided, for the log. Call it with the
    policy locked, and after the rule was checked under that lock. Raises ``IntegrityError`` for a ``replay_key`` that
    was used before.
    """
    account, created_at = rule.account, now_in_seconds()
    name = free_name_like(owner=account, name=name)
    _free_name_of_ended_token(account, name_key(name))
    with signing_lock(), transaction.atomic():
        token = Token(
            owner=account,
            organization=rule.organization,
            name=name,
            live_name_key=name_key(name),
            scope=scopes.as_string(chosen),
            is_limited=rule.pipeline_ids is not None,
            created_at=created_at,
            expires_at=created_at + min(rule.lifetime, longest_lifetime(rule.organization, account)),
            revealed_at=timezone.now(),
        )
        signed_jwt, token.signing_key_id = jwt.encode(token)
        token.save(force_insert=True)
        TokenExchange.objects.create(token=token, rule=rule, issuer=rule.issuer, replay_key=replay_key)
        ids = None if rule.pipeline_ids is None else [uuid.UUID(text) for text in rule.pipeline_ids]
        record(
            actor=account,
            action=Action.TOKEN_EXCHANGED,
            target=token,
            request=request,
            rule=rule.name,
            issuer=rule.issuer,
            claims=claims,
            scope=token.scope,
            expires_at=token.expires_at.isoformat(),
            **_limited(token, account, ids),
        )
    return token, signed_jwt


def revoke_token(*, actor: User, token: Token, reason: str = "", request: HttpRequest | None = None) -> Token:
    """Ends a token permanently. Every request that starts after this has returned is refused.

    Raises what `revoke_tokens` raises, and ``AlreadyEnded``. If two requests come at once, one ends the token and its
    reason is kept.
    """
    if not revoke_tokens(actor=actor, token_ids=[token.pk], reason=reason, request=request):
        raise AlreadyEnded
    token.refresh_from_db()
    return token


def revoke_tokens(
    *, actor: User, token_ids: Collection[uuid.UUID], reason: str = "", request: HttpRequest | None = None
) -> list[Token]:
    """Ends the tokens that have not ended yet, in one transaction, and returns those.

    Ends none if it raises: ``NotAllowed`` if the actor may not end one of them, or it does not exist;
    ``ValidationError`` without a ``reason`` if one of them is someone else's.
    """
    with transaction.atomic():
        tokens = Token.objects.revocable_by(actor).filter(pk__in=token_ids)
        if tokens.count() != len(set(token_ids)):
            raise NotAllowed
        _check_reason(actor, tokens, reason)
        ended = end_tokens(token_ids, action=Action.TOKEN_REVOKED, ended_by=actor, reason=reason, request=request)
        EarlyEndMails(besides=actor).add(ended)
    return ended


def revoke_all(
    *,
    actor: User,
    tokens: TokenQuerySet,
    expected: int | None = None,
    reason: str = "",
    request: HttpRequest | None = None,
) -> int:
    """Ends those of ``tokens`` that are live and that the actor may end; returns how many.

    It works in batches, so that other requests are answered meanwhile. If it is interrupted, the remaining tokens stay
    live, and calling it again ends them. Ends none if it raises: ``CountChanged`` if the number of tokens is not
    ``expected``, ``ValidationError`` as `revoke_tokens` does.
    """
    live = tokens.revocable_by(actor).live()
    _check_reason(actor, live, reason)
    ids = _ids_by_owner(live)
    if expected is not None and len(ids) != expected:
        raise CountChanged(len(ids))
    count, mails = 0, EarlyEndMails(besides=actor)
    for batch in batches_of(ids, BATCH):
        with transaction.atomic():
            ended = end_tokens(batch, action=Action.TOKEN_REVOKED, ended_by=actor, reason=reason, request=request)
            mails.add(ended)
        count += len(ended)
    return count


def revoke_own(*, actor: User, reason: str, request: HttpRequest | None = None) -> int:
    """Ends all live tokens of the actor; returns how many."""
    return revoke_all(actor=actor, tokens=Token.objects.owned_by(actor), reason=reason, request=request)


def end_by_operator(tokens: TokenQuerySet, *, reason: str) -> Generator[int]:
    """Ends those of ``tokens`` that are live, also those created meanwhile, on behalf of the operator.

    It works in batches and yields how many tokens each batch ended.
    """
    mails = EarlyEndMails()

    def end(batch: Sequence[uuid.UUID]) -> int:
        with transaction.atomic():
            ended = end_tokens(batch, action=Action.TOKEN_ENDED_BY_OPERATOR, reason=reason, by="operator")
            mails.add(ended)
        return len(ended)

    while ids := _ids_by_owner(tokens.live()):
        yield from run_batches(partial(end, batch) for batch in batches_of(ids, BATCH))


def end_tokens(
    token_ids: Collection[uuid.UUID],
    *,
    action: Action,
    ended_by: User | None = None,
    reason: str = "",
    request: HttpRequest | None = None,
    **details: Any,
) -> list[Token]:
    """Ends the tokens that have not ended yet and records each of them, in one transaction; returns those.

    The caller has checked that this is allowed, and tells the owners. Without ``ended_by``, the entry in the activity
    log has the owner as its actor, like that of a failed sign-in.
    """
    now = timezone.now()
    reason = without_tokens(reason.strip())[:REASON_MAX_LENGTH]
    end = {"revoked_at": now, "revoked_by": ended_by, "revoke_reason": reason, "live_name_key": None}
    with transaction.atomic():
        found = Token.objects.filter(not_ended(now), pk__in=token_ids)
        tokens = lock_all(found.select_related("owner", "organization"), blocks_references=True)
        Token.objects.filter(pk__in=[token.pk for token in tokens]).update(**end)
        record_each(
            [(ended_by or token.owner, token) for token in tokens],
            action=action,
            request=request,
            reason=reason,
            **details,
        )
    for token in tokens:
        for name, value in end.items():
            setattr(token, name, value)
    return tokens


def needs_reason(*, actor: User, token: Token) -> bool:
    """Whether this actor must say why they end this token."""
    return token.owner_id != actor.pk


def _check_reason(actor: User, tokens: TokenQuerySet, reason: str) -> None:
    if not reason.strip() and tokens.exclude(owner=actor).exists():
        raise ValidationError({"reason": gettext("Give a reason: owners are told why their tokens were expired.")})


def _ids_by_owner(tokens: TokenQuerySet) -> list[uuid.UUID]:
    return list(tokens.order_by("owner_id", "pk").values_list("pk", flat=True))


def checked_scopes(
    chosen: Collection[scopes.Scope], organization: Organization, service: TokenService | None
) -> list[scopes.Scope]:
    """The scopes, as the service has them now. The policy is about the portal's scopes, and the service's own settings
    about those of a service. Raises ``ValidationError``."""
    found = scopes_of(service, [scope.id for scope in chosen])
    if not found:
        raise ValidationError(gettext("Choose at least one scope."))
    if service is None:
        check_scopes(found, organization)
    return found


def check_scopes(chosen: list[scopes.Scope], organization: Organization) -> None:
    """Raises ``ValidationError`` for scopes that the organization's policy does not allow."""
    if refused := scopes_not_allowed(scopes.as_string(chosen), organization):
        labels = ", ".join(str(scope.label) for scope in refused)
        raise ValidationError(
            gettext("Your organization does not allow tokens with this scope: %(scopes)s.") % {"scopes": labels}
        )


def locked_policy(owner: User) -> Organization:
    """The organization as it is now, locked until the transaction ends.

    So an organization's tokens are created one after the other, and not while its policy changes. The count of live
    tokens is right, and the preview of a policy (`tokens.policy.preview`) includes every token.
    """
    return lock(Organization.objects.all(), owner.own_organization.pk)


def _check_number(owner: User, policy: Organization) -> None:
    """Replaced tokens don't count: each lives for at most a few more days (`tokens.replacement`). Neither do those of
    exchanges, which live for at most an hour."""
    limit = policy.max_live_tokens
    if Token.objects.owned_by(owner).live().not_replaced().not_exchanged().count() >= limit:
        if owner.is_service_account:
            raise DomainError(
                gettext("This service account has %(count)s live tokens, which is the limit. Expire one of them first.")
                % {"count": grouped(limit)},
                code="too_many_tokens",
            )
        raise DomainError(
            ngettext(
                "Your organization allows each person %(count)s live token, and you have reached that. Expire one that "
                "you no longer need, then create the new one.",
                "Your organization allows each person %(count)s live tokens, and you have reached that. Expire one "
                "that you no longer need, then create the new one.",
                limit,
            )
            % {"count": grouped(limit)},
            code="too_many_tokens",
        )


def is_name_in_use(*, owner: User, name: str) -> bool:
    """Whether a live token of the owner has this name or one that counts as the same."""
    return Token.objects.owned_by(owner).live().filter(live_name_key=name_key(name)).exists()


def free_name_like(*, owner: User, name: str) -> str:
    """The name, or if a live token of the owner has it, the name with the next free number."""
    taken = set(Token.objects.owned_by(owner).live().values_list("live_name_key", flat=True))
    return next(candidate for candidate in numbered(name) if name_key(candidate) not in taken)


def _free_name_of_ended_token(owner: User, key: str) -> None:
    """A token that ended by time keeps its name until another token needs it."""
    Token.objects.owned_by(owner).ended().filter(live_name_key=key).update(live_name_key=None)
