"""Seeds of authenticator apps: encrypted at rest, and bound to their owner.

A seed that someone moved to another person's row of the database does not decrypt there.
"""

from allauth.mfa.models import Authenticator

from accounts.models import User
from core.encryption import Box, Context, SecretUnreadable

BOX = Box(setting="MFA_SECRETS_KEYS", file_name="mfa-secrets.key")


def seal(seed: str, owner: User) -> str:
    return BOX.encrypt(seed, _context("app", owner.pk))


def open_seed(app: Authenticator) -> str:
    """Raises ``SecretUnreadable``."""
    return BOX.decrypt(app.data["secret"], _context("app", app.user_id))


def seal_pending(seed: str, owner: User) -> str:
    """Encrypts a seed for the session, while the person sets up the app."""
    return BOX.encrypt(seed, _context("app being set up", owner.pk))


def open_pending(sealed: str, owner: User) -> str:
    """Raises ``SecretUnreadable``."""
    return BOX.decrypt(sealed, _context("app being set up", owner.pk))


def seal_again(app: Authenticator, *, accept_unbound: bool = False) -> str:
    """Encrypts with the first key. Raises ``SecretUnreadable``.

    ``accept_unbound``: also accepts a seed of an earlier version, which is not bound to its owner.
    """
    context = _context("app", app.user_id)
    try:
        return BOX.encrypt_again(app.data["secret"], context)
    except SecretUnreadable:
        if not accept_unbound:
            raise
        return BOX.encrypt(BOX.decrypt_unbound(app.data["secret"]), context)


def _context(kind: str, owner_id: object) -> Context:
    return (kind, str(owner_id))
