"""The page of the organization's policy: reading it, reviewing a change, saving the change."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.generic import TemplateView

from accounts.forms import PolicyForm
from accounts.models import Organization, User
from accounts.privileges import Privilege
from accounts.roles import Ability
from accounts.security.reauthentication import RecentSignInMixin
from accounts.services import PolicyChangedMeanwhile, WouldLockOut
from core.errors import DomainError
from core.pages.forms import add_error
from core.pages.views import MemberPageMixin, SectionMixin
from core.text import Text
from tokens.approval.mails import approvers
from tokens.models import Token
from tokens.policy import rules, text
from tokens.policy.preview import EffectChanged, change_policy, review_policy
from tokens.states import TokenState


def approvers_in_words(organization: Organization) -> str:
    """Says if too few people can approve tokens; empty if there are enough, or no token needs approval."""
    if not (
        organization.approval_scopes
        or organization.approval_lifetime_days is not None
        or organization.approval_for_service_accounts
    ):
        return ""
    found = list(approvers(organization)[:2])
    if not found:
        return _("Nobody can approve tokens: no active person has a site role that allows it.")
    if len(found) == 1:
        return _("Only %(person)s can approve tokens, so nobody can approve theirs.") % {"person": found[0].name}
    return ""


class PolicyView(SectionMixin, MemberPageMixin, RecentSignInMixin, TemplateView):
    """The policy in words, or for Administrators its form, whose submission shows what the change would do."""

    template_name = "tokens/organization_policy.html"
    section = "organization"
    current_tab = "tokens:organization_policy"
    privilege = Privilege.CHANGE_POLICY
    asks_before = frozenset({"POST"})

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.MANAGE_ORGANIZATION if self.request.method == "POST" else Ability.READ_TOKENS)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        organization = self.organization()
        shown = Token.objects.of_organization_readable_by(self.person).live().filter(revealed_at__isnull=False)
        blocked_now = shown.filter(rules.blocked(organization, timezone.now()), owner__is_active=True)
        return super().get_context_data(
            form=kwargs.pop("form", None) or PolicyForm(instance=self.organization()),
            policy=text.in_words(organization),
            version=organization.policy_version,
            here=getattr(self.request, "client_address", None),
            may_change=self.person.may(Ability.MANAGE_ORGANIZATION),
            approvers=approvers_in_words(organization),
            blocked_now=blocked_now.count(),
            blocked_state=TokenState.BLOCKED_BY_POLICY.id,
            **kwargs,
        )

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = PolicyForm(request.POST, instance=self.organization())
        if not form.is_valid():
            return self.render_to_response(self.get_context_data(form=form), status=400)
        return self.answer(form)

    def answer(self, form: PolicyForm) -> HttpResponseBase:
        return self.review(form)

    def review(self, form: PolicyForm) -> HttpResponseBase:
        """What the change would do, above the form with what was typed."""
        try:
            return self._reviewed(form, version=self.request.POST.get("version"))
        except PolicyChangedMeanwhile as error:
            return self.review_again(form, error)

    def review_again(self, form: PolicyForm, error: DomainError) -> HttpResponseBase:
        """Nothing was saved. Shows what the change would do now, compared with the policy as it is now."""
        return self._reviewed(form, why=error.message, status=409)

    def _reviewed(
        self, form: PolicyForm, *, version: str | None = None, why: Text = "", status: int = 200
    ) -> HttpResponseBase:
        try:
            review = review_policy(actor=self.person, changes=form.cleaned_data, version=version, request=self.request)
        except WouldLockOut as error:
            add_error(form, error)
            return self.render_to_response(self.get_context_data(form=form), status=400)
        context = self.get_context_data(
            form=form,
            # The same form again, hidden, for the answer to the review. Without ids, which the visible fields have.
            agreed=PolicyForm(self.request.POST, instance=self.organization(), auto_id=False),
            why=why,
            changes=text.changes_in_words(review),
            consequences=list(text.consequences(review)),
            effect=review.effect,
            further_people=review.effect.blocked_people - len(review.effect.owners),
        )
        return self.render_to_response(context, status=status)

    def organization(self) -> Organization:
        """As it is now. Not ``person.organization``, because a form writes into it."""
        return Organization.objects.get(pk=self.person.own_organization.pk)


class PolicySaveView(PolicyView):
    """Saves a reviewed change, if its effect is still the one that the review showed."""

    http_method_names = ["post"]

    def answer(self, form: PolicyForm) -> HttpResponseBase:
        try:
            review = change_policy(
                actor=self.person,
                changes=form.cleaned_data,
                version=self.request.POST.get("version", ""),
                shown=self.request.POST.get("shown", ""),
                request=self.request,
            )
        except (PolicyChangedMeanwhile, EffectChanged) as error:
            return self.review_again(form, error)
        except WouldLockOut:
            return self.review(form)
        saved = _("The policy is saved. It applies from the next request on.")
        messages.success(self.request, f"{saved} {text.blocked_tokens(review.effect)}")
        return redirect("tokens:organization_policy")
