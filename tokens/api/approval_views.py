"""API operations for requests to approve a token, like those of the pages."""

from typing import Any, ClassVar

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from accounts.privileges import Privilege
from accounts.roles import Ability
from core.api.operations import CHANGE_API, READ_API, Operation
from core.api.paging import KeysetPagination
from core.api.views import ApiViewSet
from core.db.keyset import Keyset
from tokens.api.approval_serializers import ApprovalSerializer, ApproveTokenBody, RejectTokenBody, shown
from tokens.approval import deciding
from tokens.approval.filters import ApprovalFilter
from tokens.approval.models import ApprovalRequest


def may_approve(user: User) -> bool:
    return user.may(Ability.APPROVE_TOKENS)


class ApprovalViewSet(ApiViewSet):
    """Requests to approve a token: one's own, or with some roles the whole organization's.

    Tokens can't decide: a token never helps to create another one.
    """

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List requests to approve a token"), READ_API, only_reads=True),
        "retrieve": Operation(_("See a request to approve a token"), READ_API, only_reads=True),
        "approve": Privilege.DECIDE_APPROVAL.operation(role_allows=may_approve),
        "reject": Privilege.DECIDE_APPROVAL.operation(role_allows=may_approve),
        "withdraw": Operation(_("Withdraw a request for a token"), CHANGE_API),
    }
    serializer_class = ApprovalSerializer
    filterset_class = ApprovalFilter
    pagination_class = KeysetPagination
    keyset = Keyset(("asked_at", "id"))

    def get_queryset(self) -> Any:
        requests = ApprovalRequest.objects.visible_to(self.person)
        return requests.for_approval_table() if self.action == "list" else requests.for_approval_page()

    @extend_schema(operation_id="approval_list")
    def list(self, request: Request) -> Response:
        """The newest first. People who read all tokens of the organization see all requests, others their own."""
        return self.page_of(self.get_queryset())

    @extend_schema(operation_id="approval_retrieve", responses=ApprovalSerializer)
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(shown(self.get_object()))

    @extend_schema(operation_id="approval_approve", request=ApproveTokenBody, responses=ApprovalSerializer)
    def approve(self, request: Request, pk: str) -> Response:
        """The person who asked gets a mail, and can see the token once within a day.

        Not for your own requests. 409 with the code `already_decided` says who decided before. For people in a browser
        session, not for tokens.
        """
        approval, body = self.get_object(), self.read_body(ApproveTokenBody)
        deciding.approve(actor=self.person, approval=approval, request=request._request, **body)
        return self._decided(approval)

    @extend_schema(operation_id="approval_reject", request=RejectTokenBody, responses=ApprovalSerializer)
    def reject(self, request: Request, pk: str) -> Response:
        """Ends the token. The person who asked gets a mail with the reason.

        Otherwise as for approving.
        """
        approval, body = self.get_object(), self.read_body(RejectTokenBody)
        deciding.reject(actor=self.person, approval=approval, request=request._request, **body)
        return self._decided(approval)

    @extend_schema(operation_id="approval_withdraw", request=None, responses=ApprovalSerializer)
    def withdraw(self, request: Request, pk: str) -> Response:
        """Ends a token that you requested, before somebody decides."""
        approval = self.get_object()
        deciding.withdraw(actor=self.person, approval=approval, request=request._request)
        return self._decided(approval)

    def _decided(self, approval: ApprovalRequest) -> Response:
        return Response(shown(ApprovalRequest.objects.for_approval_page().get(pk=approval.pk)))
