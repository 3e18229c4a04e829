"""The pages of the organization's own single sign-on."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.views.generic import TemplateView

from accounts import seen, services
from accounts.models import Group, OrganizationProvider
from accounts.privileges import Privilege
from accounts.provider_forms import ProviderForm, TryClaimsForm
from accounts.roles import Ability, SiteRole
from accounts.security.decorators import never_cached
from accounts.security.reauthentication import RecentSignInMixin
from accounts.signin.single_sign_on.people import outcome_for
from accounts.signin.single_sign_on.provider import providers_for
from accounts.views.base import OrganizationPageMixin
from core.http.public_address import public_url
from core.pages.confirm import confirm_page
from core.pages.forms import refusals_in

PAGE = "accounts:organization_single_sign_on"


class SingleSignOnPageView(OrganizationPageMixin, RecentSignInMixin, TemplateView):
    """What the pages of single sign-on share: the organization's provider, and the page itself."""

    ability = Ability.MANAGE_ORGANIZATION
    privilege = Privilege.CHANGE_SINGLE_SIGN_ON
    template_name = "accounts/organization_single_sign_on.html"
    current_tab = PAGE
    return_to = PAGE

    @cached_property
    def row(self) -> OrganizationProvider | None:
        return OrganizationProvider.objects.manageable_by(self.person).first()

    @cached_property
    def groups(self) -> list[Group]:
        return list(Group.objects.readable_by(self.person))

    def form(self, data: Any = None) -> ProviderForm:
        return ProviderForm(
            data, groups=self.groups, row=self.row, now=seen.of_provider(self.row), request=self.request
        )

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        slug = self.person.own_organization.slug
        return super().get_context_data(
            hosts=settings.OIDC_ORGANIZATION_HOSTS,
            row=self.row,
            form=kwargs.pop("form", None) or self.form(),
            try_form=kwargs.pop("try_form", None) or TryClaimsForm(),
            sign_in_url=f"{public_url('organization_sign_on')}?organization={slug}",
            callback_url=public_url("organization_sign_on_callback", self.row.pk) if self.row else None,
            callback_pattern=f"{public_url('single_sign_on')}…/callback/",
            **kwargs,
        )


@never_cached
class SingleSignOnView(SingleSignOnPageView):
    """The provider and its rules."""

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = self.form(request.POST)
        if form.is_valid() and (row := self._save(form)):
            form.saved(seen.of_provider(row))
            messages.success(request, _("Single sign-on is saved. It applies from the next sign-in on."))
            return redirect(PAGE)
        return self.render_to_response(self.get_context_data(form=form), status=form.refusal_status)

    def _save(self, form: ProviderForm) -> OrganizationProvider | None:
        with refusals_in(form):
            return services.save_provider(
                actor=self.person,
                changes=form.changes(),
                secret=form.cleaned_data["client_secret"],
                seen=form.cleaned_data.get("seen"),
                request=self.request,
            )
        return None


class SingleSignOnTryView(SingleSignOnPageView):
    """Shows which site role and groups would follow from claims. Nothing is kept."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = TryClaimsForm(request.POST)
        if not form.is_valid() or self.row is None:
            return self.render_to_response(self.get_context_data(try_form=form), status=400)
        context = self.get_context_data(try_form=form, result=self._result(self.row, form.cleaned_data["claims"]))
        return self.render_to_response(context)

    def _result(self, row: OrganizationProvider, claims: Mapping[str, Any]) -> dict[str, Any]:
        """``role``: a sentence, and for each group its name with a sentence."""
        outcome = outcome_for(row, claims)
        names = {str(group.pk): group.name for group in self.groups}
        return {
            "role": _role_in_words(row, outcome.site_role, outcome.role_rule, is_refused=outcome.is_refused),
            "groups": [
                {"name": names[pk], "why": _because(row.group_rules, position)}
                for pk, position in outcome.groups.items()
                if pk in names
            ],
            "left_out": ", ".join(outcome.left_out),
        }


def _role_in_words(row: OrganizationProvider, site_role: str | None, position: int | None, *, is_refused: bool) -> str:
    if is_refused:
        return _("The sign-in is refused: no line applies.")
    if site_role is None:
        if row.role_rules:
            return _("The site role stays as it is: the provider has left out a claim.")
        return _("The site role stays as it is: there are no lines for site roles.")
    role = SiteRole(site_role).label
    if position is None:
        return _("Site role %(role)s: no line applies, so it is the one by default.") % {"role": role}
    return _("Site role %(role)s: %(why)s") % {"role": role, "why": _because(row.role_rules, position)}


def _because(rules: list[Any], position: int) -> str:
    rule = rules[position - 1]
    said = _("line %(position)s applies, %(claim)s = %(value)s.")
    return said % {"position": position, "claim": rule["claim"], "value": rule["value"]}


class SingleSignOnRemoveView(SingleSignOnPageView):
    privilege = Privilege.REMOVE_SINGLE_SIGN_ON
    http_method_names = ["get", "head", "post"]
    return_to = ""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return confirm_page(
            request,
            question=_("Remove single sign-on?"),
            consequences=[
                _(
                    "Nobody can sign in with the organization's provider any more, and all connections with it are "
                    "removed. This cannot be undone."
                ),
                _(
                    "People, their site roles and groups stay. People without a password request one on the sign-in "
                    "page, under “Lost your password?”."
                ),
                *self._own_consequence(),
            ],
            button=_("Remove"),
            cancel_url=reverse(PAGE),
        )

    def _own_consequence(self) -> list[str]:
        others = [provider for provider in providers_for(self.person) if provider.row is None]
        if self.person.has_usable_password() or others:
            return []
        return [_("You have no password yourself. You can request one there once you are signed out.")]

    def post(self, request: HttpRequest) -> HttpResponseBase:
        if services.remove_provider(actor=self.person, request=request):
            messages.success(request, _("Single sign-on is removed."))
        return redirect(PAGE)
