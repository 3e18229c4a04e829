"""Views that answer everybody alike, signed in or not: public keys, probes, robots.txt."""

from collections.abc import Callable
from typing import Any, TypeVar

from django.http.response import HttpResponseBase

OpenView = TypeVar("OpenView", bound=Callable[..., HttpResponseBase])


def open_to_everybody(view: OpenView) -> OpenView:
    """Marks the view, so that people whose two-factor is missing get it too.

    Django has a similar mark, but allauth sets that one on views that change the account of a signed-in person.
    """
    view.is_open_to_everybody = True  # type: ignore[attr-defined]
    return view


def is_open_to_everybody(view: Callable[..., Any]) -> bool:
    return getattr(view, "is_open_to_everybody", False)
