"""What is done with second factors, each with its entry in the activity log and its mail.

The ceremonies themselves, seeds, codes and keys, are allauth's (and `accounts/mfa.py`).
"""

from typing import Any

from allauth.account.internal.flows.login import record_authentication
from allauth.mfa.base.internal.flows import delete_and_cleanup
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal import flows as recovery_flows
from allauth.mfa.totp.internal import flows as totp_flows
from allauth.mfa.webauthn.internal import flows as webauthn_flows
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest

from accounts.models import User
from accounts.querysets import second_factors
from accounts.tasks import send_two_factor_mail
from auditlog.actions import Action, record

# As the log and the mails call them.
KINDS = {
    Authenticator.Type.TOTP: "authenticator app",
    Authenticator.Type.WEBAUTHN: "passkey",
    Authenticator.Type.RECOVERY_CODES: "recovery codes",
}


class LastSecondFactor(Exception):
    """Two-factor is required of the person, and this is their last factor."""

    def __init__(self) -> None:
        super().__init__("Two-factor is required of you. Set up another second factor first, then remove this one.")


class NoSecondFactor(Exception):
    """There is nothing that recovery codes could stand in for."""

    def __init__(self) -> None:
        super().__init__("Recovery codes stand in for a second factor. Set one up first.")


def add_app(*, actor: User, form: Any, request: HttpRequest) -> bool:
    """Sets up the authenticator app of a valid ``ActivateAppForm``. Whether recovery codes were made with it."""
    with transaction.atomic():
        authenticator, codes = totp_flows.activate_totp(request, form)
        # The code that proved it was used with that.
        authenticator.data["last_step"] = form.step
        authenticator.save(update_fields=["data"])
        _note_added(actor, authenticator, codes, request)
    return codes is not None


def add_passkey(*, actor: User, name: str, credential: dict[str, Any], request: HttpRequest) -> bool:
    """Keeps a passkey that ``AddPasskeyForm`` has checked. Whether recovery codes were made with it."""
    with transaction.atomic():
        _lock(actor)
        authenticator, codes = webauthn_flows.add_authenticator(request, name, credential)
        _note_added(actor, authenticator, codes, request, name=name)
    return codes is not None


def remove_factor(*, actor: User, authenticator: Authenticator, request: HttpRequest) -> None:
    """With the last one the recovery codes go. Raises ``LastSecondFactor``.

    The person is locked: of two factors that are removed at once the second is seen to be the last.
    """
    with transaction.atomic():
        person = _lock(actor)
        others = second_factors().filter(user=person).exclude(pk=authenticator.pk)
        if person.needs_two_factor and not others.exists():
            raise LastSecondFactor
        details = _details(authenticator)
        delete_and_cleanup(request, authenticator)
        entry = record(actor=actor, action=Action.TWO_FACTOR_REMOVED, target=actor, request=request, **details)
        _mail_of(entry.pk)


def make_recovery_codes(*, actor: User, request: HttpRequest) -> None:
    """New ones in place of those there are. Raises ``NoSecondFactor``."""
    with transaction.atomic():
        if not second_factors().filter(user=_lock(actor)).exists():
            raise NoSecondFactor
        recovery_flows.generate_recovery_codes(request)
        entry = record(actor=actor, action=Action.RECOVERY_CODES_MADE, target=actor, request=request)
        _mail_of(entry.pk)


def show_recovery_codes(*, user: User) -> list[str] | None:
    """The codes, once; of any number of simultaneous requests one gets them, and all others and later ones nothing.

    ``None`` where there are no codes.
    """
    with transaction.atomic():
        codes = Authenticator.objects.select_for_update().filter(user=user, type=Authenticator.Type.RECOVERY_CODES)
        row = codes.first()
        if row is None:
            return None
        if row.wrap().did_view:
            return []
        row.wrap().mark_as_viewed()
        return list(row.wrap().get_unused_codes())


def recovery_codes_left(codes: Authenticator) -> int:
    """How many have not been used. Without reading them: that needs the key."""
    return int(settings.MFA_RECOVERY_CODE_COUNT - int(codes.data["used_mask"]).bit_count())


def note_recovery_code_used(*, user: User, request: HttpRequest) -> None:
    """Call in the transaction in which the code is used up."""
    entry = record(actor=user, action=Action.RECOVERY_CODE_USED, target=user, request=request)
    _mail_of(entry.pk)


def note_wrong_code(*, user: User, request: HttpRequest) -> None:
    """Somebody who knows the password, or sits at the person's browser, entered a wrong code."""
    record(actor=user, action=Action.SIGN_IN_FAILED, target=user, request=request, step="second factor")


def forget_factors(*, actor: User, user: User, request: HttpRequest | None, **details: str) -> bool:
    """Removes every factor of someone, and their recovery codes. Whether there was any factor.

    Call in a transaction, with the person locked, after it was checked that the actor may.
    """
    kinds = sorted({KINDS[Authenticator.Type(row.type)] for row in second_factors().filter(user=user)})
    Authenticator.objects.filter(user=user).delete()
    if kinds:
        details_of_all = {"kinds": kinds, **details}
        entry = record(actor=actor, action=Action.TWO_FACTOR_REMOVED, target=user, request=request, **details_of_all)
        _mail_of(entry.pk)
    return bool(kinds)


def _note_added(
    actor: User, authenticator: Authenticator, codes: Authenticator | None, request: HttpRequest, **details: str
) -> None:
    # This session has shown the second factor: it need not be asked for it once more.
    record_authentication(request, actor, "mfa", id=authenticator.pk, type=authenticator.type)
    details = _details(authenticator)
    entry = record(actor=actor, action=Action.TWO_FACTOR_ADDED, target=actor, request=request, **details)
    if codes is not None:
        record(actor=actor, action=Action.RECOVERY_CODES_MADE, target=actor, request=request)
    _mail_of(entry.pk)


def _details(authenticator: Authenticator) -> dict[str, str]:
    details = {"kind": KINDS[Authenticator.Type(authenticator.type)]}
    return details | {"name": authenticator.data["name"]} if "name" in authenticator.data else details


def _lock(user: User) -> User:
    rows = User.objects.select_related("organization").select_for_update(of=("self",), no_key=True)
    locked: User = rows.get(pk=user.pk)
    return locked


def _mail_of(entry_id: int) -> None:
    # Robust: what was done is done and in the log, whether or not a mail can be queued.
    transaction.on_commit(lambda: send_two_factor_mail.enqueue(entry_id), robust=True)
