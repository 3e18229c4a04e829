"""API operations for the organization's policy, like those of the page."""

from dataclasses import replace
from typing import Any, ClassVar

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import may_manage
from accounts.models import Organization
from accounts.privileges import Privilege
from core.api.etags import seen_by, with_etag
from core.api.operations import READ_API, Operation
from core.api.views import ApiViewSet
from tokens.api.policy_serializers import (
    ChangedPolicySerializer,
    ChangePolicyBody,
    EffectSerializer,
    PolicyPreviewSerializer,
    PolicySerializer,
)
from tokens.api.views import may_read_tokens
from tokens.policy.preview import change_policy, review_policy


class PolicyViewSet(ApiViewSet):
    """The policy of one's organization.

    Tokens can't change it: tokens that the policy blocks would work again, and no token may extend or widen a token.
    """

    operations: ClassVar[dict[str, Operation]] = {
        "retrieve": Operation(
            _("See the organization's policy"), READ_API, only_reads=True, role_allows=may_read_tokens, has_etag=True
        ),
        "preview": Operation(
            _("See what a change of the policy would do"), READ_API, only_reads=True, role_allows=may_manage
        ),
        "partial_update": replace(Privilege.CHANGE_POLICY.operation(role_allows=may_manage), has_etag=True),
    }
    serializer_class = PolicySerializer
    queryset = Organization.objects.none()

    @extend_schema(operation_id="policy", responses=PolicySerializer)
    def retrieve(self, request: Request) -> Response:
        """Which tokens can be created and used, who needs two-factor, who can sign in from where, and how long the logs
        are kept."""
        # As a whole: the query that checks a token leaves out what only sessions need.
        organization = Organization.objects.get(pk=self.person.own_organization.pk)
        return with_etag(Response(_shown(organization)), organization.policy_version)

    @extend_schema(operation_id="policy_preview", request=ChangePolicyBody, responses=PolicyPreviewSerializer)
    def preview(self, request: Request) -> Response:
        """How many tokens a change would block, and whose. It changes nothing."""
        body = self.read_body(ChangePolicyBody)
        review = review_policy(actor=self.person, request=request._request, **body)
        return Response({"version": review.before.policy_version, "effect": EffectSerializer(review.effect).data})

    @extend_schema(operation_id="policy_change", request=ChangePolicyBody, responses=ChangedPolicySerializer)
    def partial_update(self, request: Request) -> Response:
        """Applies from the next request on, to existing tokens too. Call `preview` first to see whom it affects."""
        body = self.read_body(ChangePolicyBody)
        review = change_policy(actor=self.person, seen=seen_by(request), request=request._request, **body)
        answer = Response({**_shown(review.after), "effect": EffectSerializer(review.effect).data})
        return with_etag(answer, review.after.policy_version)


def _shown(organization: Organization) -> dict[str, Any]:
    return {**organization.policy, "version": organization.policy_version}
