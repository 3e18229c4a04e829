"""The API answers in JSON."""

from collections.abc import Iterable
from typing import Any

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

_CONTENT_WITH_JSON = {"*/*", "application/json"}


class JsonNegotiation(DefaultContentNegotiation):
    """Skips the comparison of media types for clients that accept anything, as nearly all do."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> Any:
        renderer, *others = renderers
        if not others and request.META.get("HTTP_ACCEPT", "*/*") in _CONTENT_WITH_JSON:
            return renderer, renderer.media_type
        return super().select_renderer(request, renderers, format_suffix)
