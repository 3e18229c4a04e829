"""What accounts and auditlog ask of access tokens (accounts/access_tokens.py, auditlog/signals.py)."""

from typing import Any

from django.db.models import Count, OuterRef, Subquery
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce
from django.dispatch import receiver
from django.http import HttpRequest

from accounts.access_tokens import all_tokens_expired, live_tokens_counted
from accounts.models import User
from auditlog.open_use import OpenUse
from auditlog.signals import token_use_logged
from tokens import services
from tokens.models import Token


@receiver(live_tokens_counted)
def count_live_tokens(sender: object, **kwargs: Any) -> Combinable:
    tokens = Token.objects.live().filter(owner=OuterRef("pk")).order_by()
    return Coalesce(Subquery(tokens.values("owner").annotate(count=Count("pk")).values("count")), 0)


@receiver(all_tokens_expired)
def expire_all_tokens(sender: object, actor: User, reason: str, request: HttpRequest, **kwargs: Any) -> int:
    return services.revoke_own(actor=actor, reason=reason, request=request)


@receiver(token_use_logged)
def save_last_use(sender: object, use: OpenUse, **kwargs: Any) -> None:
    """Saves it at most once a minute. A refused use does not count: a token that is blocked because it was not used for
    too long must not become valid again by being tried."""
    token = use.token
    if isinstance(token, Token) and use.was_accepted and token.last_use_is_stale(use.at):
        token.mark_used(at=use.at, ip=use.ip)
