"""The pages of the organization's people."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.generic import TemplateView
from django_tables2 import SingleTableMixin

from accounts import seen, services
from accounts.filters import UserPageFilter
from accounts.forms import EraseForm, SiteRoleForm
from accounts.invitations import DAYS
from accounts.models import Erasure, User
from accounts.privileges import Privilege
from accounts.roles import Ability
from accounts.security.reauthentication import RecentSignInMixin
from accounts.states import USER_BADGES
from accounts.tables import UserTable
from accounts.views.base import OrganizationPageMixin, find_user
from core.errors import DomainError
from core.mail.kinds import label_of
from core.pages.confirm import confirm_page
from core.pages.forms import add_error, refusals_as_messages
from core.pages.views import FilteredListMixin
from core.seen import ChangedMeanwhile
from core.text import Text, counted

# How many undelivered mails a person's page lists; the organization's list of mails has all.
MAILS_LISTED = 3


class UserListView(OrganizationPageMixin, SingleTableMixin, FilteredListMixin):
    """Everyone in the organization."""

    table_class = UserTable
    filterset_class = UserPageFilter
    template_name = "accounts/organization_user_list.html"
    current_tab = "accounts:organization_user_list"

    def get_queryset(self) -> QuerySet[User]:
        users: QuerySet[User] = User.objects.people().of_organization_readable_by(self.person).for_user_table()
        return users

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(may_change=self.person.may(Ability.MANAGE_ORGANIZATION), **kwargs)


class UserDetailView(OrganizationPageMixin, TemplateView):
    """One person of the organization, with forms for what an Administrator can change."""

    template_name = "accounts/organization_user_detail.html"
    current_tab = "accounts:organization_user_list"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = kwargs.pop("user_object", None) or find_user(self.person, kwargs["pk"])
        form = kwargs.pop("form", None) or role_form(user, self.request)
        return super().get_context_data(
            person=user,
            state=USER_BADGES[user.state],
            role_summary=_(user.role.summary),
            form=form,
            may_change=self.person.may(Ability.MANAGE_ORGANIZATION),
            may_read_tokens=self.person.may(Ability.READ_TOKENS),
            erasure=Erasure.objects.filter(person=user).first() if user.erased_at else None,
            may_reset_two_factor=user.has_two_factor and user.pk != self.person.pk,
            undelivered_mails=[
                {"label": label_of(row), "created_at": row.created_at, "error": row.last_error or _("not tried yet")}
                for row in user.undelivered_mails[:MAILS_LISTED]  # type: ignore[union-attr]
            ],
            days=DAYS,
            **kwargs,
        )


class UserChangeView(OrganizationPageMixin, RecentSignInMixin):
    """Base of the views that change a person: each change is a POST to its own address, from the person's page."""

    ability = Ability.MANAGE_ORGANIZATION
    http_method_names = ["post"]

    def return_address(self) -> str:
        return reverse("accounts:organization_user_detail", args=[self.kwargs["pk"]])

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        user = find_user(self.person, pk)
        with refusals_as_messages(request):
            messages.success(request, self.change(user))
        if user.pk == self.person.pk and not User.objects.get(pk=user.pk).may(Ability.READ_USERS):
            # The actor gave up their own role, and can no longer see these pages.
            return redirect("overview")
        return redirect("accounts:organization_user_detail", pk=user.pk)

    def change(self, user: User) -> str:
        raise NotImplementedError


class UserRoleView(UserChangeView):
    """Changes the site role."""

    privilege = Privilege.CHANGE_ROLE

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        self.form = role_form(find_user(self.person, pk), request, request.POST)
        if self.form.is_valid():
            try:
                return super().post(request, pk)
            except ChangedMeanwhile as error:
                add_error(self.form, error)
        page = UserDetailView()
        page.setup(request, pk=pk)
        return page.render_to_response(page.get_context_data(pk=pk, form=self.form), status=self.form.refusal_status)

    def change(self, user: User) -> str:
        changed = services.change_site_role(
            actor=self.person, user=user, request=self.request, **self.form.cleaned_data
        )
        self.form.saved(seen.of_site_role(changed))
        role = changed.get_site_role_display()
        return _("%(name)s now has the site role %(role)s.") % {"name": changed.name, "role": role}


def role_form(user: User, request: HttpRequest, data: Any = None) -> SiteRoleForm:
    return SiteRoleForm(data, initial={"site_role": user.site_role}, now=seen.of_site_role(user), request=request)


class UserActivateView(UserChangeView):
    privilege = Privilege.ACTIVATE

    def change(self, user: User) -> str:
        services.set_active(actor=self.person, user=user, is_active=True, request=self.request)
        said = _("%(name)s is active again, and so are their tokens that have not expired.")
        return said % {"name": user.name}


class UserDeactivateView(UserChangeView):
    """Needs no proof: it only removes access, and may be urgent."""

    privilege = None
    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        user = find_user(self.person, pk)
        count = user.live_token_count  # type: ignore[attr-defined]
        tokens = counted(count, "live token", "live tokens")
        return confirm_page(
            request,
            question=_("Deactivate %(name)s?") % {"name": user.name},
            consequences=[
                _("%(email)s can no longer sign in, and is signed out everywhere.") % {"email": user.email},
                _(
                    "Tokens that stop working: %(tokens)s. Scripts that use them get 401. Nothing is deleted: if you "
                    "activate the person again, tokens that have not expired work again."
                )
                % {"tokens": tokens},
                *self._about_accounts(user),
            ],
            button=_("Deactivate"),
            cancel_url=reverse("accounts:organization_user_detail", args=[user.pk]),
        )

    def _about_accounts(self, user: User) -> list[Text]:
        """The service accounts that nobody active would be responsible for, with links to name another person."""
        accounts = list(services.only_responsible_for(user))
        if not accounts:
            return []
        links = format_html_join(
            ", ",
            '<a href="{}">{}</a>',
            ((reverse("accounts:organization_service_account_edit", args=[each.pk]), each.name) for each in accounts),
        )
        said = ngettext(
            "Nobody else is responsible for this service account. Name another person first:",
            "Nobody else is responsible for these service accounts. Name another person first:",
            len(accounts),
        )
        return [format_html("{} {}", said, links)]

    def change(self, user: User) -> str:
        services.set_active(actor=self.person, user=user, is_active=False, request=self.request)
        return _("%(name)s is deactivated.") % {"name": user.name}


class UserEraseView(UserChangeView):
    """Replaces the name and the address of a deactivated person by a pseudonym, for good."""

    privilege = Privilege.ERASE_PERSON
    http_method_names = ["get", "head", "post"]

    def return_address(self) -> str:
        return self.request.path

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        user = find_user(self.person, pk)
        return self._asked(user, EraseForm(email=user.email))

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        user = find_user(self.person, pk)
        form = EraseForm(request.POST, email=user.email)
        if form.is_valid():
            try:
                services.erase_person(actor=self.person, user=user, request=request, **form.cleaned_data)
            except (DomainError, ValidationError) as error:
                add_error(form, error)
            else:
                said = _("The person is erased. The worker now replaces their name and address in the logs.")
                messages.success(request, said)
                return redirect("accounts:organization_user_detail", pk=user.pk)
        return self._asked(user, form, status=409 if form.is_bound and not form.errors.get("confirm") else 400)

    def _asked(self, user: User, form: EraseForm, status: int = 200) -> HttpResponse:
        return confirm_page(
            self.request,
            question=_("Erase %(name)s?") % {"name": user.name},
            consequences=[
                _("This can't be undone, also not by the operator: the person can never be activated again."),
                _(
                    "Name and address become a pseudonym wherever the portal stores them: here, in both logs, in runs "
                    "of pipelines and their logs. The number of entries stays the same, and the seals still prove them."
                ),
                _(
                    "Passkeys, single sign-on, groups, sessions and mails that wait are deleted. IP addresses and "
                    "programs in the logs stay until your retention removes them, as evidence of attacks."
                ),
                _("Backups keep the name until they expire, and files that people exported keep it too."),
            ],
            button=_("Erase for good"),
            cancel_url=reverse("accounts:organization_user_detail", args=[user.pk]),
            form=form,
            status=status,
        )


class UserTwoFactorResetView(UserChangeView):
    """For a person who lost their second factor."""

    privilege = Privilege.RESET_TWO_FACTOR
    http_method_names = ["get", "head", "post"]

    def return_address(self) -> str:
        return self.request.path

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        user = find_user(self.person, pk)
        return confirm_page(
            request,
            question=_("Remove the two-factor of %(name)s?") % {"name": user.name},
            consequences=[
                _(
                    "Do this only if you are sure that %(name)s requests it: call or meet them. Afterwards, the "
                    "password alone is enough to sign in."
                )
                % {"name": user.name},
                _(
                    "Authenticator app, passkeys and recovery codes are removed, and the person is signed out "
                    "everywhere. %(email)s gets a mail that says so."
                )
                % {"email": user.email},
            ],
            button=_("Remove two-factor"),
            cancel_url=reverse("accounts:organization_user_detail", args=[user.pk]),
        )

    def change(self, user: User) -> str:
        services.reset_two_factor(actor=self.person, user=user, request=self.request)
        said = _("The two-factor of %(name)s is removed. They can sign in with their password, and set it up again.")
        return said % {"name": user.name}


class UserInvitationView(UserChangeView):
    """Sends the invitation again."""

    privilege = Privilege.INVITE_AGAIN

    def change(self, user: User) -> str:
        services.send_invitation(actor=self.person, user=user, request=self.request)
        said = ngettext(
            "%(email)s gets a new mail. The link in it works for %(days)s day.",
            "%(email)s gets a new mail. The link in it works for %(days)s days.",
            DAYS,
        )
        return said % {"email": user.email, "days": DAYS}
