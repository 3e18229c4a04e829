"""Views that show everybody the same, whoever is signed in: public keys, probes, robots.txt."""

from collections.abc import Callable
from typing import Any, TypeVar

from django.http.response import HttpResponseBase

OpenView = TypeVar("OpenView", bound=Callable[..., HttpResponseBase])


def open_to_everybody(view: OpenView) -> OpenView:
    """Marks the view, so that people whose two-factor is missing get it too.

    Django's ``login_not_required`` says less: allauth has it on views that change the account of a signed-in person.
    """
    view.is_open_to_everybody = True  # type: ignore[attr-defined]
    return view


def is_open_to_everybody(view: Callable[..., Any]) -> bool:
    return getattr(view, "is_open_to_everybody", False)
