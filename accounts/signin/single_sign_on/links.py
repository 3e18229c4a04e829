"""Which person an account at the provider belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from allauth.socialaccount.models import SocialAccount
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext

from accounts.mails import tell_by_mail
from accounts.models import User
from accounts.privileges import Privilege, require_proof
from accounts.signin.single_sign_on.failures import quoted
from accounts.signin.single_sign_on.provider import METHOD, Provider
from auditlog.actions import Action
from auditlog.record import record
from core.db.locks import lock_first


class NotLinked(Exception):
    """This identity can't sign in. ``cause`` is for the server's log, ``said`` for the person."""

    def __init__(self, cause: str, said: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.said = said


@dataclass(frozen=True)
class Identity:
    """What the provider says about the person: its own id of them, and their address.

    ``verified_email``: the address, if the provider has verified it (``is_verified``) or unverified ones are trusted.
    ``claims``: everything that the provider says, from the ID token and the user info.
    """

    subject: str
    verified_email: str | None
    email: str | None = None
    is_verified: bool = False
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)


def link_of(user: User, provider: Provider) -> SocialAccount | None:
    """The person's link to this provider."""
    found: SocialAccount | None = SocialAccount.objects.filter(user=user, provider=provider.id).first()
    return found


def disconnect(*, actor: User, provider: Provider, request: HttpRequest) -> bool:
    """Removes the link, and returns whether there was one. The person then needs their password to sign in.

    If they use single sign-on again, they are linked again: the provider still verifies the address.
    """
    require_proof(Privilege.DISCONNECT_SINGLE_SIGN_ON, request)
    with transaction.atomic():
        removed, _ = SocialAccount.objects.filter(user=actor, provider=provider.id).delete()
        if removed:
            tell_by_mail(record(actor=actor, action=Action.PROVIDER_DISCONNECTED, target=actor, request=request))
    return bool(removed)


def connect(*, provider: Provider, identity: Identity, request: HttpRequest) -> SocialAccount:
    """On the first sign-in, links the identity to the person with its address.

    A provider for one organization finds only people of that organization. Raises ``NotLinked`` if the provider has not
    verified the address; if no active member has it; for operators, so that a mailbox is never enough to get their
    rights; and if the person is linked to another identity, because then this one got an address that is or was theirs.
    Attempts with somebody's address appear in their activity log.
    """
    with transaction.atomic():
        user = _member_with(identity.verified_email, provider)
        existing = link_of(user, provider) if user is not None else None
        if user is not None and existing is None:
            return link(user, provider, identity, request)
        if existing is not None and existing.uid == identity.subject:
            # The same sign-in, sent twice: the other one was faster.
            return existing
    if user is not None:
        record(actor=user, action=Action.SIGN_IN_FAILED, target=user, request=request, method=METHOD)
    raise _not_linked(provider, identity, user)


def check_admits(provider: Provider, user: User) -> None:
    """Raises ``NotLinked`` for a person whom this provider may not sign in, also if they are connected with it."""
    if not provider.admits(user):
        said = gettext("This account can't sign in with %(provider)s.") % {"provider": provider.name}
        raise NotLinked(f"person {user.pk} is not of the provider's organization", said)


def _not_linked(provider: Provider, identity: Identity, user: User | None) -> NotLinked:
    """The reason, for the operator and for the person. The person doesn't learn who has an account here."""
    if identity.email is None:
        cause = "the provider sends no e-mail address"
        said = gettext(
            "%(provider)s does not send this portal your e-mail address. Trying again does not help: tell the operator."
        )
    elif identity.verified_email is None:
        cause = f"email_verified is missing or false for {quoted(identity.email)} (see OIDC_EMAIL_VERIFIED)"
        said = gettext(
            "%(provider)s does not confirm that the address %(email)s is yours. Trying again does not help: tell the "
            "operator of this portal."
        )
    else:
        cause = f"no active member has the address {quoted(identity.email)}"
        if provider.only_of:
            cause += f" in the organization {provider.only_of}"
        if user is not None:
            cause = f"person {user.pk} is connected with another account of the provider"
        said = gettext(
            "No account here uses this address: at %(provider)s you are signed in as %(email)s. Sign in there with "
            "another account, or ask an Administrator of your organization to invite this address."
        )
    return NotLinked(cause, said % {"provider": provider.name, "email": identity.email})


def _member_with(email: str | None, provider: Provider) -> User | None:
    """The active member with this address, locked, so that of two first sign-ins at once only one is linked."""
    if email is None:
        return None
    members = provider.members(User.objects.people().active().filter(is_superuser=False, organization__isnull=False))
    found: User | None = lock_first(members.filter(email=spelled(email)))
    return found


def spelled(email: str) -> str:
    """The address as the database stores it. Only ASCII is lowercased: some other letters would turn into ASCII ones
    (U+212A becomes k)."""
    return email.lower() if email.isascii() else email


def link(user: User, provider: Provider, identity: Identity, request: HttpRequest) -> SocialAccount:
    if user.joined_at is None:
        user.joined_at = timezone.now()
        user.save(update_fields=["joined_at"])
    account = SocialAccount(user=user, provider=provider.id, uid=identity.subject)
    account.save(force_insert=True)
    tell_by_mail(record(actor=user, action=Action.PROVIDER_CONNECTED, target=user, request=request))
    return account
