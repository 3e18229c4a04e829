"""Carries out a form that creates or starts something only once, even if it is sent again after a double click.

Each form has an id (`{% submission %}`), which is claimed in the transaction of the change. If the form is sent twice
at the same time, the second request waits for the first and gets the same redirect. An answer that is not a redirect,
such as the form with an error, releases the id. The API has `Idempotency-Key` for this (core/api/idempotency.py).
"""

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlsplit

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase, HttpResponseRedirect
from django.utils import timezone

from core.models import Submission
from core.pages.addresses import SIGN_IN_STEPS, match_of

FIELD = "submission"
# As long as a token can be shown after it was created. Later the same id counts as new, so that the Run button works
# on a page that was open for hours.
REMEMBERED_FOR = timedelta(minutes=10)


def answered_once(
    request: HttpRequest, *, person_id: uuid.UUID, answer: Callable[[], HttpResponseBase]
) -> HttpResponseBase:
    form_id = _form_id(request)
    if form_id is None:
        return answer()
    with transaction.atomic():
        _past().filter(person_id=person_id, form_id=form_id).delete()
        row, is_first = Submission.objects.get_or_create(person_id=person_id, form_id=form_id)
        if not is_first:
            return HttpResponseRedirect(row.led_to)
        response = answer()
        if _was_done(response):
            row.led_to = response["Location"]
            row.save(update_fields=["led_to"])
        else:
            row.delete()
        return response


def forget_past(stopping: threading.Event) -> None:
    _past().delete()


def _past() -> QuerySet[Submission]:
    return Submission.objects.filter(sent_at__lt=timezone.now() - REMEMBERED_FOR)


def _form_id(request: HttpRequest) -> uuid.UUID | None:
    """``None`` without a valid id."""
    try:
        return uuid.UUID(request.POST.get(FIELD, ""))
    except ValueError:
        return None


def _was_done(response: HttpResponseBase) -> bool:
    """Whether it redirects, but not to a page that asks the person to sign in or confirm who they are first."""
    if response.status_code != 302:
        return False
    match = match_of(urlsplit(response["Location"]).path)
    return match is None or match.view_name not in SIGN_IN_STEPS
