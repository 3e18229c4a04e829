"""The media type of SCIM (RFC 7644 section 3.1). Clients may also send and ask for plain JSON."""

from core.api.parsers import StrictJSONParser
from core.api.problems import SCIM_CONTENT_TYPE
from core.api.renderers import OneEncoderRenderer


class ScimParser(StrictJSONParser):
    media_type = SCIM_CONTENT_TYPE


class ScimRenderer(OneEncoderRenderer):
    media_type = SCIM_CONTENT_TYPE
    format = "scim"
