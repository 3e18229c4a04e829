"""Logs each use of a token before its request is answered.

Views and services do not know that uses are logged.
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
from auditlog.open_use import open_use
from core.api import problems, sunset, throttling
from core.api.changes import change_of
from core.db.unavailable import refused_writes
from core.http.request_context import carries_token, is_oauth

logger = logging.getLogger(__name__)


class TokenUseMiddleware:
    """Opens a use, lets the request be answered, and hands the finished use to the journal.

    Requests that only read are answered first; then their entry is committed alone. For other requests `ApiViewSet`
    begins a transaction (`core.api.changes`), so that change and entry are both committed or neither is. If the entry
    cannot be written, the answer is thrown away, and a 503 says that nothing was changed.

    The answer's headers say when the token ends and how many requests are left.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not carries_token(request):
            return self.get_response(request)
        use = open_use(request)
        try:
            with change_of(request) as change:
                response = self.get_response(request)
                change.end(keep=response.status_code < 400)
                if not use.was_looked_at:
                    _check_token(request)
                if use.token is not None:
                    status, code = use.refusal or (response.status_code, getattr(response, "problem_code", None))
                    journal.commit(use, status=status, code=code)
        except (DatabaseError, InterfaceError) as error:
            logger.error("The use of a token could not be logged, request %s: %s", use.request_id, error)
            refused_writes.note(error)
            response = problems.problem_response(request, 503, problems.Unavailable.default_detail)
        if use.token is not None and not use.is_told_by_service:
            sunset.announce(response, use.token)
            throttling.announce(response, use.token)
        return response


def _check_token(request: HttpRequest) -> None:
    """Authenticates a request that was answered before any view did, for example because its body is too large.

    If the token is genuine, its use is logged like any other. The credentials of a service (RFC 6749 section 2.3.1) are
    no token.
    """
    if is_oauth(request) and not request.META.get("HTTP_AUTHORIZATION", "").lower().startswith("bearer"):
        return
    with contextlib.suppress(APIException):
        APIView().initialize_request(request).user  # noqa: B018  (reading it authenticates)
