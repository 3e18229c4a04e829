"""The pages of service accounts. `tokens/views/service_accounts.py` has those of their tokens."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.generic import TemplateView
from django_tables2 import SingleTableMixin

from accounts import seen, services
from accounts.filters import ServiceAccountFilter
from accounts.finding import suggestion
from accounts.forms import ServiceAccountForm
from accounts.models import User
from accounts.pipelines_for_tokens import pipelines_for_tokens
from accounts.privileges import Privilege
from accounts.roles import ROLES, Ability, SiteRole
from accounts.security.reauthentication import RecentSignInMixin
from accounts.services import ROLES_OF_SERVICE_ACCOUNTS
from accounts.states import ACCOUNT_BADGES
from accounts.tables import ServiceAccountTable
from accounts.views.base import ServiceAccountPageMixin, find_service_account
from core.pages.confirm import confirm_page
from core.pages.forms import refusals_as_messages, refusals_in
from core.pages.views import FilteredListMixin
from core.text import counted

# How many pipelines the page of a service account names.
LISTED_PIPELINES = 20


class ServiceAccountListView(ServiceAccountPageMixin, SingleTableMixin, FilteredListMixin):
    """All service accounts of the organization, or those that the person is responsible for."""

    table_class = ServiceAccountTable
    filterset_class = ServiceAccountFilter
    template_name = "accounts/organization_service_account_list.html"

    def get_queryset(self) -> QuerySet[User]:
        accounts: QuerySet[User] = User.objects.service_accounts_readable_by(self.person).for_service_account_table()
        return accounts

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            may_change=self.person.may(Ability.MANAGE_ORGANIZATION),
            sees_all=self.person.may(Ability.READ_USERS),
            **kwargs,
        )


class ServiceAccountDetailView(ServiceAccountPageMixin, TemplateView):
    """One service account: who is responsible, what it can reach, and where its tokens and its log are."""

    template_name = "accounts/organization_service_account_detail.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        account = find_service_account(self.person, kwargs["pk"])
        pipelines = pipelines_for_tokens().offered_to(account, most=LISTED_PIPELINES + 1)
        return super().get_context_data(
            account=account,
            row=account.service_account,
            state=ACCOUNT_BADGES[account.account_state],
            role_summary=_(account.role.summary),
            pipelines=pipelines[:LISTED_PIPELINES],
            has_more_pipelines=len(pipelines) > LISTED_PIPELINES,
            may_change=self.person.may(Ability.MANAGE_ORGANIZATION),
            may_read_users=self.person.may(Ability.READ_USERS),
            may_read_logs=self.person.may(Ability.READ_LOGS),
            may_read_tokens=self.person.may(Ability.READ_TOKENS),
            manages_tokens=User.objects.manageable_by(self.person).filter(pk=account.pk).exists(),
            **kwargs,
        )


class ServiceAccountFormView(ServiceAccountPageMixin, RecentSignInMixin, TemplateView):
    """The form of a service account, for Administrators."""

    template_name = "accounts/organization_service_account_form.html"

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.MANAGE_ORGANIZATION)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        roles = [{"label": role.label, "summary": _(ROLES[role].summary)} for role in ROLES_OF_SERVICE_ACCOUNTS]
        return super().get_context_data(roles=roles, **kwargs)


class ServiceAccountCreateView(ServiceAccountFormView):
    privilege = Privilege.CREATE_SERVICE_ACCOUNT

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        form = kwargs.pop("form", None) or ServiceAccountForm(
            actor=self.person,
            initial={"responsible": suggestion(self.person.name, self.person.email), "site_role": SiteRole.GUEST},
        )
        return super().get_context_data(form=form, account=None, **kwargs)

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = ServiceAccountForm(request.POST, actor=self.person)
        if form.is_valid():
            with refusals_in(form):
                account = services.create_service_account(actor=self.person, request=request, **form.cleaned_data)
                said = _("“%(name)s” is created. Create its first token here.") % {"name": account.name}
                messages.success(request, said)
                return redirect(settings.SERVICE_ACCOUNT_TOKENS_PAGE, account_pk=account.pk)
        return self.render_to_response(self.get_context_data(form=form), status=400)


class ServiceAccountEditView(ServiceAccountFormView):
    privilege = Privilege.CHANGE_SERVICE_ACCOUNT

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        account = find_service_account(self.person, kwargs["pk"])
        form = kwargs.pop("form", None) or self._form(account)
        return super().get_context_data(form=form, account=account, **kwargs)

    def _form(self, account: User, data: Any = None) -> ServiceAccountForm:
        row = account.service_account
        initial = {
            "name": account.name,
            "description": row.description,
            "site_role": account.site_role,
            "groups": "\n".join(group.name for group in account.member_groups.all()),
            "responsible": "\n".join(suggestion(person.name, person.email) for person in row.responsible.all()),
        }
        now = seen.of_service_account(account)
        return ServiceAccountForm(data, actor=self.person, initial=initial, now=now, request=self.request)

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        account = find_service_account(self.person, pk)
        form = self._form(account, request.POST)
        if form.is_valid():
            with refusals_in(form):
                services.change_service_account(
                    actor=self.person, account=account, request=request, **form.cleaned_data
                )
                form.saved(seen.of_service_account(User.objects.get(pk=pk)))
                messages.success(request, _("Saved."))
                return redirect("accounts:organization_service_account_detail", pk=pk)
        return self.render_to_response(self.get_context_data(pk=pk, form=form), status=form.refusal_status)


class ServiceAccountStateView(ServiceAccountPageMixin, RecentSignInMixin):
    """Base of the views that activate and deactivate a service account, from its page."""

    http_method_names = ["post"]

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.MANAGE_ORGANIZATION)

    def return_address(self) -> str:
        return reverse("accounts:organization_service_account_detail", args=[self.kwargs["pk"]])

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        account = find_service_account(self.person, pk)
        with refusals_as_messages(request):
            messages.success(request, self.change(account))
        return redirect(self.return_address())

    def change(self, account: User) -> str:
        raise NotImplementedError


class ServiceAccountActivateView(ServiceAccountStateView):
    privilege = Privilege.ACTIVATE_SERVICE_ACCOUNT

    def change(self, account: User) -> str:
        services.set_service_account_active(actor=self.person, account=account, is_active=True, request=self.request)
        return _("%(name)s is active again, and so are its tokens that have not expired.") % {"name": account.name}


class ServiceAccountDeactivateView(ServiceAccountStateView):
    """Needs no proof: it only removes access, and may be urgent."""

    privilege = None
    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        account = find_service_account(self.person, pk)
        count = account.live_token_count  # type: ignore[attr-defined]
        return confirm_page(
            request,
            question=_("Deactivate %(name)s?") % {"name": account.name},
            consequences=[
                _(
                    "Tokens that stop working: %(tokens)s. Scripts that use them get 401. Nothing is deleted: if you "
                    "activate the service account again, tokens that have not expired work again."
                )
                % {"tokens": counted(count, "live token", "live tokens")},
            ],
            button=_("Deactivate"),
            cancel_url=self.return_address(),
        )

    def change(self, account: User) -> str:
        services.set_service_account_active(actor=self.person, account=account, is_active=False, request=self.request)
        return _("%(name)s is deactivated.") % {"name": account.name}
