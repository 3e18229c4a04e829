"""A person's own second factors and recovery codes."""

from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.totp.views import ActivateTOTPView
from allauth.mfa.webauthn.views import AddWebAuthnView, EditWebAuthnView
from django import forms
from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse_lazy
from django.utils.translation import gettext as _
from django.views.generic import TemplateView
from django.views.generic.edit import FormView

from accounts.allauth_internals import webauthn
from accounts.privileges import Privilege
from accounts.security import recovery_codes, sessions, two_factor
from accounts.security.codes import PENDING_SECRET
from accounts.security.reauthentication import RecentSignInMixin
from core.http.request_context import is_look_ahead, person_of
from core.pages.confirm import confirm_page
from core.pages.forms import refusals_as_messages


class TwoFactorView(LoginRequiredMixin, TemplateView):
    """My second factors, and links to set up, change and remove them."""

    template_name = "mfa/index.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        person = person_of(self.request)
        factors = list(Authenticator.objects.filter(user=person).order_by("created_at", "pk"))
        by_type = {factor.type: factor for factor in factors}
        codes = by_type.get(Authenticator.Type.RECOVERY_CODES)
        return super().get_context_data(
            app=by_type.get(Authenticator.Type.TOTP),
            passkeys=[factor for factor in factors if factor.type == Authenticator.Type.WEBAUTHN],
            codes=codes,
            codes_left=two_factor.recovery_codes_left(codes) if codes else None,
            codes_made=recovery_codes.COUNT,
            is_required=person.needs_two_factor,
            is_missing=person.lacks_required_two_factor,
            # The page offers to end sessions that began without this factor (ASVS 7.4.3).
            other_sessions=sessions.live_sessions(person).exclude(session_key=sessions.key_of(self.request)).count(),
            **kwargs,
        )


class TwoFactorChangeMixin(RecentSignInMixin):
    privilege = Privilege.CHANGE_OWN_TWO_FACTOR


# The authenticator app


class ActivateAppView(TwoFactorChangeMixin, ActivateTOTPView):
    """Shows the QR code, and accepts the code that proves that the app was set up."""

    def form_valid(self, form: Any) -> HttpResponse:
        try:
            made_codes = two_factor.add_app(actor=person_of(self.request), form=form, request=self.request)
        except IntegrityError:
            # An app was set up at the same time in another window.
            return redirect("mfa_index")
        self.request.session.pop(PENDING_SECRET, None)
        if made_codes:
            return redirect("mfa_view_recovery_codes")
        messages.success(self.request, _("The authenticator app is set up."))
        return redirect("mfa_index")


class RemoveFactorView(TwoFactorChangeMixin):
    """Base of the views that remove a second factor: GET asks, POST removes."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        factor = self.find(**kwargs)
        return confirm_page(
            request,
            question=self.question_about(factor),
            consequences=[
                _(
                    "You can no longer sign in with it. If it is your last second factor, your password alone will be "
                    "enough to sign in, and your recovery codes stop working."
                )
            ],
            button=_("Remove"),
            cancel_url=str(reverse_lazy("mfa_index")),
        )

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        factor = self.find(**kwargs)
        with refusals_as_messages(request):
            two_factor.remove_factor(actor=person_of(request), authenticator=factor, request=request)
            messages.success(request, _("The second factor is removed."))
        return redirect("mfa_index")

    def find(self, **kwargs: Any) -> Authenticator:
        raise NotImplementedError

    def question_about(self, factor: Authenticator) -> str:
        raise NotImplementedError


class RemoveAppView(RemoveFactorView):
    def find(self, **kwargs: Any) -> Authenticator:
        return get_object_or_404(Authenticator, user=person_of(self.request), type=Authenticator.Type.TOTP)

    def question_about(self, factor: Authenticator) -> str:
        return _("Remove the authenticator app?")


# Passkeys


class AddPasskeyView(TwoFactorChangeMixin, AddWebAuthnView):
    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Creates passkeys that can sign in without a password: they know the account, and verify the person."""
        context = FormView.get_context_data(self, **kwargs)
        options = webauthn.begin_registration(person_of(self.request), passwordless=True)
        return {**context, "js_data": {"creation_options": options}}

    def form_valid(self, form: forms.Form) -> HttpResponse:
        actor = person_of(self.request)
        with refusals_as_messages(self.request):
            if two_factor.add_passkey(actor=actor, request=self.request, **form.cleaned_data):
                return redirect("mfa_view_recovery_codes")
            messages.success(self.request, _("The passkey is added."))
        return redirect("mfa_index")


class RenamePasskeyView(TwoFactorChangeMixin, EditWebAuthnView):
    def form_valid(self, form: forms.Form) -> HttpResponse:
        two_factor.rename_passkey(
            actor=person_of(self.request),
            passkey=self.object,
            name=form.cleaned_data["name"],
            request=self.request,
        )
        messages.success(self.request, _("Saved."))
        return redirect("mfa_index")


class RemovePasskeyView(RemoveFactorView):
    def find(self, **kwargs: Any) -> Authenticator:
        of_person = Authenticator.objects.filter(user=person_of(self.request), type=Authenticator.Type.WEBAUTHN)
        return get_object_or_404(of_person, pk=kwargs["pk"])

    def question_about(self, factor: Authenticator) -> str:
        return _("Remove the passkey “%(name)s”?") % {"name": factor}


# Recovery codes


class RecoveryCodesView(TwoFactorChangeMixin):
    """Shows the codes on the first visit only."""

    http_method_names = ["get"]

    def get(self, request: HttpRequest) -> HttpResponse:
        if is_look_ahead(request):
            # A browser that loads pages ahead would use up the one time that the codes are shown.
            return HttpResponse(status=503)
        codes = two_factor.show_recovery_codes(user=person_of(request))
        if codes is None:
            raise Http404("There are no recovery codes.")
        text = "\n".join(map(recovery_codes.as_shown, codes))
        return render(request, "mfa/recovery_codes/index.html", {"codes": text})


class ReplaceRecoveryCodesView(TwoFactorChangeMixin):
    """Replaces the recovery codes."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return confirm_page(
            request,
            question=_("Create new recovery codes?"),
            consequences=[_("Your current codes stop working. The new ones are shown once, on the next page.")],
            button=_("Create new codes"),
            cancel_url=str(reverse_lazy("mfa_index")),
        )

    def post(self, request: HttpRequest) -> HttpResponse:
        with refusals_as_messages(request):
            two_factor.make_recovery_codes(actor=person_of(request), request=request)
            return redirect("mfa_view_recovery_codes")
        return redirect("mfa_index")
