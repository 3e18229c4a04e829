"""Entries of the authentication log, as the demo invents them."""

from typing import Any

from auditlog.models import TokenUse
from tokens.models import Token


def use_of(token: Token, *, status: int, **values: Any) -> TokenUse:
    """An unsaved use of the token. ``values``: all fields that say neither whose it is nor what came of it."""
    return TokenUse(
        token=token,
        token_name=token.name,
        scope=token.scope,
        service_id=token.service_id,
        owner=token.owner,
        owner_email=token.owner.email,
        organization=token.organization,
        account=token.organization.slug,
        status=status,
        outcome=TokenUse.Outcome.ALLOWED if status < 400 else TokenUse.Outcome.REFUSED,
        **values,
    )
