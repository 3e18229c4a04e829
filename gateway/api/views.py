"""The API for services of the organization, with the same querysets and services as the pages."""

from dataclasses import replace
from typing import Any, ClassVar

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.subjects import subjects_of
from accounts.api.views import may_manage
from accounts.models import User
from accounts.privileges import Privilege
from accounts.roles import Ability
from core.api.etags import seen_by, with_etag
from core.api.operations import READ_API, Operation
from core.api.paging import WholeList
from core.api.problems import Forbidden
from core.api.views import ApiViewSet
from gateway import seen, services, tries
from gateway.api.serializers import (
    ChangeServiceBody,
    CreateSecretBody,
    CreateServiceBody,
    DecisionSerializer,
    NewServiceSecretSerializer,
    ServiceRulesBody,
    ServiceRuleSerializer,
    ServiceRulesSerializer,
    ServiceSecretSerializer,
    ServiceSerializer,
    TryBody,
)
from gateway.models import Service, ServiceCredential

CHANGE = Privilege.CHANGE_SERVICES.operation(role_allows=may_manage)


def may_read_tokens(user: User) -> bool:
    return user.may(Ability.READ_TOKENS)


class ServiceViewSet(ApiViewSet):
    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List services"), READ_API, only_reads=True),
        "create": CHANGE,
        "retrieve": Operation(_("See a service"), READ_API, only_reads=True, has_etag=True),
        "partial_update": replace(CHANGE, has_etag=True),
        "destroy": CHANGE,
        "access_rules": Operation(
            _("See who may use a service"), READ_API, only_reads=True, role_allows=may_read_tokens, has_etag=True
        ),
        "replace_access_rules": replace(CHANGE, has_etag=True),
        "try_path": Operation(_("Try the path rules of a service"), READ_API, only_reads=True),
    }
    serializer_class = ServiceSerializer
    pagination_class = WholeList

    def get_queryset(self) -> QuerySet[Service]:
        return Service.objects.visible_to(self.person).order_by("name", "pk")

    @extend_schema(operation_id="service_list")
    def list(self, request: Request) -> Response:
        """The services of the organization, by name. People who can't see everyone's tokens get those that they may
        use."""
        return self.page_of(self.get_queryset())

    @extend_schema(operation_id="service_create", request=CreateServiceBody, responses={201: ServiceSerializer})
    def create(self, request: Request) -> Response:
        """Adds a service. Nobody may use it without site roles or access rules."""
        body = _values(self.read_body(CreateServiceBody))
        service = services.create_service(actor=self.person, request=request._request, **body)
        return self._shown(service, status=201)

    @extend_schema(operation_id="service_retrieve", responses=ServiceSerializer)
    def retrieve(self, request: Request, pk: str) -> Response:
        """A service that you may use, or any of your organization if you can see everyone's tokens."""
        return self._shown(self.get_object())

    @extend_schema(operation_id="service_change", request=ChangeServiceBody, responses=ServiceSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Changes a service, all fields or none, or switches it off or on. It applies from the next request on."""
        service, body = self.get_object(), _values(self.read_body(ChangeServiceBody))
        is_enabled = body.pop("is_enabled", None)
        options: dict[str, Any] = {"actor": self.person, "request": request._request}
        with transaction.atomic():
            service = services.change_service(service=service, seen=seen_by(request), **options, **body)
            if is_enabled is not None:
                switch = services.switch_on if is_enabled else services.switch_off
                service = switch(service=service, **options)
        return self._shown(service)

    @extend_schema(operation_id="service_delete", request=None, responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Deletes a service for which no token was ever made. Otherwise, switch it off."""
        services.delete_service(actor=self.person, service=self.get_object(), request=request._request)
        return Response(status=204)

    @extend_schema(operation_id="service_access_rules", responses=ServiceRulesSerializer)
    def access_rules(self, request: Request, pk: str) -> Response:
        """The people and groups that may use a service. `site_roles` of the service has the roles."""
        return self._rules(self.get_object())

    @extend_schema(
        operation_id="service_access_rules_replace", request=ServiceRulesBody, responses=ServiceRulesSerializer
    )
    def replace_access_rules(self, request: Request, pk: str) -> Response:
        """Replaces the people and groups that may use a service. It applies from the next request on."""
        service = self.get_object()
        subjects = subjects_of(self.person, self.read_body(ServiceRulesBody)["rules"])
        services.set_access(
            actor=self.person, service=service, subjects=subjects, seen=seen_by(request), request=request._request
        )
        return self._rules(service)

    @extend_schema(operation_id="service_try", request=TryBody, responses=DecisionSerializer)
    def try_path(self, request: Request, pk: str) -> Response:
        """Which scope a request to the service needs, or why it is refused. Nothing is sent to the service."""
        service, body = self.get_object(), self.read_body(TryBody)
        return Response(DecisionSerializer(tries.decide(service, body["method"], body["path"])).data)

    def _shown(self, service: Service, status: int = 200) -> Response:
        return with_etag(Response(ServiceSerializer(service).data, status=status), seen.of_service(service))

    def _rules(self, service: Service) -> Response:
        rules = list(service.access_rules.for_rules_table())
        data = ServiceRuleSerializer(rules, many=True).data
        return with_etag(Response({"count": len(data), "data": data, "next": None}), seen.of_access(service, rules))


class ServiceSecretViewSet(ApiViewSet):
    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List secrets of a service"), READ_API, only_reads=True, role_allows=may_read_tokens),
        "create": replace(CHANGE, shows_secret=True),
        "destroy": CHANGE,
    }
    serializer_class = ServiceSecretSerializer
    pagination_class = WholeList
    queryset = ServiceCredential.objects.none()

    def service(self, pk: str) -> Service:
        found = Service.objects.visible_to(self.person).filter(pk=pk).first()
        if found is None:
            raise Forbidden
        return found

    @extend_schema(operation_id="service_secret_list")
    def list(self, request: Request, pk: str) -> Response:
        """The secrets of a service, without the secrets themselves, the newest first. At most two of them work."""
        return self.page_of(self.service(pk).credentials.all())

    @extend_schema(
        operation_id="service_secret_create", request=CreateSecretBody, responses={201: NewServiceSecretSerializer}
    )
    @sensitive_variables()
    def create(self, request: Request, pk: str) -> Response:
        """Creates a secret, which is in this answer and never shown again. The current one works for `overlap_hours`
        more, and an older one ends now."""
        service, body = self.service(pk), self.read_body(CreateSecretBody)
        made, secret = services.create_secret(actor=self.person, service=service, request=request._request, **body)
        data: Any = NewServiceSecretSerializer(made, context={"secret": secret}).data
        return Response(data, status=201, headers={"Cache-Control": "no-store"})

    @extend_schema(operation_id="service_secret_end", request=None, responses={204: None})
    def destroy(self, request: Request, pk: str, secret_id: str) -> Response:
        """Ends a secret now."""
        service = self.service(pk)
        secret = service.credentials.filter(pk=secret_id).first()
        if secret is None:
            raise Forbidden
        services.end_secret(actor=self.person, service=service, secret=secret, request=request._request)
        return Response(status=204)


def _values(body: dict[str, Any]) -> dict[str, Any]:
    """The body as the services take it."""
    if "short_name" in body:
        body["slug"] = body.pop("short_name")
    if "path_rules" in body:
        body["rules"] = "\n".join(body.pop("path_rules"))
    return body
