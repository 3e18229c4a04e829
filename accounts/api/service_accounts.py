"""The API for service accounts. `tokens/api/service_accounts.py` has their tokens."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import seen, services
from accounts.api.serializers import MEMBERS_LIMIT, GroupRefSerializer, MemberSerializer
from accounts.api.views import found_all, may_manage
from accounts.filters import ServiceAccountFilter
from accounts.models import Group, ServiceAccountState, User
from accounts.privileges import Privilege
from accounts.roles import SiteRole
from accounts.services import DESCRIPTION_MAX_LENGTH, MOST_RESPONSIBLE
from core.api.etags import seen_by, with_etag
from core.api.operations import CHANGE_API, READ_API, Operation
from core.api.paging import KeysetPagination
from core.api.serializers import BoundedListField, IdField, NameField, StrictSerializer, TextField
from core.api.views import ApiViewSet
from core.db.keyset import Keyset

BY_EMAIL = Keyset(("email", "id"), descending=False)


class ServiceAccountSerializer(serializers.ModelSerializer[User]):
    """A service account: an owner of tokens for machines, which never signs in."""

    email = serializers.CharField(
        read_only=True, help_text="Names it in logs and access rules. The domain cannot exist: it gets no mail."
    )
    description = serializers.CharField(source="service_account.description", read_only=True)
    site_role = serializers.ChoiceField(choices=SiteRole.choices, read_only=True)
    state = serializers.ChoiceField(source="account_state", choices=ServiceAccountState.choices, read_only=True)
    orphaned_at = serializers.DateTimeField(
        read_only=True, allow_null=True, help_text="Since when no responsible person is active."
    )
    groups = GroupRefSerializer(source="member_groups", many=True, read_only=True)
    responsible = MemberSerializer(source="service_account.responsible", many=True, read_only=True)
    live_tokens = serializers.IntegerField(source="live_token_count", read_only=True)

    class Meta:
        model = User
        fields = [
            "id",
            "email",
            "name",
            "description",
            "site_role",
            "is_active",
            "state",
            "orphaned_at",
            "groups",
            "responsible",
            "live_tokens",
            "created_at",
        ]


class CreateServiceAccountBody(StrictSerializer):
    name = NameField(max_length=100)
    description = TextField(required=False, allow_blank=True, default="", max_length=DESCRIPTION_MAX_LENGTH)
    site_role = serializers.ChoiceField(choices=SiteRole.choices, required=False, default=SiteRole.GUEST)
    groups = BoundedListField(
        child=IdField(), required=False, default=list, max_length=MEMBERS_LIMIT, help_text="Ids of groups."
    )
    responsible = BoundedListField(
        child=IdField(),
        allow_empty=False,
        max_length=MOST_RESPONSIBLE,
        help_text="Ids of people. At least one of them is active.",
    )


class ChangeServiceAccountBody(StrictSerializer):
    """Fields that are left out stay as they are. `groups` and `responsible` replace all of them."""

    together = {"minProperties": 1}

    name = NameField(max_length=100, required=False)
    description = TextField(required=False, allow_blank=True, max_length=DESCRIPTION_MAX_LENGTH)
    site_role = serializers.ChoiceField(choices=SiteRole.choices, required=False)
    groups = BoundedListField(child=IdField(), required=False, max_length=MEMBERS_LIMIT, help_text="Ids of groups.")
    responsible = BoundedListField(
        child=IdField(), required=False, allow_empty=False, max_length=MOST_RESPONSIBLE, help_text="Ids of people."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Give at least one field.")
        return attrs


class ServiceAccountViewSet(ApiViewSet):
    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List service accounts"), READ_API, only_reads=True),
        "create": Privilege.CREATE_SERVICE_ACCOUNT.operation(role_allows=may_manage),
        "retrieve": Operation(_("See a service account"), READ_API, only_reads=True, has_etag=True),
        "partial_update": replace(Privilege.CHANGE_SERVICE_ACCOUNT.operation(role_allows=may_manage), has_etag=True),
        "activate": Privilege.ACTIVATE_SERVICE_ACCOUNT.operation(role_allows=may_manage),
        "deactivate": Operation(_("Deactivate a service account"), CHANGE_API, role_allows=may_manage),
    }
    serializer_class = ServiceAccountSerializer
    filterset_class = ServiceAccountFilter
    pagination_class = KeysetPagination
    keyset = BY_EMAIL

    def get_queryset(self) -> QuerySet[User]:
        accounts: QuerySet[User] = User.objects.service_accounts_readable_by(self.person).for_service_account_table()
        return accounts

    @extend_schema(operation_id="service_account_list")
    def list(self, request: Request) -> Response:
        """The organization's service accounts. Without a role that sees its people: those you are responsible for."""
        return self.page_of(self.get_queryset())

    @extend_schema(
        operation_id="service_account_create",
        request=CreateServiceAccountBody,
        responses={201: ServiceAccountSerializer},
    )
    def create(self, request: Request) -> Response:
        """Creates a service account. It has no password and no tokens."""
        body = self._named(self.read_body(CreateServiceAccountBody))
        account = services.create_service_account(actor=self.person, request=request._request, **body)
        return self._account(account, status=201)

    @extend_schema(operation_id="service_account_retrieve", responses=ServiceAccountSerializer)
    def retrieve(self, request: Request, pk: str) -> Response:
        return self._shown(self.get_object())

    @extend_schema(
        operation_id="service_account_change", request=ChangeServiceAccountBody, responses=ServiceAccountSerializer
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        """Changes a service account, all fields or none. It applies from the next request on."""
        account = self.get_object()
        body = self._named(self.read_body(ChangeServiceAccountBody))
        services.change_service_account(
            actor=self.person, account=account, seen=seen_by(request), request=request._request, **body
        )
        return self._account(account)

    @extend_schema(operation_id="service_account_activate", request=None, responses=ServiceAccountSerializer)
    def activate(self, request: Request, pk: str) -> Response:
        """Its tokens that have not expired work again."""
        return self._set_active(request, is_active=True)

    @extend_schema(operation_id="service_account_deactivate", request=None, responses=ServiceAccountSerializer)
    def deactivate(self, request: Request, pk: str) -> Response:
        """None of its tokens work, from the next request on. Nothing is deleted."""
        return self._set_active(request, is_active=False)

    def _set_active(self, request: Request, *, is_active: bool) -> Response:
        account = self.get_object()
        services.set_service_account_active(
            actor=self.person, account=account, is_active=is_active, request=request._request
        )
        return self._account(account)

    def _named(self, body: dict[str, Any]) -> dict[str, Any]:
        """With the rows that the ids in the body name."""
        rows: dict[str, QuerySet[Any]] = {
            "groups": Group.objects.readable_by(self.person),
            "responsible": User.objects.people().of_organization_readable_by(self.person),
        }
        ids: dict[str, Sequence[UUID]] = {field: body[field] for field in rows if field in body}
        return body | {field: found_all(rows[field], ids[field], field) for field in ids}

    def _account(self, account: User, status: int = 200) -> Response:
        return self._shown(User.objects.for_service_account_table().get(pk=account.pk), status)

    def _shown(self, account: User, status: int = 200) -> Response:
        answer = Response(ServiceAccountSerializer(account).data, status=status)
        return with_etag(answer, seen.of_service_account(account))
