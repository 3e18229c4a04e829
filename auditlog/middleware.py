"""No answer to a request that was made with a token leaves before its entry is committed.

This is the only place that knows that uses are logged: views and services know nothing of it.
"""

import logging
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve

from auditlog import journal
from opsera_portal.api import problems
from opsera_portal.api.operations import operation_of
from opsera_portal.request_context import is_api

logger = logging.getLogger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class TokenUseMiddleware:
    """Opens a use, lets the request be answered, and hands the finished use to the journal.

    A request that only reads is answered first and its entry committed alone. For one that may change something, view
    and entry share one transaction: both are committed or neither is. If the entry cannot be written the answer is
    thrown away, and 503 says that nothing was changed.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not is_api(request) or "HTTP_AUTHORIZATION" not in request.META:
            return self.get_response(request)
        use = journal.OpenUse.begin(request)
        request.token_use = use  # type: ignore[attr-defined]
        try:
            if _may_change_something(request):
                return self._answer_and_log_together(request, use)
            return self._answer_then_log(request, use)
        except (DatabaseError, InterfaceError) as error:
            logger.error("The use of a token could not be logged, request %s: %s", use.request_id, error)
            return problems.problem_response(request, 503, problems.Unavailable.default_detail)

    def _answer_then_log(self, request: HttpRequest, use: journal.OpenUse) -> HttpResponseBase:
        response = self.get_response(request)
        _commit(use, response)
        return response

    def _answer_and_log_together(self, request: HttpRequest, use: journal.OpenUse) -> HttpResponseBase:
        with transaction.atomic():
            with transaction.atomic():
                response = self.get_response(request)
                if response.status_code >= 400:
                    # What the view began goes; the entry that tells of the refusal stays.
                    transaction.set_rollback(True)
            _commit(use, response)
        return response


def _commit(use: journal.OpenUse, response: HttpResponseBase) -> None:
    if use.token is not None:
        journal.commit(use, status=response.status_code, code=getattr(response, "problem_code", None))


def _may_change_something(request: HttpRequest) -> bool:
    """Whether this request needs a transaction of its own. Several published operations are POSTs that only read."""
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return False
    try:
        callback = resolve(request.path_info).func
    except Resolver404:
        return False
    operation = operation_of(getattr(callback, "cls", None), getattr(callback, "actions", None), request.method or "")
    return operation is None or not operation.only_reads
