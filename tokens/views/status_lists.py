"""The signed status lists, for services that check tokens themselves."""

import uuid
from datetime import timedelta

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from core.api.problems import problem_response
from core.http.open_views import open_to_everybody
from tokens.status_lists.signed import CONTENT_TYPE, TTL, signed_list


@open_to_everybody
@require_safe
def status_list(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """A signed list (draft-ietf-oauth-status-list). It says which numbers are of tokens that can't be used, and nothing
    about the tokens."""
    text = signed_list(pk)
    if text is None:
        response: HttpResponse = problem_response(request, 404, "There is no status list with this id.")
    else:
        response = HttpResponse(text, content_type=CONTENT_TYPE)
        response["Cache-Control"] = f"public, max-age={TTL // timedelta(seconds=1)}"
    response["Access-Control-Allow-Origin"] = "*"
    return response
