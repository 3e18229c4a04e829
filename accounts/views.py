from typing import Any

from django.contrib import messages
from django.contrib.auth.views import INTERNAL_RESET_SESSION_TOKEN, PasswordResetConfirmView
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse, reverse_lazy
from django.views.generic import TemplateView, View
from django_filters.views import FilterView
from django_tables2 import RequestConfig, SingleTableMixin, SingleTableView

from accounts import services
from accounts.filters import GroupFilter, UserFilter
from accounts.forms import ChoosePasswordForm, GroupForm, InviteForm, MemberForm, SiteRoleForm
from accounts.invitations import DAYS, invitation_tokens
from accounts.models import Group, User
from accounts.privileges import Privilege
from accounts.querysets import undelivered_mails_readable_by
from accounts.roles import Ability
from accounts.security import credentials, sessions
from accounts.security.reauthentication import RecentSignInMixin
from accounts.signin.limits import remember_device
from accounts.states import USER_LOOKS
from accounts.tables import GroupTable, MailTable, MemberTable, UserTable
from core.mail.kinds import label_of
from core.models import OutgoingMail
from core.pages.addresses import back_to
from core.pages.confirm import confirm_page
from core.pages.tabs import ORGANIZATION_TABS, PROFILE_TABS
from core.pages.views import MemberPageMixin, TabsMixin

# Of people offered while one types; whoever is not among them is typed in full.
SUGGESTED = 500
# On a person's page; the list of mails has the others.
SHOWN_MAILS = 3


class ProfileView(TabsMixin, MemberPageMixin, TemplateView):
    """Who I am here, what my role allows, and where I am signed in."""

    template_name = "accounts/profile.html"
    tabs = PROFILE_TABS
    current_tab = "accounts:profile"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.person
        role = user.role
        return super().get_context_data(
            person=user,
            role={
                "label": user.get_site_role_display(),
                "description": role.summary,
                "may": [ability.value for ability in Ability if ability in role.abilities],
                "may_not": [ability.value for ability in Ability if ability not in role.abilities],
            },
            groups=list(user.member_groups.values_list("name", flat=True)),
            sessions=[sessions.as_row(session, self.request) for session in sessions.live_sessions(user)],
            **kwargs,
        )


class OrganizationPageMixin(TabsMixin, MemberPageMixin):
    """A page under "Organization". ``ability`` is what opens it; what it offers to change is the services' to allow."""

    tabs = ORGANIZATION_TABS
    ability = Ability.READ_USERS

    def role_allows(self, user: User) -> bool:
        return user.may(self.ability)

    def handle_refusal(self, error: services.NotAllowed) -> HttpResponseBase:
        raise PermissionDenied("Your site role does not allow this.") from error


# People


class UserListView(OrganizationPageMixin, SingleTableMixin, FilterView):
    """Everyone of the organization."""

    table_class = UserTable
    filterset_class = UserFilter
    template_name = "accounts/organization_user_list.html"
    current_tab = "accounts:organization_user_list"

    def get_queryset(self) -> QuerySet[User]:
        users: QuerySet[User] = User.objects.of_organization_readable_by(self.person).for_user_table()
        return users

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(may_change=self.person.may(Ability.MANAGE_ORGANIZATION), **kwargs)


class InviteView(OrganizationPageMixin, RecentSignInMixin, TemplateView):
    """Invites someone to the organization."""

    ability = Ability.MANAGE_ORGANIZATION
    privilege = Privilege.INVITE
    template_name = "accounts/organization_user_invite.html"
    current_tab = "accounts:organization_user_list"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        form = kwargs.pop("form", None) or InviteForm(actor=self.person)
        return super().get_context_data(form=form, days=DAYS, **kwargs)

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = InviteForm(request.POST, actor=self.person)
        if form.is_valid() and (user := self._invite(form)):
            messages.success(request, f"{user.email} gets a mail with a link to choose a password.")
            return redirect("accounts:organization_user_detail", pk=user.pk)
        return self.render_to_response(self.get_context_data(form=form), status=400)

    def _invite(self, form: InviteForm) -> User | None:
        try:
            return services.invite_user(actor=self.person, request=self.request, **form.cleaned_data)
        except services.NotAllowed as error:
            self.handle_refusal(error)
        except services.CannotBeInvited as error:
            form.add_error("email", str(error))
        except ValidationError as error:
            form.add_error(None, error)
        return None


class UserDetailView(OrganizationPageMixin, TemplateView):
    """One person of the organization, and what an Administrator may change about them."""

    template_name = "accounts/organization_user_detail.html"
    current_tab = "accounts:organization_user_list"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = kwargs.pop("user_object", None) or find_user(self.person, kwargs["pk"])
        form = kwargs.pop("form", None) or SiteRoleForm(initial={"site_role": user.site_role})
        return super().get_context_data(
            person=user,
            state=USER_LOOKS[user.state],
            role_summary=user.role.summary,
            form=form,
            may_change=self.person.may(Ability.MANAGE_ORGANIZATION),
            may_reset_two_factor=user.has_two_factor and user.pk != self.person.pk,
            undelivered_mails=[
                {"label": label_of(row), "created_at": row.created_at, "error": row.last_error or "not tried yet"}
                for row in user.undelivered_mails[:SHOWN_MAILS]  # type: ignore[union-attr]
            ],
            days=DAYS,
            **kwargs,
        )


class UserChangeView(OrganizationPageMixin, RecentSignInMixin):
    """The base of what an Administrator does to a person; each is a POST of its own, from the person's page."""

    ability = Ability.MANAGE_ORGANIZATION
    http_method_names = ["post"]

    def return_address(self) -> str:
        return reverse("accounts:organization_user_detail", args=[self.kwargs["pk"]])

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        user = find_user(self.person, pk)
        try:
            said = self.change(user)
        except services.NotAllowed as error:
            return self.handle_refusal(error)
        except (services.LastAdministrator, services.AlreadyAccepted, services.NothingToReset) as error:
            messages.error(request, str(error))
        else:
            messages.success(request, said)
        if user.pk == self.person.pk and not User.objects.get(pk=user.pk).may(Ability.READ_USERS):
            # Who took their own role away does not see these pages any more.
            return redirect("overview")
        return redirect("accounts:organization_user_detail", pk=user.pk)

    def change(self, user: User) -> str:
        raise NotImplementedError


class UserRoleView(UserChangeView):
    """Changes the site role."""

    privilege = Privilege.CHANGE_ROLE

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        form = SiteRoleForm(request.POST)
        if form.is_valid():
            self.site_role = form.cleaned_data["site_role"]
            return super().post(request, pk)
        page = UserDetailView()
        page.setup(request, pk=pk)
        return page.render_to_response(page.get_context_data(pk=pk, form=form), status=400)

    def change(self, user: User) -> str:
        changed = services.change_site_role(
            actor=self.person, user=user, site_role=self.site_role, request=self.request
        )
        return f"{changed.name} has the site role {changed.get_site_role_display()} from the next request on."


class UserActivateView(UserChangeView):
    privilege = Privilege.ACTIVATE

    def change(self, user: User) -> str:
        services.set_active(actor=self.person, user=user, is_active=True, request=self.request)
        return f"{user.name} is active again. Tokens that have not ended work again."


class UserDeactivateView(UserChangeView):
    """Not asked again: it only takes away, and may be urgent."""

    privilege = None
    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        user = find_user(self.person, pk)
        count = user.live_token_count  # type: ignore[attr-defined]
        tokens = f"{count} live token{'' if count == 1 else 's'}"
        return confirm_page(
            request,
            question=f"Deactivate {user.name}?",
            consequences=[
                f"{user.email} cannot sign in any more, and is signed out everywhere, from the next request on.",
                f"{tokens} of theirs stop working: scripts which use them get 401. Nothing is deleted, and the "
                "tokens work again if you activate the person before they end.",
            ],
            button="Deactivate",
            cancel_url=reverse("accounts:organization_user_detail", args=[user.pk]),
        )

    def change(self, user: User) -> str:
        services.set_active(actor=self.person, user=user, is_active=False, request=self.request)
        return f"{user.name} is deactivated."


class UserTwoFactorResetView(UserChangeView):
    """For someone who lost their second factor."""

    privilege = Privilege.RESET_TWO_FACTOR
    http_method_names = ["get", "head", "post"]

    def return_address(self) -> str:
        return self.request.path

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        user = find_user(self.person, pk)
        return confirm_page(
            request,
            question=f"Remove the two-factor of {user.name}?",
            consequences=[
                f"Do this only if you know that it is {user.name} who asks: call them, or see them. Whoever knows the "
                "password signs in with it alone from then on.",
                "Authenticator app, passkeys and recovery codes are removed, and the person is signed out everywhere. "
                f"{user.email} gets a mail that says so.",
            ],
            button="Remove two-factor",
            cancel_url=reverse("accounts:organization_user_detail", args=[user.pk]),
        )

    def change(self, user: User) -> str:
        services.reset_two_factor(actor=self.person, user=user, request=self.request)
        return f"The two-factor of {user.name} is removed. They can sign in with their password, and set it up anew."


class UserInvitationView(UserChangeView):
    """Sends the invitation once more."""

    privilege = Privilege.INVITE_AGAIN

    def change(self, user: User) -> str:
        services.send_invitation(actor=self.person, user=user, request=self.request)
        return f"{user.email} gets a new mail. The link in it works for {DAYS} days."


class AcceptInvitationView(PasswordResetConfirmView):
    """Where the link in an invitation leads: Django's own page for it, which takes the link's secret out of the
    address before it shows a form."""

    template_name = "accounts/accept_invitation.html"
    form_class = ChoosePasswordForm
    token_generator = invitation_tokens
    success_url = reverse_lazy("account_login")
    reset_url_token = "choose-password"  # noqa: S105  (what stands in the address instead of the secret)

    def form_valid(self, form: Any) -> HttpResponse:
        try:
            credentials.accept_invitation(
                user=form.user,
                key=self.request.session.pop(INTERNAL_RESET_SESSION_TOKEN, ""),
                password=form.cleaned_data["new_password1"],
                request=self.request,
            )
        except credentials.LinkUsed:
            self.validlink = False
            return self.render_to_response(self.get_context_data())
        messages.success(self.request, "Your password is set. Sign in with it.")
        answer = redirect(self.get_success_url())
        remember_device(self.request, answer, form.user.email)
        return answer


def find_user(actor: User, pk: str) -> User:
    """404 for someone whom the actor does not see."""
    user: User = get_object_or_404(User.objects.of_organization_readable_by(actor).for_user_table(), pk=pk)
    return user


class MailListView(OrganizationPageMixin, SingleTableView):
    """The mails to people of the organization that did not arrive so far."""

    ability = Ability.MANAGE_ORGANIZATION
    table_class = MailTable
    template_name = "accounts/organization_mail_list.html"
    current_tab = "accounts:organization_mail_list"

    def get_queryset(self) -> QuerySet[OutgoingMail]:
        return undelivered_mails_readable_by(self.person)


# Groups


class GroupListView(OrganizationPageMixin, SingleTableMixin, FilterView):
    """The organization's groups, with the form that makes one above them for those who may."""

    table_class = GroupTable
    filterset_class = GroupFilter
    template_name = "accounts/organization_group_list.html"
    current_tab = "accounts:organization_group_list"

    def get_queryset(self) -> QuerySet[Group]:
        return Group.objects.readable_by(self.person).for_group_table()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        form = kwargs.pop("form", None) or GroupForm()
        return super().get_context_data(form=form, may_change=self.person.may(Ability.MANAGE_GROUPS), **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not self.person.may(Ability.MANAGE_GROUPS):
            raise PermissionDenied("Your site role does not make groups.")
        form = GroupForm(request.POST)
        if form.is_valid() and (group := self._create(form)):
            messages.success(request, f"“{group.name}” is made. Add its members here.")
            return redirect("accounts:organization_group_detail", pk=group.pk)
        self.filterset = self.get_filterset(self.get_filterset_class())
        self.object_list = self.filterset.qs
        context = self.get_context_data(form=form, filter=self.filterset, object_list=self.object_list)
        answer: HttpResponseBase = self.render_to_response(context, status=400)
        return answer

    def _create(self, form: GroupForm) -> Group | None:
        try:
            return services.create_group(actor=self.person, name=form.cleaned_data["name"], request=self.request)
        except services.NotAllowed as error:
            self.handle_refusal(error)
        except (services.NameTaken, ValidationError) as error:
            add_name_error(form, error)
        return None


class GroupDetailView(OrganizationPageMixin, View):
    """One group: its members, and its name."""

    current_tab = "accounts:organization_group_list"

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        return self.page(find_group(self.person, pk))

    def page(
        self, group: Group, *, name_form: GroupForm | None = None, member_form: Form | None = None, status: int = 200
    ) -> HttpResponse:
        may_change = self.person.may(Ability.MANAGE_GROUPS)
        table = MemberTable(group.members.all(), group=group, may_change=may_change)
        RequestConfig(self.request, paginate={"per_page": 50}).configure(table)
        context = self.get_context_data(
            group=group,
            table=table,
            may_change=may_change,
            name_form=name_form or GroupForm(initial={"name": group.name}, prefix=None),
            member_form=member_form or MemberForm(actor=self.person),
            people=self._suggestions(group) if may_change else [],
        )
        return render(self.request, "accounts/organization_group_detail.html", context, status=status)

    def _suggestions(self, group: Group) -> list[str]:
        people = User.objects.of_organization_readable_by(self.person).active().exclude(member_groups=group)
        return list(people.order_by("email").values_list("email", flat=True)[:SUGGESTED])


class GroupChangeView(GroupDetailView):
    """The base of what is done to a group; each is a POST of its own."""

    ability = Ability.MANAGE_GROUPS
    http_method_names = ["post"]


class GroupRenameView(GroupChangeView):
    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        group = find_group(self.person, pk)
        form = GroupForm(request.POST)
        if form.is_valid() and self._rename(group, form):
            messages.success(request, f"The group is called “{form.cleaned_data['name']}” now.")
            return redirect("accounts:organization_group_detail", pk=group.pk)
        return self.page(group, name_form=form, status=400)

    def _rename(self, group: Group, form: GroupForm) -> bool:
        try:
            services.change_group(actor=self.person, group=group, name=form.cleaned_data["name"], request=self.request)
        except services.NotAllowed as error:
            self.handle_refusal(error)
        except (services.NameTaken, ValidationError) as error:
            add_name_error(form, error)
            return False
        return True


class GroupMemberAddView(GroupChangeView):
    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        group = find_group(self.person, pk)
        form = MemberForm(request.POST, actor=self.person)
        if not form.is_valid():
            return self.page(group, member_form=form, status=400)
        user = form.cleaned_data["email"]
        try:
            is_new = services.add_member(actor=self.person, group=group, user=user, request=request)
        except services.NotAllowed as error:
            return self.handle_refusal(error)
        said = f"{user.name} is in the group now." if is_new else f"{user.name} was in the group already."
        messages.success(request, said)
        return redirect("accounts:organization_group_detail", pk=group.pk)


class GroupMemberRemoveView(GroupChangeView):
    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, pk: str, user_pk: str) -> HttpResponse:  # type: ignore[override]
        group, user = find_group(self.person, pk), find_user(self.person, user_pk)
        return confirm_page(
            request,
            question=f"Take {user.name} out of “{group.name}”?",
            consequences=["What access rules give to this group, they lose from the next request on."],
            button="Take out",
            cancel_url=reverse("accounts:organization_group_detail", args=[group.pk]),
        )

    def post(self, request: HttpRequest, pk: str, user_pk: str) -> HttpResponseBase:
        group, user = find_group(self.person, pk), find_user(self.person, user_pk)
        try:
            services.remove_member(actor=self.person, group=group, user=user, request=request)
        except services.NotAllowed as error:
            return self.handle_refusal(error)
        messages.success(request, f"{user.name} is not in the group any more.")
        return redirect(back_to(request, reverse("accounts:organization_group_detail", args=[group.pk])))


class GroupDeleteView(GroupChangeView):
    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        group = find_group(self.person, pk)
        count = group.members.count()
        return confirm_page(
            request,
            question=f"Delete the group “{group.name}”?",
            consequences=[
                f"It has {count} member{'' if count == 1 else 's'}, who stay in the organization. "
                "This cannot be undone.",
                "A group that access rules name cannot be deleted: take it out of them first.",
            ],
            button="Delete group",
            cancel_url=reverse("accounts:organization_group_detail", args=[group.pk]),
        )

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        group = find_group(self.person, pk)
        try:
            services.delete_group(actor=self.person, group=group, request=request)
        except services.NotAllowed as error:
            return self.handle_refusal(error)
        except services.GroupInUse as error:
            messages.error(request, str(error))
            return redirect("accounts:organization_group_detail", pk=group.pk)
        messages.success(request, f"The group “{group.name}” is deleted.")
        return redirect("accounts:organization_group_list")


def find_group(actor: User, pk: str) -> Group:
    """404 for a group that the actor does not see."""
    return get_object_or_404(Group.objects.readable_by(actor), pk=pk)


def add_name_error(form: Form, error: Exception) -> None:
    texts = error.messages if isinstance(error, ValidationError) else [str(error)]
    for text in texts:
        form.add_error("name", text)
