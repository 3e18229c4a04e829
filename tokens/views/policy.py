"""The page of the organization's policy: read it, review a change of it, save the change."""

from collections.abc import Iterator
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.views.generic import TemplateView

from accounts.forms import PolicyForm
from accounts.models import POLICY_FIELDS, Organization, User
from accounts.privileges import Privilege
from accounts.roles import Ability, SiteRole
from accounts.security.reauthentication import RecentSignInMixin
from accounts.services import NotAllowed, PolicyChangedMeanwhile, TwoFactorFirst
from core.api.scopes import BY_ID
from core.pages.tabs import ORGANIZATION_TABS
from core.pages.views import MemberPageMixin, TabsMixin
from core.text import counted
from tokens.models import Token
from tokens.policy import rules
from tokens.policy.preview import SOON, Effect, EffectChanged, Review, change_policy, review_policy
from tokens.states import TokenState


class PolicyView(TabsMixin, MemberPageMixin, RecentSignInMixin, TemplateView):
    """The policy in words; for Administrators its form. Sent, the form shows what the change would do."""

    template_name = "tokens/organization_policy.html"
    tabs = ORGANIZATION_TABS
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
            policy=in_words(organization),
            version=organization.policy_version,
            may_change=self.person.may(Ability.MANAGE_ORGANIZATION),
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
            return self.review_again(form, str(error))

    def review_again(self, form: PolicyForm, why: str) -> HttpResponseBase:
        """Nothing was saved; here is what the change would do now, compared with the policy as it is now."""
        return self._reviewed(form, why=why, status=409)

    def _reviewed(
        self, form: PolicyForm, *, version: str | None = None, why: str = "", status: int = 200
    ) -> HttpResponseBase:
        try:
            review = review_policy(actor=self.person, changes=form.cleaned_data, version=version)
        except TwoFactorFirst as error:
            form.add_error("two_factor_roles", str(error))
            return self.render_to_response(self.get_context_data(form=form), status=400)
        context = self.get_context_data(
            form=form,
            # The same once more, to be sent with the answer; without ids, which the visible fields have.
            agreed=PolicyForm(self.request.POST, instance=self.organization(), auto_id=False),
            why=why,
            changes=changes_in_words(review),
            consequences=list(consequences(review)),
            effect=review.effect,
            further_people=review.effect.blocked_people - len(review.effect.owners),
        )
        return self.render_to_response(context, status=status)

    def organization(self) -> Organization:
        """As it is now, and not the person's own copy: a form writes into it."""
        return Organization.objects.get(pk=self.person.own_organization.pk)


class PolicySaveView(PolicyView):
    """Saves a change that was reviewed, if it still does what the review said."""

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
            return self.review_again(form, str(error))
        except TwoFactorFirst:
            return self.review(form)
        except NotAllowed as error:
            raise PermissionDenied("Your site role does not change the policy.") from error
        messages.success(
            self.request, f"The policy is saved and holds from the next request on. {blocked(review.effect)}"
        )
        return redirect("tokens:organization_policy")


# In words


def in_words(organization: Organization) -> dict[str, str]:
    """Each field's label with its value, in the order of the form."""
    unused_days = organization.unused_tokens_end_after_days
    texts = {
        "max_token_lifetime_days": rules.days(organization.max_token_lifetime_days),
        "allowed_scopes": ", ".join(BY_ID[scope].label for scope in organization.allowed_scopes.split()),
        "max_live_tokens": str(organization.max_live_tokens),
        "unused_tokens_end_after_days": "Never" if unused_days is None else f"After {rules.days(unused_days)}",
        "two_factor_roles": ", ".join(SiteRole(role).label for role in organization.two_factor_roles.split()) or "None",
        "log_retention_days": rules.days(organization.log_retention_days),
    }
    return {LABELS[field]: texts[field] for field in POLICY_FIELDS}


LABELS = {
    "max_token_lifetime_days": "Longest life of a token",
    "allowed_scopes": "Scopes that tokens may have",
    "max_live_tokens": "Live tokens that a person may have",
    "unused_tokens_end_after_days": "Unused tokens end",
    "two_factor_roles": "Site roles that need two-factor",
    "log_retention_days": "How long both logs are kept",
}


def changes_in_words(review: Review) -> list[dict[str, str]]:
    before, after = in_words(review.before), in_words(review.after)
    return [
        {"label": label, "before": before[label], "after": after[label]}
        for label in after
        if before[label] != after[label]
    ]


def consequences(review: Review) -> Iterator[str]:
    """What the change does, a sentence each."""
    effect = review.effect
    yield blocked(effect)
    if effect.by_rule[rules.UNUSED.id]:
        yield "Unused tokens end for good within the hour, and their owners get a mail."
    if effect.unblocked_tokens:
        yield f"{counted(effect.unblocked_tokens, 'token', 'tokens')} that the policy blocks now will work again."
    if effect.unused_soon:
        yield (
            f"{counted(effect.unused_soon, 'token', 'tokens')} will end as unused within {SOON.days} days, "
            "unless somebody uses them."
        )
    if effect.people_to_set_up_two_factor:
        people = counted(effect.people_to_set_up_two_factor, "person", "people")
        yield f"{people} must set up two-factor, and can do nothing else here until they have."
    if effect.people_above_max_live_tokens:
        people = counted(effect.people_above_max_live_tokens, "person", "people")
        yield f"{people} with more live tokens than the new maximum: they keep them, and make no further one."
    if review.after.log_retention_days < review.before.log_retention_days:
        kept = rules.days(review.after.log_retention_days)
        yield f"Entries of both logs that are older than {kept} are removed for good within a day."


def blocked(effect: Effect) -> str:
    """`12 tokens of 4 people will be blocked from their next use on: 7 live too long, 5 have ...`"""
    if not effect.blocked_tokens:
        return "No token that works now will be blocked."
    parts = [counted(count, rule.of_one, rule.of_many) for rule in rules.RULES if (count := effect.by_rule[rule.id])]
    twice = sum(effect.by_rule.values()) > effect.blocked_tokens
    return (
        f"{counted(effect.blocked_tokens, 'token', 'tokens')} of {counted(effect.blocked_people, 'person', 'people')} "
        f"will be blocked from their next use on: {', '.join(parts)}."
        f"{' One that breaks several rules is counted with each.' if twice else ''}"
    )
