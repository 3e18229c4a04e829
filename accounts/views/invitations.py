"""Inviting a person, and the page that the link in an invitation opens."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.views import INTERNAL_RESET_SESSION_TOKEN, PasswordResetConfirmView
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.utils.translation import gettext as _
from django.views.generic import TemplateView

from accounts import services
from accounts.forms import ChoosePasswordForm, InviteForm
from accounts.invitations import DAYS, invitation_tokens
from accounts.models import User
from accounts.privileges import Privilege
from accounts.roles import ROLES, Ability
from accounts.security import credentials
from accounts.security.reauthentication import RecentSignInMixin
from accounts.security.sign_in_networks import OutsideNetworks
from accounts.signin.limits import remember_device
from accounts.views.base import OrganizationPageMixin
from core.pages.forms import refusals_in


class InviteView(OrganizationPageMixin, RecentSignInMixin, TemplateView):
    """Invites a person to the organization."""

    ability = Ability.MANAGE_ORGANIZATION
    privilege = Privilege.INVITE
    template_name = "accounts/organization_user_invite.html"
    current_tab = "accounts:organization_user_list"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        form = kwargs.pop("form", None) or InviteForm(actor=self.person)
        roles = [{"label": role.label, "summary": _(description.summary)} for role, description in ROLES.items()]
        return super().get_context_data(form=form, roles=roles, days=DAYS, **kwargs)

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = InviteForm(request.POST, actor=self.person)
        if form.is_valid() and (user := self._invite(form)):
            said = _("%(email)s gets a mail with a link to choose a password.") % {"email": user.email}
            messages.success(request, said)
            return redirect("accounts:organization_user_detail", pk=user.pk)
        return self.render_to_response(self.get_context_data(form=form), status=400)

    def _invite(self, form: InviteForm) -> User | None:
        with refusals_in(form):
            return services.invite_user(actor=self.person, request=self.request, **form.cleaned_data)
        return None


class AcceptInvitationView(PasswordResetConfirmView):
    """Asks an invited person for a password. Django removes the link's secret from the address before the form."""

    template_name = "accounts/accept_invitation.html"
    form_class = ChoosePasswordForm
    token_generator = invitation_tokens
    success_url = reverse_lazy("account_login")
    reset_url_token = "choose-password"  # noqa: S105  (takes the place of the secret in the address)

    def form_valid(self, form: Any) -> HttpResponse:
        try:
            credentials.accept_invitation(
                user=form.user,
                key=self.request.session.get(INTERNAL_RESET_SESSION_TOKEN, ""),
                password=form.cleaned_data["new_password1"],
                request=self.request,
            )
        except OutsideNetworks as error:
            form.add_error(None, str(error))
            return self.render_to_response(self.get_context_data(form=form), status=error.status)
        except credentials.LinkUsed:
            self.request.session.pop(INTERNAL_RESET_SESSION_TOKEN, None)
            self.validlink = False
            return self.render_to_response(self.get_context_data())
        self.request.session.pop(INTERNAL_RESET_SESSION_TOKEN, None)
        messages.success(self.request, _("Your password is set. Sign in with it."))
        answer = redirect(self.get_success_url())
        remember_device(self.request, answer, form.user.email)
        return answer
