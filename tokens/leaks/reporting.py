"""Reports of leaked tokens: anyone who has a token may end it, without an account.

The reported tokens are kept nowhere: not in a row, a log line, an error or an answer.
"""

import logging
import uuid

from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext_lazy
from rest_framework.exceptions import Throttled

from accounts.notifications.kinds import LEAKED
from auditlog.actions import Action
from core.api.throttling import neighborhood
from core.http.request_context import printable, without_tokens
from core.rate_limits import Limit
from tokens.mails import report_mail, tell_owners
from tokens.models import Token
from tokens.replacement import family_from, lock_rotating_families
from tokens.services import end_tokens

FAMILY = gettext_lazy("A token of its family was reported as leaked.")

logger = logging.getLogger(__name__)

MAX_REPORTED = 100
MAX_URL_LENGTH = 500

# For each address.
REPORTS = Limit("token-report", amount=30, seconds=60)


def check_limit(request: HttpRequest) -> None:
    """It is a limit of its own: an address that has reached another limit must be able to report a leaked token. Raises
    ``Throttled``."""
    wait = REPORTS.take(neighborhood(request))
    if wait is not None:
        raise Throttled(wait)


def report_tokens(*, token_ids: list[uuid.UUID], url: str = "", request: HttpRequest | None = None) -> list[Token]:
    """Ends the tokens that have not ended yet, puts one mail to each owner, and returns the tokens that it ended.

    A token that can replace itself takes along the tokens that replaced it (`_end_successors`).

    The caller was shown the tokens themselves, which is all the permission that this needs. ``url`` is where they were
    found, according to the reporter. If a token is reported several times at once, one report ends it.
    """
    if not token_ids:
        # A request without a genuine token must not take the database's write lock.
        return []
    url = without_tokens(printable(url))
    with transaction.atomic():
        rotating = lock_rotating_families(token_ids)
        ended = end_tokens(
            token_ids,
            action=Action.TOKEN_REPORTED,
            reason=f"Reported as leaked, found at {url}" if url else "Reported as leaked.",
            request=request,
            by="someone who has the token",
            found_at=url,
        )
        for token in rotating:
            ended += _end_successors(token, url=url, request=request)
        tell_owners(LEAKED, report_mail, ended)
    logger.info("Tokens reported as leaked and ended: %d; request %s", len(ended), getattr(request, "request_id", None))
    return ended


def _end_successors(token: Token, *, url: str, request: HttpRequest | None) -> list[Token]:
    """Ends the live tokens that replaced a reported one, also if that has ended itself. A person who
    found it may have let it replace itself, and then has the new token. The portal can't know this, so it ends the
    family, as after a reuse."""
    return end_tokens(
        family_from(token),
        action=Action.TOKEN_REPORTED,
        reason=str(FAMILY),
        request=request,
        by="someone who has a token of its family",
        found_at=url,
        reported=str(token.pk),
    )
