"""What an organization's provider decides about a person at each sign-in: whether they are created, and their site role
and groups. The organization's Administrators set the rules."""

from collections.abc import Mapping
from typing import Any

from allauth.socialaccount.models import SocialAccount
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext

from accounts.models import Group, OrganizationProvider, User
from accounts.provider_rules import Outcome, deciding_claims, outcome_of
from accounts.services.guard import lock_organization
from accounts.services.people import LastAdministrator, check_administrator_stays
from accounts.signin.single_sign_on.failures import quoted
from accounts.signin.single_sign_on.links import Identity, NotLinked, connect, link, spelled
from accounts.signin.single_sign_on.provider import METHOD, Provider
from auditlog.actions import Action
from auditlog.record import record
from core.db.locks import lock, lock_if_exists
from core.rate_limits import Limit
from core.text import composed, is_printable

HOUR_SECONDS = 60 * 60


def take_in(
    *, provider: Provider, row: OrganizationProvider, identity: Identity, user: User | None, request: HttpRequest
) -> SocialAccount | None:
    """Applies the organization's rules. Returns the new link of a person who is not linked yet (``user`` is ``None``).

    Raises ``NotLinked`` for people who can't sign in.
    """
    outcome = outcome_for(row, identity.claims)
    if outcome.is_refused:
        outcome = _despite_refusal(row, identity, user, request)
    account = None
    if user is None:
        account = _link_or_create(provider, row, identity, outcome, request)
        user = account.user
    apply(row=row, user=user, outcome=outcome, claims=identity.claims, request=request)
    return account


def outcome_for(row: OrganizationProvider, claims: Mapping[str, Any]) -> Outcome:
    return outcome_of(
        claims,
        role_rules=row.role_rules,
        group_rules=row.group_rules,
        default_role=row.default_role,
        refuses_unmapped=row.refuses_unmapped,
    )


def apply(
    *, row: OrganizationProvider, user: User, outcome: Outcome, claims: Mapping[str, Any], request: HttpRequest
) -> None:
    """Gives the person their site role and groups, and removes them from the groups that the provider manages.

    Reads only, if nothing changes. The last Administrator keeps the role, and the log says so.
    """
    with transaction.atomic():
        added, removed = _group_changes(row, user, outcome)
        has_new_role = outcome.site_role is not None and outcome.site_role != user.site_role
        if not (added or removed or has_new_role):
            return
        lock_organization(row.organization_id)
        person = lock(User.objects.all(), user.pk)
        if has_new_role and outcome.site_role != person.site_role:
            _change_role(row, person, outcome, claims, request)
            user.site_role = person.site_role
        for pk in sorted(added | removed):
            _change_group(row, person, pk, is_added=pk in added, claims=claims, request=request)


def _despite_refusal(row: OrganizationProvider, identity: Identity, user: User | None, request: HttpRequest) -> Outcome:
    """No rule applies, and the organization refuses such people. Its last Administrator gets in with the old role."""
    found = user or _member_with_address(row, identity)
    if found is not None and _is_last_administrator(found):
        return Outcome(site_role=row.default_role)
    if found is not None:
        record(actor=found, action=Action.SIGN_IN_FAILED, target=found, request=request, method=METHOD)
    said = gettext(
        "%(provider)s does not say that you may use this portal. Ask an Administrator of your organization, or the "
        "administrators of %(provider)s."
    )
    cause = f"no rule applies to the subject {quoted(identity.subject)}, and the organization refuses such people"
    raise NotLinked(cause, said % {"provider": row.name})


def _link_or_create(
    provider: Provider, row: OrganizationProvider, identity: Identity, outcome: Outcome, request: HttpRequest
) -> SocialAccount:
    try:
        return connect(provider=provider, identity=identity, request=request)
    except NotLinked as not_linked:
        refusal = not_linked
    if not row.creates_people or identity.email is None or identity.verified_email is None:
        raise refusal
    try:
        return _create_if_allowed(provider, row, identity, outcome, refusal.said, request)
    except NotLinked:
        if (account := _linked_meanwhile(provider, row, identity)) is None:
            raise
        return account


def _linked_meanwhile(provider: Provider, row: OrganizationProvider, identity: Identity) -> SocialAccount | None:
    """The link of a person whom another sign-in created in this moment, for example in a second tab."""
    of_members = SocialAccount.objects.filter(user__organization_id=row.organization_id, user__is_active=True)
    found: SocialAccount | None = of_members.filter(provider=provider.id, uid=identity.subject).first()
    return found


def _create_if_allowed(
    provider: Provider,
    row: OrganizationProvider,
    identity: Identity,
    outcome: Outcome,
    said: str,
    request: HttpRequest,
) -> SocialAccount:
    """Raises ``NotLinked``. ``said``: what the person then reads. It doesn't say whether somebody has the address."""
    if why := _why_not_created(row, identity):
        raise NotLinked(why, said)
    limit = Limit("single-sign-on-people", amount=row.people_per_hour, seconds=HOUR_SECONDS)
    if limit.take(row.organization_id) is not None:
        cause = f"the organization's limit of {row.people_per_hour} new people per hour is reached"
        raise NotLinked(cause, gettext("Too many people signed in for the first time in this hour. Try again later."))
    try:
        return _create(provider, row, identity, outcome, request)
    except (IntegrityError, ValidationError):
        # Somebody got the address in this moment, or it is no address.
        raise NotLinked(f"the address {quoted(identity.email)} cannot be used", said) from None


def _why_not_created(row: OrganizationProvider, identity: Identity) -> str:
    address = spelled(str(identity.email))
    if not identity.is_verified:
        return f"nobody is created for {quoted(address)}: email_verified is missing or false"
    if not address.isascii():
        # Other letters would turn into ASCII ones when the address is stored (U+212A becomes k).
        return f"nobody is created for {quoted(address)}: it has letters that are not ASCII"
    if address.rpartition("@")[2] not in row.domains.split():
        return f"nobody is created for {quoted(address)}: its domain is not among the organization's"
    if User.objects.filter(email=address).exists():
        # Deactivated, already connected with another identity, or of another organization.
        return f"nobody is created for {quoted(address)}: somebody has this address who can't be connected"
    return ""


def _create(
    provider: Provider, row: OrganizationProvider, identity: Identity, outcome: Outcome, request: HttpRequest
) -> SocialAccount:
    with transaction.atomic():
        user = User(
            email=spelled(str(identity.email)),
            name=_name_of(identity),
            organization=row.organization,
            site_role=outcome.site_role or row.default_role,
            joined_at=timezone.now(),
        )
        user.set_unusable_password()
        user.clean_fields(exclude=["password"])
        user.clean()
        user.save(force_insert=True)
        details = {"site_role": user.site_role, **_why(row, identity.claims)}
        record(actor=user, action=Action.USER_CREATED, target=user, request=request, address=user.email, **details)
        return link(user, provider, identity, request)


def _change_role(
    row: OrganizationProvider, person: User, outcome: Outcome, claims: Mapping[str, Any], request: HttpRequest
) -> None:
    details = {"from": person.site_role, "to": outcome.site_role, "rule": outcome.role_rule, **_why(row, claims)}
    try:
        check_administrator_stays(person, is_active=person.is_active, site_role=str(outcome.site_role))
    except LastAdministrator:
        details["reason"] = "last Administrator"
        record(actor=person, action=Action.USER_ROLE_KEPT, target=person, request=request, **details)
        return
    person.site_role = str(outcome.site_role)
    person.save(update_fields=["site_role"])
    record(actor=person, action=Action.USER_ROLE_CHANGED, target=person, request=request, **details)


def _change_group(
    row: OrganizationProvider,
    person: User,
    pk: str,
    *,
    is_added: bool,
    claims: Mapping[str, Any],
    request: HttpRequest,
) -> None:
    groups = Group.objects.filter(organization_id=row.organization_id)
    group = lock_if_exists(groups, pk, blocks_references=True)
    if group is None:
        return
    if is_added:
        group.members.add(person)
    else:
        group.members.remove(person)
    changed = {"added" if is_added else "removed": [person.email]}
    record(actor=person, action=Action.GROUP_CHANGED, target=group, request=request, **changed, **_why(row, claims))


def _group_changes(row: OrganizationProvider, user: User, outcome: Outcome) -> tuple[set[str], set[str]]:
    """The ids of the groups to add the person to, and to remove them from.

    Rules on claims that the provider left out remove nobody.
    """
    managed = {rule["group"] for rule in row.group_rules}
    if not managed:
        return set(), set()
    undecided = {rule["group"] for rule in row.group_rules if rule["claim"] in outcome.left_out}
    current = {str(pk) for pk in user.member_groups.filter(pk__in=managed).values_list("pk", flat=True)}
    known = {str(pk) for pk in row.managed_groups.values_list("pk", flat=True)}
    wanted = set(outcome.groups) & known
    return wanted - current, current - wanted - undecided


def _why(row: OrganizationProvider, claims: Mapping[str, Any]) -> dict[str, Any]:
    """For the activity log: who says it, about whom, and the claims that the rules read."""
    names = [rule["claim"] for rule in [*row.role_rules, *row.group_rules]]
    return {
        "by": METHOD,
        "issuer": row.issuer,
        "subject": str(claims.get("sub", ""))[:191],
        "claims": deciding_claims(claims, names),
    }


def _name_of(identity: Identity) -> str:
    """The person's name at the provider, or the part of their address before the @."""
    claims = identity.claims
    parts = [claims.get("given_name"), claims.get("family_name")]
    whole = " ".join(part for part in parts if isinstance(part, str))
    for candidate in (claims.get("name"), whole, str(identity.email).partition("@")[0]):
        name = composed(" ".join(candidate.split()))[:100].strip() if isinstance(candidate, str) else ""
        if name and is_printable(name):
            return name
    return "?"


def _member_with_address(row: OrganizationProvider, identity: Identity) -> User | None:
    if identity.verified_email is None:
        return None
    members = User.objects.active().filter(organization_id=row.organization_id)
    found: User | None = members.filter(email=spelled(identity.verified_email)).first()
    return found


def _is_last_administrator(user: User) -> bool:
    with transaction.atomic():
        try:
            check_administrator_stays(user, is_active=False, site_role=user.site_role)
        except LastAdministrator:
            return True
    return False
