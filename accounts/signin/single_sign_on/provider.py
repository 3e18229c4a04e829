"""The OpenID Connect provider that the settings name."""

import hashlib

from django.conf import settings

from core.setting_readers import OpenIDProvider

METHOD = "single sign-on"


def provider_in_use() -> OpenIDProvider | None:
    provider: OpenIDProvider | None = settings.OPENID_PROVIDER
    return provider


def provider_id() -> str:
    """The name under which connections are stored. It contains the issuer, because two issuers can use the same ids."""
    provider = provider_in_use()
    return f"oidc-{hashlib.sha256(provider.issuer.encode()).hexdigest()[:16]}" if provider else ""
