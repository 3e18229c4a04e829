"""What happens to tokens when the audit log reports something (auditlog/signals.py)."""

from typing import Any

from django.dispatch import receiver

from auditlog.open_use import OpenUse
from auditlog.signals import token_use_logged
from tokens.models import Token


@receiver(token_use_logged)
def save_last_use(sender: object, use: OpenUse, **kwargs: Any) -> None:
    """Saves it at most once a minute. A refused use does not count: a token that is blocked because it was not used for
    too long must not become valid again by being tried."""
    token = use.token
    if isinstance(token, Token) and use.was_accepted and token.last_use_is_stale(use.at):
        token.mark_used(at=use.at, ip=use.ip)
