"""allauth's single sign-on with the one provider of the settings."""

import logging
from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp, SocialLogin
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from django.contrib import messages
from django.http import HttpRequest
from django.shortcuts import redirect
from django.utils.translation import gettext

from accounts.signin.single_sign_on.failures import (
    Advice,
    SignInFailure,
    advice_for_code,
    oauth_error,
    quoted,
    tell_failure,
)
from accounts.signin.single_sign_on.links import NotLinked, connect
from accounts.signin.single_sign_on.openid import PortalProvider
from accounts.signin.single_sign_on.provider import provider_id, provider_in_use
from core.http.tls import TrustingAdapter
from core.setting_readers import OpenIDProvider

logger = logging.getLogger(__name__)


class SingleSignOnAdapter(DefaultSocialAccountAdapter):
    """allauth's adapter, with the one provider of the settings. Providers in the database are ignored."""

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
        """Does nothing: allauth takes any value that is not empty for "verified". `connect` finds the person."""

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        # No longer needed. Otherwise it would stay in the session until the second step.
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
        advice = Advice.OPERATOR
        if isinstance(exception, SignInFailure):
            advice = exception.advice
            tell_failure(request, exception.cause)
        elif exception is not None:
            tell_failure(request, f"{type(exception).__name__}: {quoted(exception)}")
        elif "state" in extra_context:
            # The state is known, so the sign-in began in this browser.
            advice = advice_for_code(code)
            tell_failure(request, f"the provider sends the browser back{oauth_error(request.GET) or ' without a code'}")
        else:
            advice = Advice.AGAIN
            # A statement of its own: anybody can cause this line, and the server's log limits lines per statement.
            logger.warning(
                "Single sign-on failed: the state is unknown: too old, used, or of another session%s; request %s",
                oauth_error(request.GET),
                getattr(request, "request_id", None),
            )
        extra_context["advice"] = gettext(advice)

    def get_requests_session(self) -> Any:
        session = super().get_requests_session()
        provider = provider_in_use()
        if provider is not None and provider.issuer.startswith("https:"):
            session.mount("https://", TrustingAdapter())
        return session


def _discovery_url(provider: OpenIDProvider) -> str:
    return f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration"
