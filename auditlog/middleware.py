"""No answer to a request that was made with a token leaves before its entry is committed.

This is the only place that knows that uses are logged: views and services know nothing of it.
"""

import contextlib
import logging
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.exceptions import APIException
from rest_framework.views import APIView

from auditlog import journal
from core.api import fast_path, problems, sunset, throttling
from core.http.request_context import is_api

logger = logging.getLogger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class TokenUseMiddleware:
    """Opens a use, lets the request be answered, and hands the finished use to the journal.

    A request that only reads is answered first and its entry committed alone. For one that may change something, view
    and entry share one transaction, which the view's base class begins (`OpenUse.begin_change`): both are committed or
    neither is. If the entry cannot be written the answer is thrown away, and 503 says that nothing was changed.
    Whatever the answer is, its head says when the token ends and how many requests are left.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not is_api(request) or "HTTP_AUTHORIZATION" not in request.META:
            return self.get_response(request)
        use = journal.OpenUse.begin(request)
        request.token_use = use  # type: ignore[attr-defined]
        try:
            with use.whole, use.view:
                response = fast_path.answer(request)
                use.end_change(keep=response.status_code < 400)
                if not use.was_looked_at:
                    _look_at_the_token(request)
                if use.token is not None:
                    code = getattr(response, "problem_code", None)
                    journal.commit(use, status=response.status_code, code=code)
        except (DatabaseError, InterfaceError) as error:
            logger.error("The use of a token could not be logged, request %s: %s", use.request_id, error)
            response = problems.problem_response(request, 503, problems.Unavailable.default_detail)
        if use.token is not None:
            sunset.announce(response, use.token)
            throttling.announce(response, use.token)
        return response


def _look_at_the_token(request: HttpRequest) -> None:
    """For a request that was answered before any view saw it (a wrong host, a body that is too large): its use is
    logged all the same, if the token is genuine."""
    with contextlib.suppress(APIException):
        APIView().initialize_request(request).user  # noqa: B018  (looking is what authenticates)
