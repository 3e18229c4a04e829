"""The address of the API schema."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from django.conf import settings
from django.utils import translation
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiJsonRenderer2
from drf_spectacular.views import SpectacularJSONAPIView


class OnceGenerator(SchemaGenerator):
    """Generates the schema once in each process. It is the same for everyone, and generating it takes longer than any
    other request of a stranger."""

    def get_schema(self, request: Any = None, public: bool = False) -> dict[str, Any]:
        return _written_once()


@cache
def _written_once() -> dict[str, Any]:
    # It is kept for all readers, and labels of choices are translated.
    with translation.override(settings.LANGUAGE_CODE):
        document: dict[str, Any] = SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]
    return document


class OnceRenderer(OpenApiJsonRenderer):
    """Writes the JSON once in each process: only Python's slow encoder indents."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        if data is not _written_once():
            # An error.
            return super().render(data, accepted_media_type, renderer_context)
        return _as_json(self.get_indent(accepted_media_type, renderer_context or {}))  # type: ignore[no-untyped-call]


class OnceRenderer2(OnceRenderer):
    media_type = OpenApiJsonRenderer2.media_type


# The client can choose an indent up to 8.
@cache
def _as_json(indent: int) -> bytes:
    written: bytes = OpenApiJsonRenderer().render(_written_once(), renderer_context={"indent": indent})
    return written


class SchemaView(SpectacularJSONAPIView):
    generator_class = OnceGenerator
    renderer_classes = [OnceRenderer, OnceRenderer2]
