"""How a service account is recognized by its address, also in copies that logs keep: no query is needed.

A service account has no mailbox. Its address is a name that cannot exist: RFC 2606 reserves `.invalid` for that. The
database refuses such an address for a person (`accounts.models.User`), so nobody can claim one.
"""

DOMAIN = "service-account.invalid"
ENDING = f"@{DOMAIN}"
# Pseudonyms of erased people (`accounts/services/erasure.py`).
ERASED_ENDING = "@erased.invalid"


def is_service_account(address: str) -> bool:
    return address.lower().endswith(ENDING)


def is_reserved(address: str) -> bool:
    """Whether only the portal itself gives such an address."""
    return address.lower().endswith((ENDING, ERASED_ENDING))


def handle_of(address: str) -> str:
    """What people read instead of the address: the part before the sign."""
    return address[: -len(ENDING)] if is_service_account(address) else address
