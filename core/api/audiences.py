"""What a token is for: the claim `aud` (RFC 7519 section 4.1.3, RFC 8707).

A token opens the portal's own API, or exactly one service. The address of a service would be no good name for it: two
organizations could register the same one.
"""

import uuid

from django.conf import settings

from core import ids

WELL_KNOWN = "/.well-known/oauth-protected-resource"


def audience_of(service_id: uuid.UUID | None) -> str:
    """``None`` stands for the portal's own API."""
    return f"{_prefix()}{service_id}" if service_id else str(settings.TOKEN_AUDIENCE)


def service_named_in(audience: str) -> uuid.UUID | None:
    """The service of an audience; ``None`` if it is the portal's. Raises ``ValueError`` for any other audience."""
    if audience == settings.TOKEN_AUDIENCE:
        return None
    if not audience.startswith(_prefix()):
        raise ValueError("An audience of somebody else")
    found = ids.read(audience.removeprefix(_prefix()))
    if audience_of(found) != audience:
        raise ValueError("An id that is not canonical")
    return found


def metadata_url(service_id: uuid.UUID | None) -> str:
    """Where clients read how to use what the audience names (RFC 9728 section 3.1): the well-known path is inserted
    before the audience's own."""
    return audience_of(service_id).replace(settings.TOKEN_ISSUER, f"{settings.TOKEN_ISSUER}{WELL_KNOWN}", 1)


def _prefix() -> str:
    return f"{settings.TOKEN_ISSUER}/services/"
