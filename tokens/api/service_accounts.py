"""The API for the tokens of service accounts, for those who manage them."""

from dataclasses import replace
from typing import Any, ClassVar

from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from accounts.privileges import Privilege
from core.api.operations import READ_API, Operation
from core.api.paging import KeysetPagination
from core.api.views import ApiViewSet
from tokens.api.serializers import IssuedTokenSerializer, IssueTokenBody, TokenSerializer
from tokens.api.views import issued_answer
from tokens.filters import TokenFilter
from tokens.models import NEWEST_FIRST, Token


class ServiceAccountTokenViewSet(ApiViewSet):
    """See `TokenViewSet` for one token: its operations are open to those who manage the service account."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List the tokens of a service account"), READ_API, only_reads=True),
        "create": replace(Privilege.CREATE_TOKEN.operation(), shows_secret=True),
    }
    serializer_class = TokenSerializer
    filterset_class = TokenFilter
    pagination_class = KeysetPagination
    keyset = NEWEST_FIRST

    def get_queryset(self) -> Any:
        return User.objects.manageable_by(self.person).select_related("organization")

    @extend_schema(operation_id="service_account_token_list")
    def list(self, request: Request, pk: str) -> Response:
        """The metadata of its tokens, the newest first. For responsible people and Administrators."""
        return self.page_of(Token.objects.owned_by(self.get_object()).for_token_table())

    @extend_schema(
        operation_id="service_account_token_create", request=IssueTokenBody, responses={201: IssuedTokenSerializer}
    )
    @method_decorator(sensitive_variables())
    def create(self, request: Request, pk: str) -> Response:
        """Creates a token for a service account and shows it, only this once.

        For responsible people and Administrators in a browser session, not for tokens. 409 with the code
        `only_administrators` if the policy says so. If the token needs approval, give `approval_reason`, as for
        `POST /tokens`. It is then shown later, only to you.
        """
        account = self.get_object()
        body = IssueTokenBody(data=request.data, context={"owner": account})
        body.is_valid(raise_exception=True)
        return issued_answer(request, actor=self.person, owner=account, fields=body.validated_data)
