"""What a new token is for: the portal's own API, or one service (accounts/services_for_tokens.py)."""

import uuid
from collections.abc import Sequence

from django.core.exceptions import ValidationError
from django.utils.translation import gettext, gettext_lazy

from accounts.models import User
from accounts.services_for_tokens import TokenService, services_for_tokens
from core.api import scopes
from core.api.scopes import Scope
from core.errors import DomainError
from core.text import Text
from tokens.pipeline_choice import listed

# An id, or a short name.
MAX_LENGTH = 36
NO_PIPELINES = gettext_lazy("A token for a service can't be limited to pipelines.")
SAY_WHICH: Text = gettext_lazy("This is a scope of a service. Say which service the token is for: %(scopes)s.")


class ServiceClosed(DomainError):
    """The owner of a token can't get a new one for its service."""

    code = "service_closed"
    message = gettext_lazy(
        "No token can be created for this service: it is switched off, or the token's owner may not use it."
    )


def find_service(owner: User, word: str) -> TokenService:
    """The service with this id or short name. Raises ``ValidationError`` if the owner can't use it now."""
    found = services_for_tokens().find(owner, word) if word.isprintable() and len(word) <= MAX_LENGTH else None
    if found is None:
        raise _unknown(owner)
    return found


def lock_service(owner: User, service_id: uuid.UUID) -> TokenService:
    """The service as it is now, locked until the transaction ends. Raises as `find_service`."""
    found = services_for_tokens().lock(owner, service_id)
    if found is None:
        raise _unknown(owner)
    return found


def _unknown(owner: User) -> ValidationError:
    if owner.is_service_account:
        return ValidationError(gettext("There is no such service, or the service account may not use it."))
    return ValidationError(gettext("There is no such service, or you may not use it."))


def scopes_of(service: TokenService | None, ids: Sequence[str]) -> list[Scope]:
    """The scopes with these ids, of the service or of the portal, each once. Raises ``ValidationError`` for others."""
    known = _known_to(service)
    if others := [each for each in ids if each not in known]:
        raise ValidationError(_why_unknown(service, others))
    return [known[each] for each in dict.fromkeys(ids)]


def _known_to(service: TokenService | None) -> dict[str, Scope]:
    return scopes.BY_ID if service is None else {scope.id: scope for scope in service.all_scopes}


def _why_unknown(service: TokenService | None, ids: Sequence[str]) -> str:
    if service is not None:
        return gettext("%(service)s has no such scope: %(scopes)s.") % {"service": service.name, "scopes": listed(ids)}
    if any(each.startswith("service:") for each in ids):
        return str(SAY_WHICH) % {"scopes": listed(ids)}
    return gettext("These scopes don't exist: %(scopes)s.") % {"scopes": listed(ids)}
