"""The OpenID Connect provider that the settings name."""

import hashlib

from django.conf import settings

from core.setting_readers import OpenIDProvider

METHOD = "single sign-on"


def provider_in_use() -> OpenIDProvider | None:
    provider: OpenIDProvider | None = settings.OPENID_PROVIDER
    return provider


def provider_id() -> str:
    """What links are kept under: another issuer's ids are other people's, even where they are spelled alike."""
    provider = provider_in_use()
    return f"oidc-{hashlib.sha256(provider.issuer.encode()).hexdigest()[:16]}" if provider else ""
