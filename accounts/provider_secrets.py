"""Client secrets of organizations' providers: encrypted at rest, and bound to their row and issuer.

A secret that someone moved to another row of the database, or whose issuer they changed there, does not decrypt: it is
never sent to another provider than the one that it was entered for.
"""

from accounts.models import OrganizationProvider
from accounts.security.two_factor_secrets import BOX
from core.encryption import Context


def seal_secret(secret: str, row: OrganizationProvider) -> str:
    return BOX.encrypt(secret, _context(row))


def open_secret(row: OrganizationProvider) -> str:
    """Raises ``SecretUnreadable``."""
    return BOX.decrypt(row.sealed_secret, _context(row))


def seal_secret_again(row: OrganizationProvider) -> str:
    """Encrypts with the first key. Raises ``SecretUnreadable``."""
    return BOX.encrypt_again(row.sealed_secret, _context(row))


def _context(row: OrganizationProvider) -> Context:
    return ("client secret", str(row.pk), row.issuer)
