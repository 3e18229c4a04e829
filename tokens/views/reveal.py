"""Shows a new token, once."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import cache_control
from django.views.decorators.debug import sensitive_variables
from django.views.generic import View

from accounts.models import User
from core.http.request_context import is_look_ahead, person_of
from core.pages.templatetags.portal import exact
from core.pages.views import MemberPageMixin
from tokens import services
from tokens.allowed_operations import can_run_pipelines
from tokens.examples import examples_of
from tokens.models import Token
from tokens.pipeline_choice import pipelines_seen_by
from tokens.querysets import PENDING_LAPSES_AFTER
from tokens.states import TokenState
from tokens.tables import state_badge
from tokens.views.places import back_link, is_managed, list_of


@method_decorator(cache_control(no_store=True, private=True), name="dispatch")
class TokenRevealView(MemberPageMixin, View):
    """Signs the token and shows it, once. Every other visit shows that this has happened.

    A preload by the browser and a HEAD request show nothing, so they don't count as the one time.
    """

    http_method_names = ["get", "head", "options"]

    @method_decorator(sensitive_variables())
    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        token = get_object_or_404(Token.objects.visible_to(self.person).for_token_page(), pk=pk)
        if is_look_ahead(request):
            return shown_page(request, token)
        try:
            token, signed_jwt = services.reveal_token(actor=self.person, token=token, request=request)
        except services.CannotBeRevealed:
            token.refresh_from_db()
            return shown_page(request, token)
        can_run = can_run_pipelines(token)
        context = {
            "back": back_link(token, self.person),
            "account": token.owner if token.owner.is_service_account else None,
            "token": token,
            "old": getattr(token, "replaces", None),
            "signed_jwt": signed_jwt,
            "examples": examples_of(token, signed_jwt, can_run=can_run),
            "can_run_pipelines": can_run,
            "pipelines": pipelines_seen_by(self.person, token),
        }
        return render(request, "tokens/token_reveal.html", context)


def shown_page(request: HttpRequest, token: Token) -> HttpResponse:
    """The reveal page of a token that can't be shown, or not by this request."""
    headline, explanation = _why_not_shown(token, person_of(request))
    context = {
        "token": token,
        "state": state_badge(token),
        "form_url": list_of(token, person_of(request)) if is_managed(token, person_of(request)) else "",
        "back": back_link(token, person_of(request)),
        "headline": headline,
        "explanation": explanation,
        "can_expire": not token.has_ended
        and Token.objects.revocable_by(person_of(request)).filter(pk=token.pk).exists(),
    }
    return render(request, "tokens/token_shown.html", context)


def _why_not_shown(token: Token, user: User) -> tuple[str, str]:
    if token.revealed_at is not None:
        return (
            gettext("This token has already been shown"),
            gettext(
                "It was shown once, on %(time)s, and is not stored. If you did not save it, or someone else may have "
                "seen it, expire it and create a new one."
            )
            % {"time": exact(token.revealed_at)},
        )
    if not token.is_made_by(user):
        return (
            gettext("This token can only be shown to the person who created it"),
            gettext("It has not been shown yet. You can see its metadata."),
        )
    if token.state is TokenState.WAITING:
        return (
            gettext("This token waits for approval"),
            gettext("You get a mail when somebody has decided. After an approval, you can see it here, once."),
        )
    if token.can_be_revealed and token.approved_at is not None:
        return (
            gettext("This token has not been shown yet"),
            gettext("It is approved. Open this page again to see it, until %(time)s.")
            % {"time": exact(token.can_be_revealed_until or token.expires_at)},
        )
    if token.can_be_revealed:
        minutes = int(PENDING_LAPSES_AFTER.total_seconds() // 60)
        return (
            gettext("This token has not been shown yet"),
            ngettext(
                "Open this page again to see it, within %(count)s minute of creating it.",
                "Open this page again to see it, within %(count)s minutes of creating it.",
                minutes,
            )
            % {"count": minutes},
        )
    return (
        gettext("This token can no longer be shown"),
        gettext("It was not opened in time, or has expired. Nobody has seen it. Create a new one."),
    )
