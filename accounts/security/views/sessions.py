"""Where a person is signed in, and signing out there."""

from typing import Any

from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.generic import TemplateView

from accounts.forms import SignOutEverywhereForm
from accounts.privileges import Privilege
from accounts.security import credentials, sessions
from accounts.security.reauthentication import RecentSignInMixin
from accounts.security.user_agents import browser_in_words
from core.http.request_context import person_of


class SessionListView(LoginRequiredMixin, TemplateView):
    """Where I am signed in, and buttons to sign out there."""

    template_name = "usersessions/usersession_list.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        live = sessions.live_sessions(person_of(self.request))
        rows = [sessions.as_row(session, self.request) for session in live]
        return super().get_context_data(sessions=rows, form=SignOutEverywhereForm(), **kwargs)


class SessionEndView(RecentSignInMixin):
    privilege = Privilege.END_SESSION
    return_to = "usersessions_list"
    http_method_names = ["post"]

    def post(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        person = person_of(request)
        session: UserSession = get_object_or_404(sessions.live_sessions(person), pk=pk)
        sessions.end_session(actor=person, session=session, request=request)
        said = _("%(browser)s at %(address)s is signed out.")
        messages.success(request, said % {"browser": browser_in_words(session.user_agent), "address": session.ip})
        return redirect("usersessions_list")


class SignOutEverywhereView(RecentSignInMixin):
    privilege = Privilege.END_ALL_SESSIONS
    return_to = "usersessions_list"
    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = SignOutEverywhereForm(request.POST)
        form.full_clean()
        ended = credentials.sign_out_everywhere(actor=person_of(request), request=request, **form.cleaned_data)
        is_out_here = form.cleaned_data["including_here"]
        sentences = [_("You are signed out everywhere.") if is_out_here else _("You are signed out everywhere else.")]
        if ended["tokens"]:
            sentences.append(_("Access tokens expired: %(count)s.") % {"count": ended["tokens"]})
        messages.success(request, " ".join(sentences))
        return redirect("account_login" if is_out_here else "usersessions_list")
