"""Talking to the provider by OpenID Connect: allauth's client, with every check of the standard."""

from typing import Any
from urllib.parse import urlsplit

from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Client
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.http import HttpRequest
from django.utils.functional import cached_property
from requests.auth import HTTPBasicAuth

from accounts.models import User
from accounts.signin.single_sign_on.failures import SignInFailure, fetch, oauth_error, quoted
from accounts.signin.single_sign_on.id_token import claims_of
from accounts.signin.single_sign_on.links import Identity
from accounts.signin.single_sign_on.provider import Provider, provider_with
from core.http.public_address import public_url

# What the discovery document must contain.
ADDRESSES = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri")


class CheckedClient(OAuth2Client):
    """Exchanges the code for tokens. allauth's own client puts the whole answer into its error, without the code."""

    provider: Provider

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
        body = fetch(self.provider, "the token address", "POST", self.access_token_url, data=data, auth=auth)
        if not isinstance(body.get("access_token"), str):
            raise SignInFailure(f"the token address answers no access token{oauth_error(body)}")
        return body


class CheckedOpenIDConnect(OpenIDConnectOAuth2Adapter):
    """allauth's client for the provider, with every check that the standard requires."""

    expected_nonce: str | None = None
    client_class = CheckedClient

    @cached_property
    def openid_config(self) -> dict[str, Any]:
        """The provider's discovery document. Raises ``SignInFailure`` if it is missing or wrong."""
        provider, issuer = self.used, self.used.issuer
        config = fetch(provider, "the discovery document", "GET", self.get_provider().server_url)
        # OpenID Connect Discovery 1.0 section 4.3.
        if config.get("issuer") != issuer:
            raise SignInFailure(
                f"the discovery document is of the issuer {quoted(config.get('issuer'))}, and "
                f"{provider.issuer_in_words} is {quoted(issuer)}"
            )
        # TLS is required, except for an issuer without TLS on this machine: the client's secret is sent there.
        schemes = {"https", urlsplit(issuer).scheme}
        for name in ADDRESSES:
            if not _has_scheme(config.get(name), schemes):
                raise SignInFailure(f"the discovery document has no usable {name}, but {quoted(config.get(name))}")
        return config

    @property
    def basic_auth(self) -> bool:
        """HTTP Basic is the default if the provider does not say how clients authenticate (Discovery section 3)."""
        methods = self.openid_config.get("token_endpoint_auth_methods_supported")
        return not isinstance(methods, list) or "client_secret_post" not in methods

    @cached_property
    def used(self) -> Provider:
        """Raises ``SignInFailure`` if it was switched off in the meantime."""
        provider = provider_with(self.provider_id)
        if provider is None:
            raise SignInFailure("the provider is no longer in use")
        return provider

    def get_client(self, request: HttpRequest, app: SocialApp) -> CheckedClient:
        client: CheckedClient = super().get_client(request, app)
        client.provider = self.used
        return client

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        """Each provider has an address of its own: one provider can't pass off its answer as another's (RFC 9700
        section 4.4.2)."""
        row = self.used.row
        return public_url("organization_sign_on_callback", row.pk) if row else public_url("single_sign_on_callback")

    def parse_token(self, data: dict[str, Any]) -> SocialToken:
        """Keeps only the access token, to request the user info. Nothing is stored."""
        return SocialToken(token=data["access_token"])

    def complete_login(self, request: HttpRequest, app: SocialApp, token: Any, **kwargs: Any) -> SocialLogin:
        claims = claims_of(
            kwargs["response"].get("id_token"),
            provider=self.used,
            nonce=self.expected_nonce,
            keys_address=self.openid_config["jwks_uri"],
        )
        headers = {"Authorization": f"Bearer {token.token}"}
        userinfo = fetch(self.used, "the user info address", "GET", self.profile_url, headers=headers)
        # OpenID Connect Core 1.0 section 5.3.2: the answer could have been replaced by that of another person.
        if userinfo.get("sub") != claims["sub"]:
            raise SignInFailure(
                f"the user info is of the subject {quoted(userinfo.get('sub'))}, and the ID token of "
                f"{quoted(claims['sub'])}"
            )
        identity = _identity_of(self.used, claims, userinfo)
        login = SocialLogin(
            provider=self.get_provider(),
            user=User(),
            # Nothing else from the provider is stored.
            account=SocialAccount(provider=self.used.id, uid=identity.subject),
        )
        login.identity, login.used = identity, self.used
        return login


class PortalProvider(OpenIDConnectProvider):
    oauth2_adapter_class = CheckedOpenIDConnect


def _identity_of(provider: Provider, claims: dict[str, Any], userinfo: dict[str, Any]) -> Identity:
    """Raises ``SignInFailure`` for a subject that cannot be stored."""
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= 191 or not _is_storable(subject):
        raise SignInFailure(f"the ID token's subject cannot be kept: {quoted(subject)}")
    # Both from the same document: `email_verified` is about the address beside it.
    source = userinfo if "email" in userinfo else claims
    email, verified = source.get("email"), source.get("email_verified")
    # What the ID token says is signed, and wins.
    said = {**userinfo, **claims}
    # People can often enter any address themselves: rules read only a verified one.
    for name in ("email", "email_verified"):
        said.pop(name, None)
    if not isinstance(email, str) or not _is_storable(email) or not email.strip():
        return Identity(subject, None, claims=said)
    # Some providers send the boolean as a string. Any other value counts as false.
    is_verified = verified is True or verified == "true"
    if is_verified:
        said |= {"email": email.strip(), "email_verified": True}
    trusted = email.strip() if is_verified or provider.trusts_email else None
    return Identity(subject, trusted, email.strip(), is_verified=is_verified, claims=said)


def _is_storable(text: str) -> bool:
    """JSON can have NUL and half characters (surrogates), which no database stores."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _has_scheme(address: object, schemes: set[str]) -> bool:
    try:
        return isinstance(address, str) and urlsplit(address).scheme in schemes
    except ValueError:
        return False
