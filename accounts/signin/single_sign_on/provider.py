"""The OpenID Connect providers: the operator's, which the settings name, and those of organizations.

An organization's provider signs in only people of that organization. Its connections are stored under a name of its
own (`OrganizationProvider.connection`), so that the same issuer and subject are another identity in another
organization.
"""

import hashlib
import logging
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.db.models import QuerySet

from accounts.models import OrganizationProvider, User
from accounts.provider_secrets import open_secret
from accounts.querysets import UserQuerySet
from core.encryption import SecretUnreadable

logger = logging.getLogger(__name__)

METHOD = "single sign-on"
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Provider:
    """``id`` is the name under which connections are stored. ``row``: for an organization's own provider.
    ``only_of``: the short name of the only organization whose people the operator's provider signs in."""

    id: str
    name: str
    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    trusts_email: bool = False
    row: OrganizationProvider | None = None
    only_of: str = ""

    @property
    def issuer_in_words(self) -> str:
        """What errors call the configured issuer."""
        return "the organization's issuer" if self.row else "OIDC_ISSUER"

    @property
    def client_id_in_words(self) -> str:
        return "the organization's client id" if self.row else "OIDC_CLIENT_ID"

    def members(self, people: UserQuerySet) -> UserQuerySet:
        """Those of the people whom this provider may sign in."""
        if self.row is not None:
            return people.filter(organization_id=self.row.organization_id)
        return people.filter(organization__slug=self.only_of) if self.only_of else people

    def admits(self, person: User) -> bool:
        """The same for one person."""
        if self.row is not None:
            return person.organization_id == self.row.organization_id
        return not self.only_of or (person.organization is not None and person.organization.slug == self.only_of)

    def may_reach(self, address: str) -> bool:
        """Whether the portal may send a request to this address of the provider.

        The operator's provider is trusted. Administrators enter an organization's issuer, and its discovery document
        names further addresses, so each must be on a host and port that the operator allows. Only the name is checked,
        not the IP address that it leads to: see `is_allowed`.
        """
        return self.row is None or is_allowed(address)


def provider_of_settings() -> Provider | None:
    found = settings.OPENID_PROVIDER
    if found is None:
        return None
    # Contains the issuer, because two issuers can use the same ids.
    digest = hashlib.sha256(found.issuer.encode()).hexdigest()[:16]
    return Provider(
        f"oidc-{digest}",
        found.name,
        found.issuer,
        found.client_id,
        found.client_secret,
        found.trusts_email,
        only_of=found.organization,
    )


def provider_of(row: OrganizationProvider | None) -> Provider | None:
    """``None`` if the organization has switched it off, or the operator no longer allows its host."""
    if row is None or not row.is_enabled or not is_allowed(row.issuer):
        return None
    try:
        secret = open_secret(row)
    except SecretUnreadable:
        # The provider then refuses the portal, and the person sees the page for that.
        secret = ""
        logger.error("Single sign-on: no key opens the client secret of organization %s", row.organization_id)
    return Provider(row.connection, row.name, row.issuer, row.client_id, secret, row.trusts_email, row)


def provider_with(provider_id: str | None) -> Provider | None:
    """The provider with this id, if it is in use."""
    if not provider_id:
        return None
    found = provider_of_settings()
    if found is not None and found.id == provider_id:
        return found
    return provider_of(_rows().filter(connection=provider_id).first())


def provider_of_organization(slug: str) -> Provider | None:
    return provider_of(_rows().filter(organization__slug=slug).first())


def providers_for(person: User) -> list[Provider]:
    """The providers that this person may sign in with, their organization's own first."""
    own = provider_of(_rows().filter(organization=person.organization_id).first()) if has_organizations() else None
    return [provider for provider in (own, provider_of_settings()) if provider is not None and provider.admits(person)]


def connected_providers(person: User) -> list[Provider]:
    """The providers in use that this person is connected with."""
    linked = set(SocialAccount.objects.filter(user=person).values_list("provider", flat=True))
    return [provider for provider in providers_for(person) if provider.id in linked]


def has_organizations() -> bool:
    """Whether the operator lets organizations have their own providers."""
    return bool(settings.OIDC_ORGANIZATION_HOSTS)


def is_in_use() -> bool:
    return settings.OPENID_PROVIDER is not None or has_organizations()


def is_allowed(address: str) -> bool:
    """Whether the operator allows this host for organizations' providers, with this port.

    With https the name is enough: the server must prove it with its certificate, wherever the name leads to. Without
    https only this machine is possible, for tests (`core.setting_readers.is_issuer`).
    """
    try:
        parts = urlsplit(address)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return False
    # Programs read other spellings of a host in different ways.
    if not re.fullmatch(r"[a-z0-9.-]+(:[0-9]+)?", parts.netloc) or not re.fullmatch(r"[!-\[\]-~]+", address):
        return False
    return any(_fits(str(parts.hostname), port, entry) for entry in settings.OIDC_ORGANIZATION_HOSTS)


def _fits(host: str, port: int, entry: str) -> bool:
    allowed, _, allowed_port = entry.partition(":")
    if port != int(allowed_port or 443):
        return False
    return host.endswith(allowed[1:]) if allowed.startswith("*.") else host == allowed


def _rows() -> QuerySet[OrganizationProvider]:
    return OrganizationProvider.objects.select_related("organization")
