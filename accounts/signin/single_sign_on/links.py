"""Which person an account at the provider belongs to."""

from dataclasses import dataclass

from allauth.socialaccount.models import SocialAccount
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from accounts.mails import tell_by_mail
from accounts.models import User
from accounts.privileges import Privilege, require_proof
from accounts.signin.single_sign_on.failures import quoted
from accounts.signin.single_sign_on.provider import METHOD, provider_id, provider_in_use
from auditlog.actions import Action
from auditlog.record import record


class NotLinked(Exception):
    """Nobody may be signed in by this identity. ``cause`` is for the log, ``said`` for the person."""

    def __init__(self, cause: str, said: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.said = said


@dataclass(frozen=True)
class Identity:
    """Who the provider says that it is: its own id of the person, and their address.

    ``verified_email``: the address where the provider has verified it, or where the operator says that it need not.
    """

    subject: str
    verified_email: str | None
    email: str | None = None


def link_of(user: User) -> SocialAccount | None:
    """The person's link with the provider in use."""
    found: SocialAccount | None = SocialAccount.objects.filter(user=user, provider=provider_id()).first()
    return found


def disconnect(*, actor: User, request: HttpRequest) -> bool:
    """Whether there was a link. From the next sign-in on, the person needs their password.

    Whoever comes by single sign-on again is linked again: the provider still vouches for the address.
    """
    require_proof(Privilege.DISCONNECT_SINGLE_SIGN_ON, request)
    with transaction.atomic():
        removed, _ = SocialAccount.objects.filter(user=actor, provider=provider_id()).delete()
        if removed:
            tell_by_mail(record(actor=actor, action=Action.PROVIDER_DISCONNECTED, target=actor, request=request))
    return bool(removed)


def connect(*, identity: Identity, request: HttpRequest) -> SocialAccount:
    """Links the identity with the person who has its address, on their first sign-in by it.

    Raises ``NotLinked``: where the provider has not verified the address; where no active member has it; for operators,
    whose rights no mailbox may open; and where the person is linked with another identity, since then this one has been
    given an address that is, or was, theirs. What was tried with somebody's address is in their activity log.
    """
    with transaction.atomic():
        user = _member_with(identity.verified_email)
        if user is not None and link_of(user) is None:
            return _link(user, identity, request)
    if user is not None:
        record(actor=user, action=Action.SIGN_IN_FAILED, target=user, request=request, method=METHOD)
    raise _not_linked(identity, user)


def _not_linked(identity: Identity, user: User | None) -> NotLinked:
    """Why, in words for the operator and for the person. Who has an account here is not told to the person."""
    name = getattr(provider_in_use(), "name", "")
    if identity.email is None:
        cause = "the provider tells no e-mail address"
        said = f"{name} does not tell this portal your e-mail address. Trying again does not help: tell the operator."
    elif identity.verified_email is None:
        cause = f"email_verified is missing or false for {quoted(identity.email)} (see OIDC_EMAIL_VERIFIED)"
        said = (
            f"{name} does not confirm that the address {identity.email} is yours. Trying again does not help: tell the "
            "operator of this portal."
        )
    else:
        cause = f"no active member has the address {quoted(identity.email)}"
        if user is not None:
            cause = f"person {user.pk} is connected with another account of the provider"
        said = (
            f"Nobody who may sign in here has this account: at {name} you are signed in as {identity.email}. Sign in "
            "there with another account, or ask an Administrator of your organization to invite this address."
        )
    return NotLinked(cause, said)


def _member_with(email: str | None) -> User | None:
    """The active member with this address, locked: of two first sign-ins at once, one links."""
    if email is None:
        return None
    members = User.objects.active().filter(is_superuser=False, organization__isnull=False)
    found: User | None = members.select_for_update(no_key=True).filter(email=_spelled(email)).first()
    return found


def _spelled(email: str) -> str:
    """As addresses are kept. Only ASCII is folded: other letters become ASCII ones when folded (U+212A becomes k)."""
    return email.lower() if email.isascii() else email


def _link(user: User, identity: Identity, request: HttpRequest) -> SocialAccount:
    if user.joined_at is None:
        user.joined_at = timezone.now()
        user.save(update_fields=["joined_at"])
    account = SocialAccount(user=user, provider=provider_id(), uid=identity.subject)
    account.save(force_insert=True)
    tell_by_mail(record(actor=user, action=Action.PROVIDER_CONNECTED, target=user, request=request))
    return account
