"""Renders answers as JSON."""

from typing import Any

from rest_framework.renderers import JSONRenderer
from rest_framework.utils.encoders import JSONEncoder


class OneEncoderRenderer(JSONRenderer):
    """DRF's renderer, with one encoder for all answers. DRF creates one for each answer, and parses the media type for
    an ``indent`` that nearly nobody asks for."""

    _encoder = JSONEncoder(ensure_ascii=JSONRenderer.ensure_ascii, allow_nan=False, separators=(",", ":"))

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> Any:
        if data is None or accepted_media_type != self.media_type:
            return super().render(data, accepted_media_type, renderer_context)
        # JSON allows these two line separators in texts, and JavaScript did not before 2019.
        return self._encoder.encode(data).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode()
