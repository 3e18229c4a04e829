"""The pages of trust rules: which CI jobs get tokens of which service account."""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.generic import TemplateView
from django_tables2 import SingleTableMixin

from accounts.models import User
from accounts.privileges import Privilege
from accounts.provider_rules import values_of
from accounts.roles import Ability
from accounts.security.decorators import never_cached
from accounts.security.reauthentication import RecentSignInMixin
from core.http.public_address import public_url
from core.pages.confirm import confirm_page
from core.pages.forms import refusals_in
from core.pages.views import MemberPageMixin, SectionMixin
from tokens import seen
from tokens.models import TrustRule
from tokens.querysets import TrustRuleQuerySet
from tokens.tables import TrustRuleTable
from tokens.trust import exchange, rules
from tokens.trust.forms import TrustRuleForm, TryTokenForm, audience_for, initial_of, initial_with
from tokens.trust.issuers import PRESETS

PAGE = "tokens:organization_trust"


class TrustPageMixin(SectionMixin, MemberPageMixin):
    section = "organization"
    current_tab = PAGE

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.MANAGE_ORGANIZATION)

    @cached_property
    def rule(self) -> TrustRule:
        """404 if the person doesn't manage it."""
        found = TrustRule.objects.manageable_by(self.person).select_related("account", "organization")
        return get_object_or_404(found, pk=self.kwargs["pk"])


class TrustListView(TrustPageMixin, SingleTableMixin, TemplateView):
    table_class = TrustRuleTable
    template_name = "tokens/organization_trust.html"
    table_pagination = False

    def get_table_data(self) -> TrustRuleQuerySet:
        return TrustRule.objects.manageable_by(self.person).filter(organization=self.person.organization_id).for_table()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            presets=PRESETS.values(),
            try_form=kwargs.pop("try_form", None) or TryTokenForm(),
            exchange_url=public_url("tokens_api:token_exchange"),
            audience=audience_for(self.person.own_organization),
            slug=self.person.own_organization.slug,
            **kwargs,
        )


@never_cached
@method_decorator(sensitive_post_parameters("token"), name="dispatch")
class TrustTryView(TrustListView):
    """Shows which rule would match the claims of a job, and why the others don't. Nothing is kept."""

    http_method_names = ["post"]

    @method_decorator(sensitive_variables())
    def post(self, request: HttpRequest) -> HttpResponse:
        form = TryTokenForm(request.POST)
        if not form.is_valid():
            # The field is empty again: what was pasted is not sent back.
            form.data = {}
            return self.render_to_response(self.get_context_data(try_form=form), status=400)
        result = list(_results(self.get_table_data(), form.cleaned_data["token"]))
        return self.render_to_response(self.get_context_data(result=result))


def _results(found: TrustRuleQuerySet, claims: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """For each rule: ``rule``, ``wins`` and ``why``, a sentence."""
    is_won = False
    for rule in found:
        why = _why_not(rule, claims)
        if why:
            yield {"rule": rule, "wins": False, "why": why}
        elif is_won:
            yield {"rule": rule, "wins": False, "why": _("It matches too, but an older rule comes first.")}
        else:
            is_won = True
            gives = _("It matches: the job gets a token of %(account)s with %(scopes)s.")
            scopes = ", ".join(str(scope.label) for scope in rule.scopes)
            yield {"rule": rule, "wins": True, "why": gives % {"account": rule.account.name, "scopes": scopes}}


def _why_not(rule: TrustRule, claims: Mapping[str, Any]) -> str:
    """Empty if the rule matches."""
    if not rule.is_enabled:
        return _("It is switched off.")
    reason, claim = exchange.why_not(rule, claims)
    if not reason:
        return ""
    if reason == exchange.ACCOUNT:
        return _("Its service account is deactivated.")
    wanted = {"iss": rule.issuer, "aud": rule.audience}.get(claim) or rule.claims[claim]
    given = ", ".join(value[:100] for value in values_of(claims, claim)[:5])
    if not given:
        return _("The claim %(claim)s is missing. The rule wants %(wanted)s.") % {"claim": claim, "wanted": wanted}
    said = _("The claim %(claim)s is %(given)s. The rule wants %(wanted)s.")
    return said % {"claim": claim, "given": given, "wanted": wanted}


class TrustFormView(TrustPageMixin, RecentSignInMixin, TemplateView):
    """Base of the pages with the form of a rule."""

    privilege = Privilege.CHANGE_TRUST_RULES
    template_name = "tokens/organization_trust_form.html"

    def form(self, data: Any = None) -> TrustRuleForm:
        raise NotImplementedError

    def save(self, form: TrustRuleForm) -> HttpResponseBase:
        raise NotImplementedError

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(form=kwargs.pop("form", None) or self.form(), **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        form = self.form(request.POST)
        if form.is_valid():
            with refusals_in(form):
                return self.save(form)
        return self.render_to_response(self.get_context_data(form=form), status=form.refusal_status)


class TrustAddView(TrustFormView):
    """``?preset=github`` fills in the issuer and an example."""

    def form(self, data: Any = None) -> TrustRuleForm:
        initial = initial_with(PRESETS.get(self.request.GET.get("preset", "")), self.person.own_organization)
        return TrustRuleForm(data, person=self.person, initial=initial, request=self.request)

    def save(self, form: TrustRuleForm) -> HttpResponseBase:
        rules.create_rule(actor=self.person, request=self.request, **form.changes())
        messages.success(self.request, _("The trust rule is saved. Jobs that match can get tokens now."))
        return redirect(PAGE)


class TrustEditView(TrustFormView):
    def form(self, data: Any = None) -> TrustRuleForm:
        return TrustRuleForm(
            data,
            person=self.person,
            rule=self.rule,
            initial=initial_of(self.rule, self.person),
            now=seen.of_trust_rule(self.rule),
            request=self.request,
        )

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(rule=self.rule, **kwargs)

    def save(self, form: TrustRuleForm) -> HttpResponseBase:
        seen_before = form.cleaned_data.get("seen")
        changed = rules.change_rule(
            actor=self.person, rule=self.rule, seen=seen_before, request=self.request, **form.changes()
        )
        form.saved(seen.of_trust_rule(changed))
        messages.success(self.request, _("The trust rule is saved. It applies from the next exchange on."))
        return redirect(PAGE)


class TrustDeleteView(TrustPageMixin, RecentSignInMixin, TemplateView):
    privilege = Privilege.CHANGE_TRUST_RULES
    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        return confirm_page(
            request,
            question=_("Delete the trust rule “%(rule)s”?") % {"rule": self.rule},
            consequences=[_("Jobs get no tokens by it any more. Tokens that exist end in at most an hour.")],
            button=_("Delete trust rule"),
            cancel_url=reverse(PAGE),
        )

    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
        rules.delete_rule(actor=self.person, rule=self.rule, request=request)
        messages.success(request, _("The trust rule is deleted."))
        return redirect(PAGE)
