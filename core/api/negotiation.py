"""What the API answers with: JSON."""

from collections.abc import Iterable
from typing import Any

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

_CONTENT_WITH_JSON = {"*/*", "application/json"}


class JsonNegotiation(DefaultContentNegotiation):
    """A caller that takes anything, as nearly all do, has no list of wishes to be compared with what there is."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> Any:
        renderer, *others = renderers
        if not others and request.META.get("HTTP_ACCEPT", "*/*") in _CONTENT_WITH_JSON:
            return renderer, renderer.media_type
        return super().select_renderer(request, renderers, format_suffix)
