"""Adding, using and removing second factors, each with its entry in the activity log and its mail.

allauth implements the protocols; `codes.py` and `passkeys.py` have the portal's forms for them.
"""

from datetime import UTC, datetime
from typing import Any

from allauth.mfa.models import Authenticator
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy, gettext_noop, ngettext

from accounts.allauth_internals import activate_totp, delete_and_cleanup, record_authentication, webauthn_flows
from accounts.mails import tell_by_mail
from accounts.models import User
from accounts.privileges import Privilege, require_proof
from accounts.querysets import second_factors
from accounts.security import recovery_codes, two_factor_secrets
from auditlog.actions import Action
from auditlog.models import Activity
from auditlog.record import record
from core.db.locks import lock, lock_if_exists
from core.errors import DomainError

# Their names in the log, in English. Mails translate them.
KINDS = {
    Authenticator.Type.TOTP: gettext_noop("authenticator app"),
    Authenticator.Type.WEBAUTHN: gettext_noop("passkey"),
    Authenticator.Type.RECOVERY_CODES: gettext_noop("recovery codes"),
}


# So many wrong codes in a day (UTC) are no mistake.
WRONG_CODES_A_DAY = 10
# The details of their entries in the activity log.
WRONG_CODE = {"step": "second factor"}


PASSKEYS_AT_MOST = 20


class LastSecondFactor(DomainError):
    """The person must use two-factor, and this is their last factor."""

    message = gettext_lazy("You must use two-factor. Set up another second factor first, then remove this one.")


class TooManyPasskeys(DomainError):
    """Each sign-in reads all passkeys of the person."""

    def __init__(self) -> None:
        said = ngettext(
            "You have %(count)s passkey. Remove one first.",
            "You have %(count)s passkeys. Remove one first.",
            PASSKEYS_AT_MOST,
        )
        super().__init__(said % {"count": PASSKEYS_AT_MOST})


class NoSecondFactor(DomainError):
    """Recovery codes replace a second factor, and the person has none."""

    message = gettext_lazy("Recovery codes replace a second factor. Set one up first.")


def add_app(*, actor: User, form: Any, request: HttpRequest) -> bool:
    """Adds the authenticator app of a valid ``ActivateAppForm``. Returns whether to show new recovery codes now."""
    require_proof(Privilege.CHANGE_OWN_TWO_FACTOR, request)
    with transaction.atomic():
        _lock(actor)
        authenticator, _ = activate_totp(request, form)
        # The code in the form counts as used.
        authenticator.data = {"secret": two_factor_secrets.seal(form.secret, actor), "last_step": form.step}
        authenticator.save(update_fields=["data"])
        return _note_added(actor, authenticator, request)


def add_passkey(*, actor: User, name: str, credential: dict[str, Any], request: HttpRequest) -> bool:
    """Stores a passkey that ``AddPasskeyForm`` has checked. Returns whether to show recovery codes.

    Raises ``TooManyPasskeys``.
    """
    require_proof(Privilege.CHANGE_OWN_TWO_FACTOR, request)
    with transaction.atomic():
        _lock(actor)
        if second_factors().filter(user=actor, type=Authenticator.Type.WEBAUTHN).count() >= PASSKEYS_AT_MOST:
            raise TooManyPasskeys
        authenticator, _ = webauthn_flows.add_authenticator(request, name, credential)
        return _note_added(actor, authenticator, request)


def remove_factor(*, actor: User, authenticator: Authenticator, request: HttpRequest) -> None:
    """Removing the last factor also removes the recovery codes. Raises ``LastSecondFactor``.

    Locks the person, so that two factors removed at the same time can't both count as not the last one.
    """
    require_proof(Privilege.CHANGE_OWN_TWO_FACTOR, request)
    with transaction.atomic():
        person = _lock(actor)
        others = second_factors().filter(user=person).exclude(pk=authenticator.pk)
        if person.needs_two_factor and not others.exists():
            raise LastSecondFactor
        details = _details(authenticator)
        delete_and_cleanup(request, authenticator)
        entry = record(actor=actor, action=Action.TWO_FACTOR_REMOVED, target=actor, request=request, **details)
        tell_by_mail(entry)


def make_recovery_codes(*, actor: User, request: HttpRequest) -> None:
    """Invalidates the old codes; `show_recovery_codes` creates and returns the new ones. Raises ``NoSecondFactor``."""
    require_proof(Privilege.CHANGE_OWN_TWO_FACTOR, request)
    with transaction.atomic():
        if not second_factors().filter(user=_lock(actor)).exists():
            raise NoSecondFactor
        _codes_of(actor).delete()
        _begin_recovery_codes(actor)
        entry = record(actor=actor, action=Action.RECOVERY_CODES_MADE, target=actor, request=request)
        tell_by_mail(entry)


def show_recovery_codes(*, user: User) -> list[str] | None:
    """The codes, once: a list for the first request, an empty list for all later ones and for those at the same time.

    ``None`` if the person has no recovery codes.
    """
    row = _codes_of(user).first()
    if row is None:
        return None
    if "hashes" in row.data:
        return []
    codes = recovery_codes.create_codes()
    data = {"hashes": recovery_codes.hashes_of(codes)}
    shown_here = _codes_of(user).filter(pk=row.pk, data={}).update(data=data)
    return codes if shown_here else []


def recovery_codes_left(codes: Authenticator) -> int | None:
    """How many have not been used; ``None`` if they have not been shown yet."""
    return len(codes.data["hashes"]) if "hashes" in codes.data else None


def use_recovery_code(*, user: User, code: str, request: HttpRequest) -> Authenticator | None:
    """Uses up a code and returns the row of the codes; ``None`` if the code is wrong or already used."""
    compared = _codes_of(user).first()
    # Compare before the row is locked: it is slow.
    if compared is None or not recovery_codes.fits(code, compared.data.get("hashes", {})):
        return None
    with transaction.atomic():
        row = lock_if_exists(_codes_of(user), compared.pk)
        # Another request may have used it since. New codes are another row.
        if row is None or row.data["hashes"].pop(code[0], None) is None:
            return None
        row.save(update_fields=["data"])
        entry = record(actor=user, action=Action.RECOVERY_CODE_USED, target=user, request=request)
        tell_by_mail(entry)
    return row


def note_wrong_code(*, user: User, request: HttpRequest) -> None:
    """Records that somebody who knows the password, or uses the person's browser, entered a wrong code.

    If it is too often to be a mistake, the person gets one mail a day (ASVS 6.3.5). The entries of the day are counted,
    under a lock: so the entry that is one too many and its mail are committed together, or not at all.
    """
    with transaction.atomic():
        _lock(user)
        entry = record(actor=user, action=Action.SIGN_IN_FAILED, target=user, request=request, **WRONG_CODE)
        if _wrong_codes_on(entry.at, user) == WRONG_CODES_A_DAY:
            tell_by_mail(entry)


def _wrong_codes_on(moment: datetime, user: User) -> int:
    midnight = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return Activity.objects.filter(
        actor=user, at__gte=midnight, action=Action.SIGN_IN_FAILED, details=WRONG_CODE
    ).count()


def rename_passkey(*, actor: User, passkey: Authenticator, name: str, request: HttpRequest) -> None:
    with transaction.atomic():
        row = lock(Authenticator.objects.all(), passkey.pk)
        names = {"from": row.data["name"], "to": name}
        row.data["name"] = name
        row.save(update_fields=["data"])
        record(actor=actor, action=Action.USER_CHANGED, target=actor, request=request, passkey=names)


def accept_sign_count(passkey: Authenticator, count: int, *, request: HttpRequest) -> bool:
    """Whether the device's counter has increased since its last use (Web Authentication, section 7.2, step 22).

    If it has not, the device may be a copy, and the activity log gets an entry. Most passkeys don't count and send 0.
    """
    with transaction.atomic():
        row = lock(Authenticator.objects.all(), passkey.pk)
        last = row.data.get("sign_count", row.wrap().authenticator_data.counter)
        if count > last:
            row.data["sign_count"] = count
            row.save(update_fields=["data"])
        elif last > 0:
            record(actor=row.user, action=Action.SIGN_IN_FAILED, target=row.user, request=request, step="sign count")
            return False
    return True


def forget_factors(
    *, actor: User, user: User, request: HttpRequest | None, is_told: bool = True, **details: str
) -> bool:
    """Removes all of a person's second factors and recovery codes. Returns whether there was any factor.

    ``is_told``: the person gets a mail. Call it in a transaction, with the person locked and the actor checked.
    """
    kinds = sorted({KINDS[Authenticator.Type(row.type)] for row in second_factors().filter(user=user)})
    Authenticator.objects.filter(user=user).delete()
    if kinds:
        details_of_all = {"kinds": kinds, **details}
        entry = record(actor=actor, action=Action.TWO_FACTOR_REMOVED, target=user, request=request, **details_of_all)
        if is_told:
            tell_by_mail(entry)
    return bool(kinds)


def _codes_of(user: User) -> "QuerySet[Authenticator]":
    rows: QuerySet[Authenticator] = Authenticator.objects.filter(user=user, type=Authenticator.Type.RECOVERY_CODES)
    return rows


def _begin_recovery_codes(user: User) -> None:
    """Creates the row without codes: they are created when they are shown."""
    Authenticator.objects.create(user=user, type=Authenticator.Type.RECOVERY_CODES, data={})


def _note_added(actor: User, authenticator: Authenticator, request: HttpRequest) -> bool:
    """Creates recovery codes with the first factor. Returns whether it did. Call it with the actor locked."""
    # This counts as proving the second factor in this session.
    record_authentication(request, actor, "mfa", id=authenticator.pk, type=authenticator.type)
    details = _details(authenticator)
    entry = record(actor=actor, action=Action.TWO_FACTOR_ADDED, target=actor, request=request, **details)
    tell_by_mail(entry)
    if _codes_of(actor).exists():
        return False
    _begin_recovery_codes(actor)
    record(actor=actor, action=Action.RECOVERY_CODES_MADE, target=actor, request=request)
    return True


def _details(authenticator: Authenticator) -> dict[str, str]:
    details = {"kind": KINDS[Authenticator.Type(authenticator.type)]}
    return details | {"name": authenticator.data["name"]} if "name" in authenticator.data else details


def _lock(user: User) -> User:
    locked: User = lock(User.objects.people().select_related("organization"), user.pk)
    return locked
