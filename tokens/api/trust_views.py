"""API operations for trust rules, like those of the page. Tokens can read them and never change them."""

from dataclasses import replace
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import may_manage
from accounts.models import User
from accounts.privileges import Privilege
from accounts.provider_rules import CLAIM_LIMIT
from core.api.etags import seen_by, with_etag
from core.api.operations import READ_API, Operation
from core.api.paging import WholeList
from core.api.scopes import BY_ID
from core.api.serializers import (
    BoundedListField,
    FlagField,
    IdField,
    NameField,
    StrictSerializer,
    TextField,
    WholeNumberField,
)
from core.api.views import ApiViewSet
from tokens import seen
from tokens.models import TrustRule
from tokens.names import MAX_LENGTH
from tokens.pipeline_choice import MOST_PIPELINES
from tokens.trust import rules
from tokens.trust.patterns import MOST_CLAIMS


class TrustedClaim(StrictSerializer):
    claim = TextField(max_length=CLAIM_LIMIT)
    value = TextField(
        max_length=CLAIM_LIMIT,
        help_text="Exact, or with `*` at the end of a segment; `/` and `:` separate segments.",
    )


class TrustRuleSerializer(serializers.Serializer[TrustRule]):
    """Which jobs of a CI system get tokens of a service account."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    issuer = serializers.CharField()
    audience = serializers.CharField()
    claims = serializers.SerializerMethodField(help_text="All of them must match.")
    service_account_id = serializers.UUIDField(source="account_id")
    scopes = serializers.SerializerMethodField()
    pipelines = serializers.ListField(
        source="pipeline_ids",
        child=serializers.UUIDField(),
        allow_null=True,
        help_text="`null`: all that the service account can use.",
    )
    lifetime_minutes = serializers.IntegerField()
    is_enabled = serializers.BooleanField()
    created_at = serializers.DateTimeField()

    @extend_schema_field(TrustedClaim(many=True))
    def get_claims(self, rule: TrustRule) -> list[dict[str, str]]:
        return [{"claim": claim, "value": value} for claim, value in rule.claims.items()]

    @extend_schema_field(serializers.ListField(child=serializers.ChoiceField(choices=rules.CHOICES)))
    def get_scopes(self, rule: TrustRule) -> list[str]:
        return [scope.id for scope in rule.scopes]


def _fields(*, required: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"required": required}
    return {
        "name": NameField(max_length=MAX_LENGTH, **options),
        "issuer": TextField(max_length=rules.TEXT_LIMIT, **options),
        "audience": TextField(max_length=rules.TEXT_LIMIT, **options),
        "claims": BoundedListField(child=TrustedClaim(), allow_empty=False, max_length=MOST_CLAIMS, **options),
        "service_account_id": IdField(**options),
        "scopes": BoundedListField(
            child=serializers.ChoiceField(choices=rules.CHOICES),
            allow_empty=False,
            max_length=len(rules.CHOICES),
            is_set=True,
            **options,
        ),
    }


class TrustRuleBody(StrictSerializer):
    pipelines = BoundedListField(
        child=IdField(),
        allow_null=True,
        allow_empty=False,
        required=False,
        max_length=MOST_PIPELINES,
        help_text="Ids. `null`: all that the service account can use.",
    )
    lifetime_minutes = WholeNumberField(required=False, min_value=1, max_value=rules.LONGEST_MINUTES)
    is_enabled = FlagField(required=False)


class CreateTrustRuleBody(TrustRuleBody):
    def get_fields(self) -> Any:
        return _fields(required=True) | super().get_fields()


class ChangeTrustRuleBody(TrustRuleBody):
    """Fields that are left out stay as they are."""

    together = {"minProperties": 1}

    def get_fields(self) -> Any:
        return _fields(required=False) | super().get_fields()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Give at least one field.")
        return attrs


class TrustRuleViewSet(ApiViewSet):
    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List trust rules"), READ_API, only_reads=True, role_allows=may_manage),
        "create": Privilege.CHANGE_TRUST_RULES.operation(role_allows=may_manage),
        "retrieve": Operation(_("See a trust rule"), READ_API, only_reads=True, role_allows=may_manage, has_etag=True),
        "partial_update": replace(Privilege.CHANGE_TRUST_RULES.operation(role_allows=may_manage), has_etag=True),
        "destroy": Privilege.CHANGE_TRUST_RULES.operation(role_allows=may_manage),
    }
    serializer_class = TrustRuleSerializer
    pagination_class = WholeList

    def get_queryset(self) -> QuerySet[TrustRule]:
        return TrustRule.objects.manageable_by(self.person)

    @extend_schema(operation_id="trust_rule_list")
    def list(self, request: Request) -> Response:
        """The organization's trust rules, the oldest first. If several match a job, the oldest one counts."""
        return self.page_of(self.get_queryset())

    @extend_schema(operation_id="trust_rule_create", request=CreateTrustRuleBody, responses={201: TrustRuleSerializer})
    def create(self, request: Request) -> Response:
        """Creates a trust rule. Jobs that match can get tokens at once."""
        body = self._values(self.read_body(CreateTrustRuleBody))
        rule = rules.create_rule(actor=self.person, request=request._request, **body)
        return self._shown(rule, status=201)

    @extend_schema(operation_id="trust_rule_retrieve", responses=TrustRuleSerializer)
    def retrieve(self, request: Request, pk: str) -> Response:
        return self._shown(self.get_object())

    @extend_schema(operation_id="trust_rule_change", request=ChangeTrustRuleBody, responses=TrustRuleSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Changes a trust rule, all fields or none. It applies from the next exchange on."""
        rule, body = self.get_object(), self._values(self.read_body(ChangeTrustRuleBody))
        rule = rules.change_rule(actor=self.person, rule=rule, seen=seen_by(request), request=request._request, **body)
        return self._shown(rule)

    @extend_schema(operation_id="trust_rule_delete", request=None, responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Deletes a trust rule. Tokens that exist end in at most an hour."""
        rules.delete_rule(actor=self.person, rule=self.get_object(), request=request._request)
        return Response(status=204)

    def _values(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body as the services take it."""
        if "claims" in body:
            claims = {item["claim"]: item["value"] for item in body["claims"]}
            if len(claims) != len(body["claims"]):
                raise ValidationError({"claims": ["A claim is in the list twice."]})
            body["claims"] = claims
        if "scopes" in body:
            body["scopes"] = [BY_ID[scope_id] for scope_id in body["scopes"]]
        if "service_account_id" in body:
            account_id = body.pop("service_account_id")
            found = User.objects.service_accounts().in_organization(self.person).filter(pk=account_id).first()
            if found is None:
                raise ValidationError({"service_account_id": ["Not a service account of your organization."]})
            body["account"] = found
        return body

    def _shown(self, rule: TrustRule, status: int = 200) -> Response:
        answer = Response(TrustRuleSerializer(rule).data, status=status)
        return with_etag(answer, seen.of_trust_rule(rule))
