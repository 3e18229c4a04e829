"""The pages of the organization's groups."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.generic import View
from django_tables2 import RequestConfig, SingleTableMixin

from accounts import seen, services
from accounts.filters import GroupFilter
from accounts.forms import GroupForm, MemberForm
from accounts.models import Group
from accounts.roles import Ability
from accounts.tables import GroupTable, MemberTable
from accounts.views.base import OrganizationPageMixin, find_group, find_member
from core.pages.addresses import back_to
from core.pages.confirm import confirm_page
from core.pages.forms import refusals_as_messages, refusals_in
from core.pages.views import FilteredListMixin
from core.text import grouped


class GroupListView(OrganizationPageMixin, SingleTableMixin, FilteredListMixin):
    """The organization's groups, with a form that creates one for people who may."""

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
            raise PermissionDenied(_("Your site role can't create groups."))
        form = GroupForm(request.POST)
        if form.is_valid() and (group := self._create(form)):
            messages.success(request, _("“%(group)s” is created. Add its members here.") % {"group": group.name})
            return redirect("accounts:organization_group_detail", pk=group.pk)
        self.filterset = self.get_filterset(self.get_filterset_class())
        self.object_list = self.filterset.qs
        context = self.get_context_data(form=form, filter=self.filterset, object_list=self.object_list)
        answer: HttpResponseBase = self.render_to_response(context, status=400)
        return answer

    def _create(self, form: GroupForm) -> Group | None:
        with refusals_in(form):
            return services.create_group(actor=self.person, name=form.cleaned_data["name"], request=self.request)
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
        may_change_members = may_change and not group.is_managed
        table = MemberTable(group.members.all(), group=group, may_change=may_change_members)
        RequestConfig(self.request, paginate={"per_page": 50}).configure(table)
        context = self.get_context_data(
            group=group,
            table=table,
            may_change=may_change,
            may_change_members=may_change_members,
            name_form=name_form or self.name_form(group),
            member_form=member_form or MemberForm(actor=self.person),
        )
        return render(self.request, "accounts/organization_group_detail.html", context, status=status)

    def name_form(self, group: Group, data: Any = None) -> GroupForm:
        return GroupForm(data, initial={"name": group.name}, now=seen.of_group_name(group), request=self.request)


class GroupChangeView(GroupDetailView):
    """Base of the views that change a group: each change is a POST to its own address."""

    ability = Ability.MANAGE_GROUPS
    http_method_names = ["post"]


class GroupRenameView(GroupChangeView):
    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        group = find_group(self.person, pk)
        form = self.name_form(group, request.POST)
        if form.is_valid() and self._rename(group, form):
            said = _("The group is now called “%(name)s”.") % {"name": form.cleaned_data["name"]}
            messages.success(request, said)
            return redirect("accounts:organization_group_detail", pk=group.pk)
        return self.page(group, name_form=form, status=form.refusal_status)

    def _rename(self, group: Group, form: GroupForm) -> bool:
        with refusals_in(form):
            renamed = services.change_group(actor=self.person, group=group, request=self.request, **form.cleaned_data)
            form.saved(seen.of_group_name(renamed))
        return form.is_valid()


class GroupMemberAddView(GroupChangeView):
    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        group = find_group(self.person, pk)
        form = MemberForm(request.POST, actor=self.person)
        if not form.is_valid():
            return self.page(group, member_form=form, status=400)
        user = form.cleaned_data["email"]
        with refusals_as_messages(request):
            is_new = services.add_member(actor=self.person, group=group, user=user, request=request)
            said = _("%(name)s is now in the group.") if is_new else _("%(name)s was already in the group.")
            messages.success(request, said % {"name": user.name})
        return redirect("accounts:organization_group_detail", pk=group.pk)


class GroupMemberRemoveView(GroupChangeView):
    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, pk: str, user_pk: str) -> HttpResponse:  # type: ignore[override]
        group, user = find_group(self.person, pk), find_member(self.person, user_pk)
        return confirm_page(
            request,
            question=_("Remove %(name)s from “%(group)s”?") % {"name": user.name, "group": group.name},
            consequences=[_("They lose what access rules give to this group, from the next request on.")],
            button=_("Remove"),
            cancel_url=reverse("accounts:organization_group_detail", args=[group.pk]),
        )

    def post(self, request: HttpRequest, pk: str, user_pk: str) -> HttpResponseBase:
        group, user = find_group(self.person, pk), find_member(self.person, user_pk)
        with refusals_as_messages(request):
            services.remove_member(actor=self.person, group=group, user=user, request=request)
            messages.success(request, _("%(name)s is no longer in the group.") % {"name": user.name})
        return redirect(back_to(request, reverse("accounts:organization_group_detail", args=[group.pk])))


class GroupDeleteView(GroupChangeView):
    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        group = find_group(self.person, pk)
        count = group.members.count()
        members = ngettext(
            "Its %(count)s member stays in the organization. This cannot be undone.",
            "Its %(count)s members stay in the organization. This cannot be undone.",
            count,
        )
        return confirm_page(
            request,
            question=_("Delete the group “%(group)s”?") % {"group": group.name},
            consequences=[
                members % {"count": grouped(count)},
                _("You can't delete a group that an access rule uses: remove it from the rules first."),
            ],
            button=_("Delete group"),
            cancel_url=reverse("accounts:organization_group_detail", args=[group.pk]),
        )

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        group = find_group(self.person, pk)
        with refusals_as_messages(request):
            services.delete_group(actor=self.person, group=group, request=request)
            messages.success(request, _("The group “%(group)s” is deleted.") % {"group": group.name})
            return redirect("accounts:organization_group_list")
        return redirect("accounts:organization_group_detail", pk=group.pk)
