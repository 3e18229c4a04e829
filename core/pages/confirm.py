"""Asks before something that can't be undone: on a page, or in a dialog if scripts run."""

from collections.abc import Sequence

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from core.pages.addresses import back_to
from core.text import Text


def confirm_page(
    request: HttpRequest,
    *,
    question: Text,
    consequences: Sequence[Text],
    button: Text,
    cancel_url: str,
    form: forms.Form | None = None,
    look: str = "danger",
    status: int = 200,
) -> HttpResponse:
    """Shows the question and the consequences. Its button posts to the same address, with ``next``.

    ``look``: of this button, for example "primary" if nothing ends.
    """
    back_url = back_to(request, "")
    context = {
        "question": question,
        "consequences": consequences,
        "button": button,
        "cancel_url": back_url or cancel_url,
        "back_url": back_url,
        "form": form,
        "look": look,
        "action": request.path,
    }
    return render(request, "confirm.html", context, status=status)
