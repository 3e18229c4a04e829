"""`ETag` and `If-Match` (RFC 9110): a client changes an object only if it is still what the client has read.

An ETag stands for what the operations that change the object can change. It stays the same if anything else in the
answer changes, such as the latest run of a pipeline. The portal never answers 304.
"""

import re
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from core.api.problems import Problem

# A proxy that compresses an answer marks its ETag as weak. That says nothing about the object, so the mark is ignored.
_ETAG = r'(?:W/)?"([\x21\x23-\x7e]*)"'
_LIST = re.compile(rf"\s*{_ETAG}(?:\s*,\s*{_ETAG})*\s*")


def seen_by(request: Request) -> str | None:
    """The fingerprints in `If-Match`, for the service (`core.seen.check_seen`). ``None`` without it, or for `*`: the
    object was found. Raises ``Problem``."""
    sent = request.META.get("HTTP_IF_MATCH")
    if sent is None or sent.strip() == "*":
        return None
    if not _LIST.fullmatch(sent):
        raise Problem("If-Match must be an ETag in quotation marks, as the portal sent it, or *.")
    return " ".join(re.findall(_ETAG, sent))


def with_etag(response: Response, fingerprint: str) -> Response:
    response["ETag"] = f'"{fingerprint}"'
    return response


PARAMETER: dict[str, Any] = {
    "type": {"type": "string", "pattern": r'^(\*|\s*(W/)?"[\x21\x23-\x7e]*"(\s*,\s*(W/)?"[\x21\x23-\x7e]*")*\s*)$'},
    "description": (
        "The `ETag` of the object as you read it. If it has changed since, nothing is changed, and the answer is 412 "
        "with the code `precondition_failed`. Without it, the change is made in any case."
    ),
}
HEADER: dict[str, Any] = {
    "description": "Changes with everything that can be changed here. Send it as `If-Match` with your change.",
    "required": True,
    "schema": {"type": "string"},
}
