"""allauth's single sign-on with the providers of the settings and of organizations."""

import logging
from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp, SocialLogin
from allauth.socialaccount.providers.base import AuthError
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from django.contrib import messages
from django.http import HttpRequest
from django.shortcuts import redirect, render
from django.utils.translation import gettext

from accounts.signin.single_sign_on import again
from accounts.signin.single_sign_on.failures import (
    Advice,
    SignInFailure,
    advice_for_code,
    oauth_error,
    quoted,
    tell_failure,
)
from accounts.signin.single_sign_on.links import NotLinked, check_admits, connect
from accounts.signin.single_sign_on.openid import PortalProvider
from accounts.signin.single_sign_on.people import take_in
from accounts.signin.single_sign_on.provider import Provider, provider_of_settings, provider_with

logger = logging.getLogger(__name__)


class SingleSignOnAdapter(DefaultSocialAccountAdapter):
    """allauth's adapter, with the portal's providers. allauth's own table of providers is ignored."""

    def list_apps(
        self, request: HttpRequest, provider: str | None = None, client_id: str | None = None
    ) -> list[SocialApp]:
        found = provider_of_settings() if provider in {None, OpenIDConnectProvider.id} else provider_with(provider)
        if found is None:
            return []
        return [
            SocialApp(
                provider=OpenIDConnectProvider.id,
                provider_id=found.id,
                name=found.name,
                client_id=found.client_id,
                secret=found.client_secret,
                settings={"server_url": _discovery_url(found), "oauth_pkce_enabled": True},
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
        provider: Provider = sociallogin.used
        if again.is_again(sociallogin):
            raise ImmediateHttpResponse(again.prove(request, sociallogin, provider))
        try:
            self._find_person(request, sociallogin, provider)
        except NotLinked as error:
            tell_failure(request, error.cause, provider)
            messages.error(request, error.said)
            raise ImmediateHttpResponse(redirect("account_login")) from None
        # For the end of this sign-in, if no second step follows (accounts/signin/adapter.py).
        request.provider_claims = sociallogin.identity.claims  # type: ignore[attr-defined]

    def _find_person(self, request: HttpRequest, sociallogin: SocialLogin, provider: Provider) -> None:
        """Raises ``NotLinked``. A deactivated person stays linked; allauth refuses them."""
        row, identity = provider.row, sociallogin.identity
        if not sociallogin.is_existing:
            if row is None:
                account = connect(provider=provider, identity=identity, request=request)
            else:
                account = take_in(provider=provider, row=row, identity=identity, user=None, request=request)
            sociallogin.account, sociallogin.user = account, account.user
            return
        user = sociallogin.user
        # The names of connections of organizations' providers already differ. This is the rule itself.
        check_admits(provider, user)
        if not user.is_active:
            tell_failure(request, f"person {user.pk} is deactivated", provider)
        elif row is not None:
            take_in(provider=provider, row=row, identity=identity, user=user, request=request)

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, extra_context: Any = None
    ) -> None:
        code = request.GET.get("error", "")
        used = provider_with(provider.app.provider_id)
        advice = Advice.OPERATOR
        if isinstance(exception, SignInFailure):
            advice = exception.advice
            tell_failure(request, exception.cause, used)
        elif exception is not None:
            tell_failure(request, f"{type(exception).__name__}: {quoted(exception)}", used)
        elif "state" in extra_context:
            # The state is known, so the sign-in began in this browser.
            advice = advice_for_code(code)
            cause = f"the provider sends the browser back{oauth_error(request.GET) or ' without a code'}"
            tell_failure(request, cause, used)
        else:
            advice = Advice.AGAIN
            # A statement of its own: anybody can cause this line, and the server's log limits lines per statement.
            logger.warning(
                "Single sign-on failed: the state is unknown: too old, used, or of another session%s; request %s",
                oauth_error(request.GET),
                getattr(request, "request_id", None),
            )
        if error == AuthError.CANCELLED and used is not None and used.row is not None:
            # The page at the usual address names the provider of the settings.
            page = render(request, "socialaccount/login_cancelled.html", {"provider": used})
            raise ImmediateHttpResponse(page)
        if advice == Advice.OPERATOR and used is not None and used.row is not None:
            advice = Advice.ADMINISTRATOR
        extra_context["advice"] = gettext(advice)


def _discovery_url(provider: Provider) -> str:
    return f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration"
