"""Requests to approve a token: the organization's list, one request, and the decisions."""

from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.generic import View
from django_tables2 import SingleTableMixin

from accounts.models import User
from accounts.privileges import Privilege
from accounts.roles import Ability
from accounts.security.reauthentication import RecentSignInMixin
from core.pages.forms import refusals_as_messages, refusals_in
from core.pages.views import FilteredListMixin, MemberPageMixin, SectionMixin
from tokens.approval import deciding
from tokens.approval.asking import LAPSES_AFTER
from tokens.approval.filters import ApprovalFilter
from tokens.approval.models import ApprovalRequest
from tokens.approval.tables import ApprovalTable
from tokens.forms import ApprovalForm, RejectionForm
from tokens.models import Token
from tokens.pipeline_choice import pipelines_seen_by
from tokens.views.detail import what_it_could_do


class ApprovalListView(SectionMixin, MemberPageMixin, SingleTableMixin, FilteredListMixin):
    """What waits comes first."""

    table_class = ApprovalTable
    filterset_class = ApprovalFilter
    template_name = "tokens/organization_approval_list.html"
    section = "organization"
    current_tab = "tokens:organization_approval_list"

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.READ_TOKENS)

    def get_queryset(self) -> QuerySet[ApprovalRequest]:
        requests = ApprovalRequest.objects.of_organization_readable_by(self.person)
        return requests.waiting_first().for_approval_table()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(days=LAPSES_AFTER.days, **kwargs)

    def get_table_kwargs(self) -> dict[str, Any]:
        if not self.is_readable:
            return {"empty_text": _("Correct the marked filter to see requests.")}
        return {} if self.narrowing() else {"empty_text": _("Nobody has requested a token that needs approval.")}


class ApprovalPageMixin(SectionMixin, MemberPageMixin):
    """The page of one request."""

    section = "organization"
    current_tab = "tokens:organization_approval_list"

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.READ_TOKENS)

    def find(self, pk: str) -> ApprovalRequest:
        requests = ApprovalRequest.objects.of_organization_readable_by(self.person).for_approval_page()
        found: ApprovalRequest = get_object_or_404(requests, pk=pk)
        return found

    def page(self, approval: ApprovalRequest, form: ApprovalForm | None = None, status: int = 200) -> HttpResponse:
        can_do, cannot_do = what_it_could_do(approval.token)
        may_decide = self.person.may(Ability.APPROVE_TOKENS)
        is_others = ApprovalRequest.objects.decidable_by(self.person).filter(pk=approval.pk).exists()
        context = self.get_context_data(
            approval=approval,
            token=approval.token,
            outcome=deciding.outcome_in_words(approval),
            form=form or ApprovalForm(),
            can_decide=may_decide and is_others and approval.is_waiting,
            is_own=may_decide and not is_others,
            pipelines=pipelines_seen_by(self.person, approval.token),
            can_do=can_do,
            cannot_do=cannot_do,
        )
        return render(self.request, "tokens/organization_approval_detail.html", context, status=status)


class ApprovalDetailView(ApprovalPageMixin):
    """Who asks for which token and why, and what the token could do."""

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        return self.page(self.find(pk))


class DecisionView(ApprovalPageMixin, RecentSignInMixin):
    """Base of the two decisions: each is a POST to its own address, from the page of the request."""

    privilege = Privilege.DECIDE_APPROVAL
    http_method_names = ["post"]
    form_class: type[ApprovalForm]

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.APPROVE_TOKENS)

    def return_address(self) -> str:
        return reverse("tokens:organization_approval_detail", args=[self.kwargs["pk"]])

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        approval, form = self.find(pk), self.form_class(request.POST)
        if form.is_valid():
            with refusals_in(form):
                messages.success(request, self.decide(approval, form.cleaned_data["reason"]))
        if form.errors:
            # Somebody else may have decided meanwhile.
            approval = self.find(pk)
            return self.page(approval, form, status=400 if approval.is_waiting else 409)
        return redirect("tokens:organization_approval_detail", pk=pk)

    def decide(self, approval: ApprovalRequest, reason: str) -> str:
        raise NotImplementedError


class ApproveView(DecisionView):
    form_class = ApprovalForm

    def decide(self, approval: ApprovalRequest, reason: str) -> str:
        deciding.approve(actor=self.person, approval=approval, reason=reason, request=self.request)
        return _("“%(name)s” is approved. %(person)s gets a mail and can see it once.") % names_of(approval)


class RejectView(DecisionView):
    form_class = RejectionForm

    def decide(self, approval: ApprovalRequest, reason: str) -> str:
        deciding.reject(actor=self.person, approval=approval, reason=reason, request=self.request)
        return _("“%(name)s” is rejected. %(person)s gets a mail with your reason.") % names_of(approval)


def names_of(approval: ApprovalRequest) -> dict[str, str]:
    return {"name": approval.token.name, "person": approval.asked_by.name}


class TokenWithdrawView(MemberPageMixin, View):
    """Withdraws the request for one of my tokens, which ends it. It was never shown, so no script uses it."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        visible = Token.objects.visible_to(self.person)
        requests = ApprovalRequest.objects.withdrawable_by(self.person).filter(token__in=visible.order_by())
        approval = get_object_or_404(requests, token=pk)
        with refusals_as_messages(request):
            deciding.withdraw(actor=self.person, approval=approval, request=request)
            messages.success(request, _("You have withdrawn the request. The name of the token is free again."))
        return redirect("tokens:token_detail", pk=pk)
