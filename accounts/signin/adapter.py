from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from django.contrib import messages
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.allauth_internals import clear_authentication_records
from accounts.models import User
from accounts.security import reauthentication, sign_in_networks
from accounts.signin import limits, passkey_hint, steps
from accounts.signin.methods import methods_of
from accounts.signin.single_sign_on import again
from core.http.request_context import client_address


class PortalAccountAdapter(DefaultAccountAdapter):
    """allauth with this portal's rules: nobody can sign up, and client addresses come from trusted proxies only."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": gettext_lazy("The e-mail address or the password is wrong."),
        "incorrect_password": gettext_lazy("This is not your current password."),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        address = client_address(request)
        if address is None:
            raise PermissionDenied(_("The address of the caller is not known."))
        return address

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        if request.user.is_authenticated and request.user.is_superuser:
            return reverse("admin:index")
        return reverse("overview")

    def is_safe_url(self, url: str) -> bool:
        """Only addresses of this portal (`PORTAL_URL`, core/http/public_address.py), and never http from https."""
        return url_has_allowed_host_and_scheme(
            url, allowed_hosts={self.request.get_host()}, require_https=self.request.is_secure()
        )

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Disables allauth's own limit, by which a stranger can lock an account. `authenticate` has the portal's."""

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        """The person with this password. After too many attempts, raises an answer 429 (accounts/signin/limits.py)."""
        account, address = str(credentials.get("email", "")), self.get_client_ip(request)
        counted = limits.count_attempt(request, account, address=address)
        user: User | None = super().authenticate(request, **credentials)
        if user is not None:
            limits.forget_attempts(counted)
        return user

    def reauthenticate(self, user: User, password: str) -> bool:
        """Counts and records the attempt like a sign-in."""
        return self.authenticate(self.request, email=user.email, password=password) == user

    def is_reauthentication_required(self, *, app: str) -> bool:
        return not reauthentication.is_recent(self.request)

    def get_reauthentication_methods(self, user: User | AnonymousUser) -> list[dict[str, Any]]:
        """People with two-factor must prove it; the password is not enough (accounts/security/reauthentication.py)."""
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        if isinstance(user, AnonymousUser) or not user.has_two_factor:
            return methods
        return [method for method in methods if method["id"] != "reauthenticate"]

    def get_login_stages(self) -> list[str]:
        own = {"allauth.mfa.stages.AuthenticateStage": "accounts.signin.steps.SecondStep"}
        return [own.get(stage, stage) for stage in super().get_login_stages()]

    def pre_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse | None:
        """Runs after the first step: a password, a passkey or single sign-on. A service account has none of these; this
        refuses it should it ever get one."""
        if user.is_service_account:
            raise PermissionDenied(_("A service account can't sign in."))
        refusal: HttpResponse | None = super().pre_login(request, user, **kwargs)
        if refusal is None:
            steps.note_first_step(request, user)
        return refusal

    def login(self, request: HttpRequest, user: User) -> None:
        """Runs after the last step. If the first step is no longer valid, or the person is outside of the networks from
        which they can sign in, redirects to it."""
        if not steps.first_step_holds(request, user):
            steps.forget_first_step(request)
            said = _("Your password or your account has changed in the meantime. Sign in again.")
            messages.error(request, said)
            raise ImmediateHttpResponse(redirect("account_login"))
        try:
            sign_in_networks.check_sign_in(user, request, methods=methods_of(request, user))
        except sign_in_networks.OutsideNetworks as error:
            steps.forget_first_step(request)
            # Otherwise, a passkey would later count as the second factor of a password.
            clear_authentication_records(request)
            messages.error(request, str(error))
            raise ImmediateHttpResponse(redirect("account_login")) from None
        del request.session[steps.FIRST_STEP]
        super().login(request, user)

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = super().post_login(request, user, **kwargs)
        again.date_proof(request, getattr(request, "provider_claims", {}))
        limits.remember_device(request, response, user.email)
        passkey_hint.note_sign_in(request, response, user)
        return response
