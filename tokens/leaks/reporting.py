"""Reports of leaked tokens: anyone who has a token may end it, without an account.

The reported tokens are kept nowhere: not in a row, a log line, an error or an answer.
"""

import logging
import uuid

from django.db import transaction
from django.http import HttpRequest

from accounts.notifications.kinds import LEAKED
from auditlog.actions import Action
from core.http.request_context import printable, without_tokens
from core.rate_limits import Limit
from tokens.mails import report_mail, tell_owners
from tokens.models import Token
from tokens.services import end_tokens

logger = logging.getLogger(__name__)

MAX_REPORTED = 100
MAX_URL_LENGTH = 500

# For each address.
REPORTS = Limit("token-report", amount=30, seconds=60)


def report_tokens(*, token_ids: list[uuid.UUID], url: str = "", request: HttpRequest | None = None) -> list[Token]:
    """Ends the tokens that have not ended yet, puts one mail to each owner, and returns the tokens that it ended.

    The caller was shown the tokens themselves, which is all the permission that this needs. ``url`` is where they were
    found, according to the reporter. If a token is reported several times at once, one report ends it.
    """
    if not token_ids:
        # A request without a genuine token must not take the database's write lock.
        return []
    url = without_tokens(printable(url))
    with transaction.atomic():
        ended = end_tokens(
            token_ids,
            action=Action.TOKEN_REPORTED,
            reason=f"Reported as leaked, found at {url}" if url else "Reported as leaked.",
            request=request,
            by="someone who has the token",
            found_at=url,
        )
        tell_owners(LEAKED, report_mail, ended)
    logger.info("Tokens reported as leaked and ended: %d; request %s", len(ended), getattr(request, "request_id", None))
    return ended
