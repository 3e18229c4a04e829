"""API operations for the organization's own single sign-on, like those of the page. Closed to tokens."""

from dataclasses import replace
from typing import Any, ClassVar

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import seen, services
from accounts.api.provider_serializers import (
    ChangeSingleSignOnBody,
    ClaimsOutcomeSerializer,
    SingleSignOnSerializer,
    TryClaimsBody,
)
from accounts.api.views import may_manage
from accounts.models import Group, OrganizationProvider
from accounts.privileges import Privilege
from accounts.services.single_sign_on import values_of_provider
from accounts.signin.single_sign_on.people import outcome_for
from core.api.etags import seen_by, with_etag
from core.api.operations import Operation
from core.api.serializers import utc_text
from core.api.views import ApiViewSet
from core.http.public_address import public_url


class SingleSignOnViewSet(ApiViewSet):
    operations: ClassVar[dict[str, Operation]] = {
        "retrieve": Operation(
            _("See the organization's single sign-on"), only_reads=True, role_allows=may_manage, has_etag=True
        ),
        "partial_update": replace(Privilege.CHANGE_SINGLE_SIGN_ON.operation(role_allows=may_manage), has_etag=True),
        "preview": Operation(
            _("See which site role and groups follow from claims"), only_reads=True, role_allows=may_manage
        ),
        "destroy": Privilege.REMOVE_SINGLE_SIGN_ON.operation(role_allows=may_manage),
    }
    serializer_class = SingleSignOnSerializer
    queryset = OrganizationProvider.objects.none()

    @extend_schema(operation_id="single_sign_on", responses=SingleSignOnSerializer)
    def retrieve(self, request: Request) -> Response:
        """The organization's own provider, and its rules for new people, site roles and groups."""
        return self._shown(OrganizationProvider.objects.manageable_by(self.person).first())

    @extend_schema(
        operation_id="single_sign_on_change", request=ChangeSingleSignOnBody, responses=SingleSignOnSerializer
    )
    def partial_update(self, request: Request) -> Response:
        """Sets it up or changes it. It applies from the next sign-in on."""
        body = self.read_body(ChangeSingleSignOnBody)
        row = services.save_provider(actor=self.person, seen=seen_by(request), request=request._request, **body)
        return self._shown(row)

    @extend_schema(operation_id="single_sign_on_preview", request=TryClaimsBody, responses=ClaimsOutcomeSerializer)
    def preview(self, request: Request) -> Response:
        """Which site role and groups the stored rules would give to a person with these claims. It changes nothing."""
        claims = self.read_body(TryClaimsBody)["claims"]
        row = OrganizationProvider.objects.manageable_by(self.person).first() or OrganizationProvider()
        outcome = outcome_for(row, claims)
        groups = Group.objects.readable_by(self.person).filter(pk__in=list(outcome.groups))
        return Response(
            {
                "is_refused": outcome.is_refused,
                "site_role": None if outcome.is_refused else outcome.site_role,
                "role_rule": outcome.role_rule,
                "groups": [
                    {"id": group.pk, "name": group.name, "rule": outcome.groups[str(group.pk)]} for group in groups
                ],
                "left_out": outcome.left_out,
            }
        )

    @extend_schema(operation_id="single_sign_on_remove", request=None, responses={204: None})
    def destroy(self, request: Request) -> Response:
        """Removes the provider and everybody's connection with it. People, their site roles and groups stay."""
        services.remove_provider(actor=self.person, request=request._request)
        return Response(status=204)

    def _shown(self, row: OrganizationProvider | None) -> Response:
        return with_etag(Response(self._values(row)), seen.of_provider(row))

    def _values(self, row: OrganizationProvider | None) -> dict[str, Any]:
        shown = row or OrganizationProvider(is_enabled=False)
        sign_in = f"{public_url('organization_sign_on')}?organization={self.person.own_organization.slug}"
        return {
            "is_set_up": row is not None,
            **values_of_provider(shown),
            "domains": shown.domains.split(),
            "sign_in_url": sign_in,
            "redirect_url": public_url("organization_sign_on_callback", row.pk) if row else None,
            "last_failure": shown.last_failure,
            "last_failure_at": utc_text(shown.last_failure_at) if shown.last_failure_at else None,
        }
