"""Single sign-on by OpenID Connect, where the environment names a provider (docs/single-sign-on.md).

The dance is allauth's: state, PKCE, the exchange of the code. Stricter here: the signature, issuer, audience and nonce
of each ID token are checked, the user info must be of the same person, and nobody signs up. Who comes for the first
time is found by an address that the provider has verified; from then on by the provider's own id of them, only.
"""

import hashlib
import logging
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlsplit

import jwt
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter, get_adapter
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from requests import RequestException

from accounts.mails import tell_by_mail
from accounts.models import User
from accounts.privileges import Privilege, require_proof
from auditlog.actions import Action, record
from opsera_portal.environment import OpenIDProvider
from opsera_portal.limits import Limit
from opsera_portal.request_context import client_address

logger = logging.getLogger(__name__)

METHOD = "single sign-on"
# Signatures that the provider's public keys verify. None that a shared secret makes, and not "none".
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
# Clocks of two machines.
LEEWAY_SECONDS = 60
MALFORMED = (AttributeError, KeyError, TypeError, ValueError, jwt.PyJWTError)
# What a provider must tell of itself.
ADDRESSES = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri")

# From one address. Each start asks the provider for something, and makes a thread wait for it.
STARTS = Limit("single-sign-on-starts", amount=60, seconds=60)
# So that no stranger fills the server's own log.
FAILURES_TOLD = Limit("single-sign-on-failures-told", amount=30, seconds=60)

NOT_KNOWN = "Nobody who may sign in here has this account. Ask an Administrator of your organization to invite you."


class NotLinked(Exception):
    """Nobody may be signed in by this identity."""


@dataclass(frozen=True)
class Identity:
    """Who the provider says that it is: its own id of the person, and their address where it has verified that."""

    subject: str
    verified_email: str | None


def provider_in_use() -> OpenIDProvider | None:
    provider: OpenIDProvider | None = settings.OPENID_PROVIDER
    return provider


def provider_id() -> str:
    """What links are kept under: another issuer's ids are other people's, even where they are spelled alike."""
    provider = provider_in_use()
    return f"oidc-{hashlib.sha256(provider.issuer.encode()).hexdigest()[:16]}" if provider else ""


def link_of(user: User) -> SocialAccount | None:
    """The person's link with the provider in use."""
    found: SocialAccount | None = SocialAccount.objects.filter(user=user, provider=provider_id()).first()
    return found


def disconnect(*, actor: User, request: HttpRequest) -> bool:
    """Whether there was a link. From the next sign-in on, the person needs their password.

    Whoever comes by single sign-on again is linked again: the provider still vouches for the address.
    """
    require_proof(Privilege.DISCONNECT_SINGLE_SIGN_ON, request)
    with transaction.atomic():
        removed, _ = SocialAccount.objects.filter(user=actor, provider=provider_id()).delete()
        if removed:
            tell_by_mail(record(actor=actor, action=Action.PROVIDER_DISCONNECTED, target=actor, request=request))
    return bool(removed)


def connect(*, identity: Identity, request: HttpRequest) -> SocialAccount:
    """Links the identity with the person who has its address, on their first sign-in by it.

    Raises ``NotLinked``: where the provider has not verified the address; where no active member has it; for operators,
    whose rights no mailbox may open; and where the person is linked with another identity, since then this one has been
    given an address that is, or was, theirs. What was tried with somebody's address is in their activity log.
    """
    with transaction.atomic():
        user = _member_with(identity.verified_email)
        if user is not None and link_of(user) is None:
            return _link(user, identity, request)
    if user is not None:
        record(actor=user, action=Action.SIGN_IN_FAILED, target=user, request=request, method=METHOD)
    raise NotLinked


def _member_with(email: str | None) -> User | None:
    """The active member with this address, locked: of two first sign-ins at once, one links."""
    if email is None:
        return None
    members = User.objects.active().filter(is_superuser=False, organization__isnull=False)
    found: User | None = members.select_for_update(no_key=True).filter(email=_spelled(email)).first()
    return found


def _spelled(email: str) -> str:
    """As addresses are kept. Only ASCII is folded: other letters become ASCII ones when folded (U+212A becomes k)."""
    return email.lower() if email.isascii() else email


def _link(user: User, identity: Identity, request: HttpRequest) -> SocialAccount:
    if user.joined_at is None:
        user.joined_at = timezone.now()
        user.save(update_fields=["joined_at"])
    account = SocialAccount(user=user, provider=provider_id(), uid=identity.subject)
    account.save(force_insert=True)
    tell_by_mail(record(actor=user, action=Action.PROVIDER_CONNECTED, target=user, request=request))
    return account


class SingleSignOnAdapter(DefaultSocialAccountAdapter):
    """allauth's, with the one provider of the environment, and none that somebody wrote into the database."""

    def list_apps(
        self, request: HttpRequest, provider: str | None = None, client_id: str | None = None
    ) -> list[SocialApp]:
        configured = provider_in_use()
        if configured is None or provider not in {None, OpenIDConnectProvider.id, provider_id()}:
            return []
        return [
            SocialApp(
                provider=OpenIDConnectProvider.id,
                provider_id=provider_id(),
                name=configured.name,
                client_id=configured.client_id,
                secret=configured.client_secret,
                settings={"server_url": _discovery_url(configured), "oauth_pkce_enabled": True},
            )
        ]

    def get_provider(self, request: HttpRequest, provider: str, client_id: str | None = None) -> "PortalProvider":
        return PortalProvider(request, app=self.get_app(request, provider=provider))

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return False

    def authenticate_by_email(self, sociallogin: SocialLogin) -> None:
        """Never: allauth would take anything that is not empty for "verified". `connect` says who is found."""

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        # Has served. It would wait in the session for the second factor.
        sociallogin.token = None
        if sociallogin.is_existing:
            return
        try:
            sociallogin.account = connect(identity=sociallogin.identity, request=request)
        except NotLinked:
            messages.error(request, NOT_KNOWN)
            raise ImmediateHttpResponse(redirect("account_login")) from None
        sociallogin.user = sociallogin.account.user

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, extra_context: Any = None
    ) -> None:
        if FAILURES_TOLD.take(str(client_address(request))) is None:
            logger.warning("Single sign-on failed: %s", type(exception).__name__ if exception else error or "state")


class CheckedOpenIDConnect(OpenIDConnectOAuth2Adapter):
    """allauth's talk with the provider, with every check that the standard asks for made here."""

    expected_nonce: str | None = None

    @property
    def openid_config(self) -> dict[str, Any]:
        """How the provider introduces itself. Raises ``OAuth2Error`` where it does not, or not well."""
        try:
            config: dict[str, Any] = super().openid_config
            # None without TLS, unless the issuer itself has none (on this machine): the client's secret is sent there.
            schemes = {"https", urlsplit(self._issuer).scheme}
            is_whole = all(urlsplit(config[name]).scheme in schemes for name in ADDRESSES)
        except (RequestException, *MALFORMED):
            is_whole = False
        if not is_whole:
            self._refuse("introduction of the provider")
        # OpenID Connect Discovery 1.0 section 4.3.
        if config.get("issuer") != self._issuer:
            raise OAuth2Error("The provider calls itself by another issuer than OIDC_ISSUER.")
        return config

    @property
    def basic_auth(self) -> bool:
        """Discovery section 3: a provider that does not say how clients authenticate means HTTP Basic."""
        methods = self.openid_config.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        return "client_secret_post" not in methods

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        return f"{settings.PORTAL_URL}{reverse('single_sign_on_callback')}"

    def get_access_token_data(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            data: dict[str, Any] = super().get_access_token_data(*args, **kwargs)
        except MALFORMED:
            self._refuse("token answer")
        return data

    def parse_token(self, data: dict[str, Any]) -> SocialToken:
        """Only what asks for the user info; nothing of it is kept."""
        return SocialToken(token=data["access_token"])

    def complete_login(self, request: HttpRequest, app: SocialApp, token: Any, **kwargs: Any) -> SocialLogin:
        try:
            claims = self._claims_of(app, kwargs["response"]["id_token"])
            # OpenID Connect Core 1.0 section 5.3.2: user info of somebody else may have been put in its place.
            userinfo = self._fetch_user_info(token.token)
            if userinfo["sub"] != claims["sub"]:
                self._refuse("user info of somebody else")
            identity = _identity_of(claims, userinfo)
        except MALFORMED:
            self._refuse("ID token or user info")
        login = SocialLogin(
            provider=self.get_provider(),
            user=User(),
            # Nothing else that the provider tells is kept.
            account=SocialAccount(provider=provider_id(), uid=identity.subject),
        )
        login.identity = identity
        return login

    @property
    def _issuer(self) -> str:
        provider = provider_in_use()
        return provider.issuer if provider else ""

    def _claims_of(self, app: SocialApp, id_token: str) -> dict[str, Any]:
        """OpenID Connect Core 1.0 section 3.1.3.7. Raises ``PyJWTError``, ``KeyError`` or ``OAuth2Error``."""
        claims: dict[str, Any] = jwt.decode(
            id_token,
            self._key_of(id_token),
            algorithms=ALGORITHMS,
            audience=app.client_id,
            issuer=self._issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
        is_for_several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if is_for_several else app.client_id) != app.client_id:
            self._refuse("ID token for somebody else")
        if not self.expected_nonce or claims.get("nonce") != self.expected_nonce:
            self._refuse("nonce")
        return claims

    def _key_of(self, id_token: str) -> jwt.PyJWK:
        with get_adapter().get_requests_session() as session:
            answer = session.get(self.openid_config["jwks_uri"])
            answer.raise_for_status()
        keys = jwt.PyJWKSet.from_dict(answer.json()).keys
        kid = jwt.get_unverified_header(id_token).get("kid")
        fitting = [key for key in keys if key.key_id == kid or (kid is None and len(keys) == 1)]
        return fitting[0] if fitting else self._refuse("key of the ID token")

    def _refuse(self, what: str) -> NoReturn:
        raise OAuth2Error(f"Not accepted: {what}.")


class PortalProvider(OpenIDConnectProvider):
    oauth2_adapter_class = CheckedOpenIDConnect


def _identity_of(claims: dict[str, Any], userinfo: dict[str, Any]) -> Identity:
    """Raises ``ValueError`` for a subject that cannot be kept."""
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= 191 or "\x00" in subject:
        raise ValueError("sub")
    # Both from one place: what is said to be verified is the address that stands beside it, and no other.
    source = userinfo if "email" in userinfo else claims
    email, verified = source.get("email"), source.get("email_verified")
    # Some providers write the boolean as a word. Any other value is none.
    is_verified = verified is True or verified == "true"
    if is_verified and isinstance(email, str) and "\x00" not in email:
        return Identity(subject, email.strip())
    return Identity(subject, None)


def _discovery_url(provider: OpenIDProvider) -> str:
    return f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration"
