"""API operations for review campaigns, like those of the pages."""

from typing import Any, ClassVar

from django.http import StreamingHttpResponse
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from accounts.privileges import Privilege
from accounts.roles import Ability
from auditlog import exports
from auditlog.api.views.base import CsvRenderer, busy
from core.api.operations import READ_API, Operation
from core.api.paging import KeysetPagination
from core.api.views import ApiViewSet
from core.db.keyset import Keyset
from tokens.api.review_serializers import (
    AnswerBody,
    AnswersSerializer,
    PlanReviewBody,
    ReviewCampaignDetailSerializer,
    ReviewCampaignSerializer,
    ReviewCheckSerializer,
    ReviewItemSerializer,
    TokenToConfirmSerializer,
)
from tokens.api.views import may_read_tokens
from tokens.review import answering, planning, record
from tokens.review.filters import ReviewItemFilter
from tokens.review.models import ReviewCampaign, ReviewItem


def may_plan(user: User) -> bool:
    return user.may(Ability.MANAGE_ORGANIZATION)


class ReviewCampaignViewSet(ApiViewSet):
    """The organization's review campaigns, for roles that read everyone's tokens. Administrators plan and cancel."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List review campaigns"), READ_API, only_reads=True, role_allows=may_read_tokens),
        "create": Privilege.CHANGE_REVIEW_CAMPAIGNS.operation(role_allows=may_plan),
        "retrieve": Operation(_("See a review campaign"), READ_API, only_reads=True, role_allows=may_read_tokens),
        "cancel": Privilege.CHANGE_REVIEW_CAMPAIGNS.operation(role_allows=may_plan),
        "record": Operation(
            _("Download the record of a review campaign"), READ_API, only_reads=True, role_allows=may_read_tokens
        ),
        "check": Operation(
            _("Check the record of a review campaign"), READ_API, only_reads=True, role_allows=may_read_tokens
        ),
    }
    serializer_class = ReviewCampaignSerializer
    pagination_class = KeysetPagination
    keyset = Keyset(("planned_at", "id"))

    def get_renderers(self) -> list[Any]:
        return [*super().get_renderers(), CsvRenderer()] if self.action == "record" else super().get_renderers()

    def get_queryset(self) -> Any:
        return ReviewCampaign.objects.of_organization_readable_by(self.person).for_campaign_page()

    @extend_schema(operation_id="review_campaign_list")
    def list(self, request: Request) -> Response:
        """The newest first."""
        return self.page_of(self.get_queryset())

    @extend_schema(
        operation_id="review_campaign_create",
        request=PlanReviewBody,
        responses={201: ReviewCampaignDetailSerializer},
    )
    def create(self, request: Request) -> Response:
        """Plans a review campaign, or starts it at once.

        Owners, and the people responsible for service accounts, confirm or expire each token that is live at the start.
        Tokens that nobody confirms expire at the end. 409 with the code `campaign_exists` if one is planned or open.
        For people in a browser session, not for tokens.
        """
        body = self.read_body(PlanReviewBody)
        campaign = planning.plan(actor=self.person, request=request._request, **body)
        return Response(self._shown(campaign), status=201)

    @extend_schema(operation_id="review_campaign_retrieve", responses=ReviewCampaignDetailSerializer)
    def retrieve(self, request: Request, pk: str) -> Response:
        """With the number of tokens for each answer."""
        return Response(self._shown(self.get_object()))

    @extend_schema(operation_id="review_campaign_cancel", request=None, responses=ReviewCampaignDetailSerializer)
    def cancel(self, request: Request, pk: str) -> Response:
        """Ends a campaign. No token expires because of it, and it is not repeated.

        The worker writes the record in the next minutes: `is_record_pending` is true until then.
        409 with the code `campaign_ended` if it has ended already. For people in a browser session, not for tokens.
        """
        planning.cancel(actor=self.person, campaign=self.get_object(), request=request._request)
        return Response(self._shown(self.get_object()))

    @extend_schema(operation_id="review_campaign_record", responses={(200, "text/csv"): OpenApiTypes.STR})
    def record(self, request: Request, pk: str) -> StreamingHttpResponse:
        """All tokens of the campaign as CSV (RFC 4180, UTF-8 with a byte order mark, with a header line).

        After the end, the file is always the same, and `digest` of the campaign is its SHA-256. A text that a
        spreadsheet would read as a formula has an apostrophe before it.
        """
        campaign = self.get_object()
        try:
            return exports.file_response(
                request._request,
                record.csv_lines(campaign),
                name=record.file_name(campaign),
                file_format=exports.CSV,
                head=record.HEAD,
            )
        except exports.TooManyExports:
            raise busy() from None

    @extend_schema(operation_id="review_campaign_check", responses=ReviewCheckSerializer)
    def check(self, request: Request, pk: str) -> Response:
        """Compares the stored record with the digest in the activity log, which is sealed.

        Before the end, `sealed` is empty. It is also empty while `is_pending` is true: the worker writes the record of
        a canceled campaign in the minutes after it.
        """
        return Response(ReviewCheckSerializer(record.check(self.get_object())).data)

    def _shown(self, campaign: ReviewCampaign) -> dict[str, Any]:
        return dict(ReviewCampaignDetailSerializer(campaign).data)


class ReviewItemViewSet(ApiViewSet):
    """The tokens of one campaign."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(
            _("List the tokens of a review campaign"), READ_API, only_reads=True, role_allows=may_read_tokens
        ),
    }
    serializer_class = ReviewItemSerializer
    filterset_class = ReviewItemFilter
    pagination_class = KeysetPagination
    keyset = Keyset(("owner_email", "id"), descending=False)
    queryset = ReviewCampaign.objects.none()

    def get_queryset(self) -> Any:
        return ReviewCampaign.objects.of_organization_readable_by(self.person)

    @extend_schema(operation_id="review_campaign_items")
    def list(self, request: Request, pk: str) -> Response:
        """By the owner's e-mail address."""
        return self.page_of(ReviewItem.objects.filter(campaign=self.get_object()).for_item_table())


class TokensToConfirmViewSet(ApiViewSet):
    """The tokens that wait for the caller's answer in a review campaign.

    Tokens can't answer: a token that leaked could confirm itself.
    """

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List tokens that wait for my confirmation"), READ_API, only_reads=True),
        "confirm": Operation(_("Confirm tokens in a review campaign")),
        "expire": Operation(_("Expire tokens in a review campaign")),
    }
    serializer_class = TokenToConfirmSerializer
    pagination_class = KeysetPagination
    keyset = Keyset(("owner_email", "id"), descending=False)

    def get_queryset(self) -> Any:
        return ReviewItem.objects.asked_of(self.person).waiting().for_item_table()

    @extend_schema(operation_id="token_to_confirm_list")
    def list(self, request: Request) -> Response:
        """Your own tokens, and those of service accounts that you are responsible for, by the owner's e-mail address.
        Administrators also see those of service accounts for which nobody active is responsible."""
        return self.page_of(self.get_queryset())

    @extend_schema(operation_id="token_to_confirm_confirm", request=AnswerBody, responses=AnswersSerializer)
    def confirm(self, request: Request) -> Response:
        """Keeps up to 1000 tokens, all or none. They end when they would end anyway.

        409 with the code `already_answered` if somebody has answered for one of them, or if it has ended. For people in
        a browser session, not for tokens.
        """
        body = self.read_body(AnswerBody)
        items = answering.confirm(actor=self.person, token_ids=body["ids"], note=body["note"], request=request._request)
        return _answers(items)

    @extend_schema(operation_id="token_to_confirm_expire", request=AnswerBody, responses=AnswersSerializer)
    def expire(self, request: Request) -> Response:
        """Permanently expires up to 1000 tokens, all or none.

        Otherwise as for confirming.
        """
        body = self.read_body(AnswerBody)
        items = answering.expire(actor=self.person, token_ids=body["ids"], note=body["note"], request=request._request)
        return _answers(items)


def _answers(items: list[ReviewItem]) -> Response:
    rows = ReviewItemSerializer(items, many=True).data
    return Response({"count": len(rows), "data": rows, "next": None})
