"""The organization's review campaigns: the list, planning, one campaign with its items, its record, canceling."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.views.generic import TemplateView, View
from django_tables2 import SingleTableMixin

from accounts.models import User
from accounts.privileges import Privilege
from accounts.roles import Ability
from accounts.security.reauthentication import RecentSignInMixin
from auditlog import exports
from auditlog.views.base import ExportView
from core.pages.confirm import confirm_page
from core.pages.forms import refusals_as_messages, refusals_in
from core.pages.views import FilteredListMixin, MemberPageMixin, SectionMixin
from tokens.review import planning, record
from tokens.review.filters import ReviewItemFilter
from tokens.review.forms import PlanForm
from tokens.review.models import ReviewCampaign, ReviewItem
from tokens.review.querysets import ReviewCampaignQuerySet, ReviewItemQuerySet
from tokens.review.tables import ReviewCampaignTable, ReviewItemTable, repeats


class ReviewPageMixin(SectionMixin, MemberPageMixin):
    section = "organization"
    current_tab = "tokens:organization_token_list"

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.READ_TOKENS)

    @property
    def may_plan(self) -> bool:
        return self.person.may(Ability.MANAGE_ORGANIZATION)

    def campaigns(self) -> ReviewCampaignQuerySet:
        return ReviewCampaign.objects.of_organization_readable_by(self.person).for_campaign_page()

    @cached_property
    def campaign(self) -> ReviewCampaign:
        found: ReviewCampaign = get_object_or_404(self.campaigns(), pk=self.kwargs["pk"])
        return found


class ReviewListView(ReviewPageMixin, SingleTableMixin, TemplateView):
    """The newest first."""

    table_class = ReviewCampaignTable
    template_name = "tokens/organization_review_list.html"

    def get_table_data(self) -> ReviewCampaignQuerySet:
        return self.campaigns()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        may_plan = self.may_plan and not self.campaigns().unfinished().exists()
        return super().get_context_data(may_plan=may_plan, **kwargs)


class ReviewPlanView(ReviewPageMixin, RecentSignInMixin, TemplateView):
    privilege = Privilege.CHANGE_REVIEW_CAMPAIGNS
    template_name = "tokens/organization_review_form.html"

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.MANAGE_ORGANIZATION)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(form=kwargs.pop("form", None) or PlanForm(), **kwargs)

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = PlanForm(request.POST)
        if form.is_valid():
            with refusals_in(form):
                campaign = planning.plan(actor=self.person, request=request, **form.plan())
                messages.success(request, _said(campaign))
                return redirect("tokens:organization_review_detail", pk=campaign.pk)
        return self.render_to_response(self.get_context_data(form=form), status=400)


class ReviewDetailView(ReviewPageMixin, SingleTableMixin, FilteredListMixin):
    """The counts and the items. ``?check=1`` compares the record with its digest in the activity log."""

    table_class = ReviewItemTable
    filterset_class = ReviewItemFilter
    template_name = "tokens/organization_review_detail.html"

    def get_queryset(self) -> ReviewItemQuerySet:
        return self._items().for_item_table(seen_by=self.person)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        campaign = self.campaign
        return super().get_context_data(
            campaign=campaign,
            repeats=repeats(campaign),
            counts=self._items().counts(),
            may_cancel=self.may_plan and campaign.is_unfinished,
            check=record.check(campaign) if campaign.sealed_at and self.request.GET.get("check") == "1" else None,
            **kwargs,
        )

    def get_table_kwargs(self) -> dict[str, Any]:
        if not self.is_readable:
            return {"empty_text": _("Correct the marked filter to see tokens.")}
        return {} if self.campaign.has_record else {"empty_text": _("The tokens are listed when it has started.")}

    def _items(self) -> ReviewItemQuerySet:
        return ReviewItem.objects.filter(campaign=self.campaign)


class ReviewRecordView(ReviewPageMixin, ExportView):
    """The record as CSV: for a finished campaign, always the same bytes."""

    def get(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        return exports.file_response(
            request,
            record.csv_lines(self.campaign),
            name=record.file_name(self.campaign),
            file_format=exports.CSV,
            head=record.HEAD,
        )


class ReviewCancelView(ReviewPageMixin, RecentSignInMixin, View):
    privilege = Privilege.CHANGE_REVIEW_CAMPAIGNS
    http_method_names = ["get", "head", "post"]

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.MANAGE_ORGANIZATION)

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        return confirm_page(
            request,
            question=_("Cancel the review campaign?"),
            consequences=[
                _("No token expires because of it. What people answered stays in its record."),
                _("It is not repeated. You can plan another campaign at any time."),
            ],
            button=_("Cancel review campaign"),
            cancel_url=self._url(),
        )

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        with refusals_as_messages(request):
            planning.cancel(actor=self.person, campaign=self.campaign, request=request)
            messages.success(request, _("The review campaign is canceled. No token expires because of it."))
        return redirect(self._url())

    def _url(self) -> str:
        return reverse("tokens:organization_review_detail", args=[self.campaign.pk])


def _said(campaign: ReviewCampaign) -> str:
    if campaign.started_at is None:
        return _("The review campaign is planned. Cancel it here if you change your mind.")
    return _("The review campaign has started. Owners get a mail in a moment.")
