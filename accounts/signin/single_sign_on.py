"""Single sign-on by OpenID Connect, where the environment names a provider (docs/single-sign-on.md).

The dance is allauth's: state, PKCE, the exchange of the code. Stricter here: the signature, issuer, audience and nonce
of each ID token are checked, the user info must be of the same person, and nobody signs up. Who comes for the first
time is found by an address that the provider has verified; from then on by the provider's own id of them, only.
"""

import hashlib
import logging
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import jwt
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Client
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from requests.auth import HTTPBasicAuth

from accounts.mails import tell_by_mail
from accounts.models import User
from accounts.privileges import Privilege, require_proof
from accounts.signin.single_sign_on_failures import (
    Advice,
    SignInFailure,
    advice_for_code,
    fetch,
    moment,
    oauth_error,
    quoted,
)
from auditlog.actions import Action
from auditlog.record import record
from core.environment import OpenIDProvider
from core.http.tls import TrustingAdapter
from core.rate_limits import Limit

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


class NotLinked(Exception):
    """Nobody may be signed in by this identity. ``cause`` is for the log, ``said`` for the person."""

    def __init__(self, cause: str, said: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.said = said


@dataclass(frozen=True)
class Identity:
    """Who the provider says that it is: its own id of the person, and their address.

    ``verified_email``: the address where the provider has verified it, or where the operator says that it need not.
    """

    subject: str
    verified_email: str | None
    email: str | None = None


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
    raise _not_linked(identity, user)


def _not_linked(identity: Identity, user: User | None) -> NotLinked:
    """Why, in words for the operator and for the person. Who has an account here is not told to the person."""
    name = getattr(provider_in_use(), "name", "")
    if identity.email is None:
        cause = "the provider tells no e-mail address"
        said = f"{name} does not tell this portal your e-mail address. Trying again does not help: tell the operator."
    elif identity.verified_email is None:
        cause = f"email_verified is missing or false for {quoted(identity.email)} (see OIDC_EMAIL_VERIFIED)"
        said = (
            f"{name} does not confirm that the address {identity.email} is yours. Trying again does not help: tell the "
            "operator of this portal."
        )
    else:
        cause = f"no active member has the address {quoted(identity.email)}"
        if user is not None:
            cause = f"person {user.pk} is connected with another account of the provider"
        said = (
            f"Nobody who may sign in here has this account: at {name} you are signed in as {identity.email}. Sign in "
            "there with another account, or ask an Administrator of your organization to invite this address."
        )
    return NotLinked(cause, said)


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
            if not sociallogin.user.is_active:
                tell_failure(request, f"person {sociallogin.user.pk} is deactivated")
            return
        try:
            sociallogin.account = connect(identity=sociallogin.identity, request=request)
        except NotLinked as error:
            tell_failure(request, error.cause)
            messages.error(request, error.said)
            raise ImmediateHttpResponse(redirect("account_login")) from None
        sociallogin.user = sociallogin.account.user

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, extra_context: Any = None
    ) -> None:
        code = request.GET.get("error", "")
        extra_context["advice"] = Advice.OPERATOR
        if isinstance(exception, SignInFailure):
            extra_context["advice"] = exception.advice
            tell_failure(request, exception.cause)
        elif exception is not None:
            tell_failure(request, f"{type(exception).__name__}: {quoted(exception)}")
        elif "state" in extra_context:
            # Only who began a sign-in here comes so far.
            extra_context["advice"] = advice_for_code(code)
            tell_failure(request, f"the provider sends the browser back{oauth_error(request.GET) or ' without a code'}")
        else:
            extra_context["advice"] = Advice.AGAIN
            # In a line of its own: any stranger can cause it, and the server's log bounds lines by their place.
            logger.warning(
                "Single sign-on failed: the state is unknown: too old, used, or of another session%s; request %s",
                oauth_error(request.GET),
                getattr(request, "request_id", None),
            )

    def get_requests_session(self) -> Any:
        session = super().get_requests_session()
        provider = provider_in_use()
        if provider is not None and provider.issuer.startswith("https:"):
            session.mount("https://", TrustingAdapter())
        return session


def tell_failure(request: HttpRequest, cause: str) -> None:
    """The one line of the server's log about a sign-in that failed."""
    logger.warning("Single sign-on failed: %s; request %s", cause, getattr(request, "request_id", None))


class CheckedClient(OAuth2Client):
    """The exchange of the code. allauth's would put the whole answer into an error, and lose its code."""

    def get_access_token(
        self, code: str, pkce_code_verifier: str | None = None, extra_data: dict[str, str] | None = None
    ) -> dict[str, Any]:
        data = {"grant_type": "authorization_code", "redirect_uri": self.callback_url, "code": code}
        if pkce_code_verifier:
            data["code_verifier"] = pkce_code_verifier
        auth = None
        if self.basic_auth:
            auth = HTTPBasicAuth(self.consumer_key, self.consumer_secret)
        else:
            data |= {"client_id": self.consumer_key, "client_secret": self.consumer_secret}
        body = fetch("the token address", "POST", self.access_token_url, data=data, auth=auth)
        if not isinstance(body.get("access_token"), str):
            raise SignInFailure(f"the token address answers no access token{oauth_error(body)}")
        return body


class CheckedOpenIDConnect(OpenIDConnectOAuth2Adapter):
    """allauth's talk with the provider, with every check that the standard asks for made here."""

    expected_nonce: str | None = None
    client_class = CheckedClient

    @cached_property
    def openid_config(self) -> dict[str, Any]:
        """How the provider introduces itself. Raises ``SignInFailure`` where it does not, or not well."""
        config = fetch("the discovery document", "GET", self.get_provider().server_url)
        # OpenID Connect Discovery 1.0 section 4.3.
        if config.get("issuer") != self._issuer:
            raise SignInFailure(
                f"the discovery document is of the issuer {quoted(config.get('issuer'))}, and OIDC_ISSUER is "
                f"{quoted(self._issuer)}"
            )
        # None without TLS, unless the issuer itself has none (on this machine): the client's secret is sent there.
        schemes = {"https", urlsplit(self._issuer).scheme}
        for name in ADDRESSES:
            if not _has_scheme(config.get(name), schemes):
                raise SignInFailure(f"the discovery document has no usable {name}, but {quoted(config.get(name))}")
        return config

    @property
    def basic_auth(self) -> bool:
        """Discovery section 3: a provider that does not say how clients authenticate means HTTP Basic."""
        methods = self.openid_config.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        return "client_secret_post" not in methods

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        return f"{settings.PORTAL_URL}{reverse('single_sign_on_callback')}"

    def parse_token(self, data: dict[str, Any]) -> SocialToken:
        """Only what asks for the user info; nothing of it is kept."""
        return SocialToken(token=data["access_token"])

    def complete_login(self, request: HttpRequest, app: SocialApp, token: Any, **kwargs: Any) -> SocialLogin:
        claims = self._claims_of(app, kwargs["response"].get("id_token"))
        headers = {"Authorization": f"Bearer {token.token}"}
        userinfo = fetch("the user info address", "GET", self.profile_url, headers=headers)
        # OpenID Connect Core 1.0 section 5.3.2: user info of somebody else may have been put in its place.
        if userinfo.get("sub") != claims["sub"]:
            raise SignInFailure(
                f"the user info is of the subject {quoted(userinfo.get('sub'))}, and the ID token of "
                f"{quoted(claims['sub'])}"
            )
        identity = _identity_of(claims, userinfo)
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

    def _claims_of(self, app: SocialApp, id_token: object) -> dict[str, Any]:
        """OpenID Connect Core 1.0 section 3.1.3.7. Raises ``SignInFailure``."""
        if not isinstance(id_token, str):
            raise SignInFailure("the token address answers no ID token")
        key = self._key_of(id_token)
        try:
            claims: dict[str, Any] = jwt.decode(
                id_token,
                key,
                algorithms=ALGORITHMS,
                audience=app.client_id,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["iss", "sub", "aud", "exp", "iat"]},
            )
        except MALFORMED as error:
            raise SignInFailure(
                f"the ID token is refused: {_why(error, id_token, app.client_id, self._issuer)}"
            ) from None
        is_for_several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if is_for_several else app.client_id) != app.client_id:
            raise SignInFailure(
                f"the ID token is for the client {quoted(claims.get('azp'))} (azp), and not for this one"
            )
        if not self.expected_nonce or claims.get("nonce") != self.expected_nonce:
            raise SignInFailure("the ID token has another nonce than this sign-in, or none")
        return claims

    def _key_of(self, id_token: str) -> jwt.PyJWK:
        try:
            header = jwt.get_unverified_header(id_token)
        except MALFORMED:
            raise SignInFailure("the ID token is no JWT") from None
        if header.get("alg") not in ALGORITHMS:
            raise SignInFailure(f"the ID token has the algorithm {quoted(header.get('alg'))}, which is not accepted")
        document = fetch("the address of the keys", "GET", self.openid_config["jwks_uri"])
        try:
            keys = jwt.PyJWKSet.from_dict(document).keys
        except MALFORMED as error:
            raise SignInFailure(f"the provider's keys cannot be read: {quoted(error)}") from None
        kid = header.get("kid")
        fitting = [key for key in keys if key.key_id == kid or (kid is None and len(keys) == 1)]
        if not fitting:
            known = ", ".join(quoted(key.key_id) for key in keys[:10])
            raise SignInFailure(f"the ID token is signed with the key {quoted(kid)}; the provider's keys are {known}")
        return fitting[0]


def _why(error: Exception, id_token: str, client_id: str, issuer: str) -> str:
    """What is wrong with an ID token: what it says, beside what was expected. Its signature was checked first."""
    try:
        claims = jwt.decode(id_token, options={"verify_signature": False})
    except MALFORMED:
        claims = {}
    match error:
        case jwt.InvalidIssuerError():
            return f"its issuer is {quoted(claims.get('iss'))}, and OIDC_ISSUER is {quoted(issuer)}"
        case jwt.InvalidAudienceError():
            return f"its audience is {quoted(claims.get('aud'))}, and OIDC_CLIENT_ID is {quoted(client_id)}"
        case jwt.ExpiredSignatureError() | jwt.ImmatureSignatureError() | jwt.InvalidIssuedAtError():
            now = timezone.now().timestamp()
            times = ", ".join(f"{name} {moment(claims[name])}" for name in ("iat", "nbf", "exp") if name in claims)
            return f"{quoted(error)}: {times}; this machine's clock says {moment(now)} (leeway {LEEWAY_SECONDS} s)"
        case _:
            return f"{type(error).__name__}: {quoted(error)}"


def _has_scheme(address: object, schemes: set[str]) -> bool:
    try:
        return isinstance(address, str) and urlsplit(address).scheme in schemes
    except ValueError:
        return False


class PortalProvider(OpenIDConnectProvider):
    oauth2_adapter_class = CheckedOpenIDConnect


def _identity_of(claims: dict[str, Any], userinfo: dict[str, Any]) -> Identity:
    """Raises ``SignInFailure`` for a subject that cannot be kept."""
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= 191 or "\x00" in subject:
        raise SignInFailure(f"the ID token's subject cannot be kept: {quoted(subject)}")
    # Both from one place: what is said to be verified is the address that stands beside it, and no other.
    source = userinfo if "email" in userinfo else claims
    email, verified = source.get("email"), source.get("email_verified")
    if not isinstance(email, str) or "\x00" in email or not email.strip():
        return Identity(subject, None)
    # Some providers write the boolean as a word. Any other value is none.
    provider = provider_in_use()
    is_verified = verified is True or verified == "true" or (provider is not None and provider.trusts_email)
    return Identity(subject, email.strip() if is_verified else None, email.strip())


def _discovery_url(provider: OpenIDProvider) -> str:
    return f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration"
