"""Pages about found tokens."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.generic import FormView, TemplateView

from accounts.roles import Ability
from auditlog.tables import outcome_badge
from core.errors import NotAllowed
from core.http.public_address import public_url
from core.pages import errors
from core.pages.forms import refusals_in
from core.pages.views import MemberPageMixin, SectionMixin
from tokens.forms import ExpireTokenForm, TokenLookupForm
from tokens.keys.ring import key_ring
from tokens.leaks import finding, reporting
from tokens.models import Token
from tokens.pipeline_choice import pipelines_seen_by
from tokens.services import needs_reason
from tokens.tables import state_badge
from tokens.views.expire import uses_lately


@method_decorator(sensitive_post_parameters("token"), name="dispatch")
class TokenLookupView(SectionMixin, MemberPageMixin, FormView[TokenLookupForm]):
    """Shows whose token was found, whether it works and who uses it. The token itself is kept only in this request."""

    form_class = TokenLookupForm
    template_name = "tokens/token_lookup.html"
    section = "profile"
    current_tab = "tokens:token_list"

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        wait = finding.LOOK_UPS.take(str(self.person.pk))
        if wait is not None:
            return errors.too_many_requests(
                request, _("You have looked up many tokens in a short time. Try again in a minute."), retry_after=wait
            )
        return super().post(request, *args, **kwargs)

    @method_decorator(sensitive_variables())
    def form_valid(self, form: TokenLookupForm) -> HttpResponse:
        pasted, token = form.cleaned_data["token"], None
        try:
            with refusals_in(form):
                token = finding.look_up_token(actor=self.person, pasted=pasted, request=self.request)
        except NotAllowed:
            return self.render_to_response(self.get_context_data(is_unknown=True), status=404)
        if token is None:
            return self.form_invalid(form)
        return self.render_to_response(self.get_context_data(**self._found(token)))

    def form_invalid(self, form: TokenLookupForm) -> HttpResponse:
        return self.render_to_response(self.get_context_data(form=form), status=400)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(looks_up_others=self.person.may(Ability.EXPIRE_TOKENS), **kwargs)

    def _found(self, token: Token) -> dict[str, Any]:
        uses = finding.last_uses(token, reader=self.person)
        return {
            # An empty field for the next token.
            "form": TokenLookupForm(),
            "token": token,
            "state": state_badge(token),
            "meaning": finding.MEANINGS[token.state],
            "pipelines": pipelines_seen_by(self.person, token),
            "last_uses": [{"entry": use, "outcome": outcome_badge(use)} for use in uses],
            "expire_form": None if token.has_ended else self._expire_form(token),
            "uses_lately": uses_lately(token, self.person),
            "cancel_url": reverse("tokens:token_lookup"),
        }

    def _expire_form(self, token: Token) -> ExpireTokenForm:
        return ExpireTokenForm(needs_reason=needs_reason(actor=self.person, token=token))


class SecretScanningView(TemplateView):
    """For people who scan for leaked secrets: how to recognize, verify and report the portal's tokens."""

    template_name = "secret_scanners.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            pattern=finding.PATTERN,
            example=finding.example(),
            issuer=settings.TOKEN_ISSUER,
            jwks_url=public_url("tokens:jwks"),
            report_url=public_url("tokens_api:token_report"),
            algorithms=sorted({key.algorithm for key in key_ring().keys}),
            reports=reporting.REPORTS,
            max_reported=reporting.MAX_REPORTED,
            **kwargs,
        )
