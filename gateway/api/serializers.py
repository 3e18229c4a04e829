"""The shapes of services in the API."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.api.subjects import SubjectBody
from accounts.roles import SiteRole
from core.api.serializers import (
    BoundedListField,
    FlagField,
    NameField,
    StrictSerializer,
    TextField,
    UtcDateTimeField,
    WholeNumberField,
)
from gateway.models import (
    ADDRESS_MAX_LENGTH,
    DESCRIPTION_MAX_LENGTH,
    NAME_MAX_LENGTH,
    RULES_LIMIT,
    SCOPE_DESCRIPTION_MAX_LENGTH,
    SCOPE_LABEL_MAX_LENGTH,
    SCOPE_NAME_MAX_LENGTH,
    SCOPES_LIMIT,
    SLUG_MAX_LENGTH,
    Check,
    Service,
    ServiceCredential,
    ServiceRule,
)
from gateway.path_rules import MOST_RULES, PATH_MAX_LENGTH
from gateway.request_paths import MAX_LENGTH
from gateway.services import LONGEST_OVERLAP_HOURS, OVERLAP_HOURS
from gateway.values import SLUG_PATTERN

# With ten methods and a scope.
RULE_MAX_LENGTH = PATH_MAX_LENGTH + 250


class ServiceScopeField(StrictSerializer):
    """One scope of a service."""

    name = serializers.RegexField(
        f"^{SLUG_PATTERN}$", max_length=SCOPE_NAME_MAX_LENGTH, help_text="Unique in the service; not `any` or `nobody`."
    )
    label = NameField(max_length=SCOPE_LABEL_MAX_LENGTH)  # type: ignore[assignment]
    description = TextField(max_length=SCOPE_DESCRIPTION_MAX_LENGTH, required=False, allow_blank=True)
    only_reads = FlagField(required=False, help_text="Whether it can't change anything. Without it: `false`.")


class ShownScope(serializers.Serializer[Any]):
    id = serializers.CharField(help_text="As tokens have it: `service:grafana:read`.")
    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    description = serializers.CharField()
    only_reads = serializers.BooleanField()


class ServiceSerializer(serializers.ModelSerializer[Service]):
    """A program of the organization that its tokens open."""

    short_name = serializers.CharField(source="slug", help_text="Its scopes begin with it. It never changes.")
    check_by = serializers.ChoiceField(choices=Check.choices, help_text="How it learns whether a token is good.")
    scopes = serializers.SerializerMethodField()
    path_rules = serializers.SerializerMethodField(
        help_text="Each with methods, path and scope. The first one that matches a request counts."
    )
    site_roles = serializers.ListField(
        source="role_list", child=serializers.ChoiceField(choices=SiteRole.choices), help_text="Who may use it."
    )
    audience = serializers.CharField(help_text="The claim `aud` of its tokens.")

    class Meta:
        model = Service
        fields = [
            *("id", "name", "short_name", "address", "description", "check_by", "audience", "scopes", "path_rules"),
            *("site_roles", "needs_approval", "allows_sessions", "is_enabled", "created_at"),
        ]
        read_only_fields = fields

    @extend_schema_field(ShownScope(many=True))
    def get_scopes(self, service: Service) -> list[dict[str, Any]]:
        pairs = zip(service.all_scopes, service.scopes, strict=True)
        return [{"id": scope.id, **stored} for scope, stored in pairs]

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_path_rules(self, service: Service) -> list[str]:
        return service.rules.splitlines()


def _fields(*, is_new: bool) -> dict[str, Any]:
    """In the order of the schema. A new service needs only its names."""
    names: dict[str, Any] = {"name": NameField(max_length=NAME_MAX_LENGTH, required=is_new)}
    if is_new:
        names["short_name"] = serializers.RegexField(
            f"^{SLUG_PATTERN}$",
            max_length=SLUG_MAX_LENGTH,
            help_text="Unique in the organization. It never changes.",
        )
    return names


class ServiceBody(StrictSerializer):
    address = TextField(
        max_length=ADDRESS_MAX_LENGTH,
        required=False,
        allow_blank=True,
        help_text="`https://grafana.example.com`. A request for another host is refused.",
    )
    description = TextField(max_length=DESCRIPTION_MAX_LENGTH, required=False, allow_blank=True)
    check_by = serializers.ChoiceField(choices=Check.choices, required=False)
    scopes = BoundedListField(
        child=ServiceScopeField(), max_length=SCOPES_LIMIT, required=False, help_text="Replaces all scopes."
    )
    path_rules = BoundedListField(
        child=TextField(max_length=RULE_MAX_LENGTH),
        max_length=MOST_RULES,
        required=False,
        help_text="`GET,HEAD /api/dashboards/** read`: methods, path, and a scope, `any` or `nobody`.",
    )
    site_roles = BoundedListField(
        child=serializers.ChoiceField(choices=SiteRole.choices),
        max_length=len(SiteRole),
        is_set=True,
        required=False,
        help_text="Everyone with one of these site roles may use it.",
    )
    needs_approval = FlagField(required=False, help_text="Whether a second person must approve each new token.")
    allows_sessions = FlagField(required=False, help_text="Whether people may open it in the browser without a token.")


class CreateServiceBody(ServiceBody):
    def get_fields(self) -> Any:
        return _fields(is_new=True) | super().get_fields()


class ChangeServiceBody(ServiceBody):
    """Fields that are left out stay as they are."""

    together = {"minProperties": 1}

    is_enabled = FlagField(required=False, help_text="Switched off, it refuses all tokens.")

    def get_fields(self) -> Any:
        return _fields(is_new=False) | super().get_fields()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Give at least one field.")
        return attrs


class ServiceRuleSerializer(serializers.ModelSerializer[ServiceRule]):
    user_id = serializers.UUIDField(read_only=True, allow_null=True)
    user_email = serializers.CharField(source="user.email", read_only=True, default=None, allow_null=True)
    group_id = serializers.UUIDField(read_only=True, allow_null=True)
    group_name = serializers.CharField(source="group.name", read_only=True, default=None, allow_null=True)

    class Meta:
        model = ServiceRule
        fields = ["id", "user_id", "user_email", "group_id", "group_name"]


class ServiceRulesSerializer(serializers.Serializer[Any]):
    """People and groups that may use the service, besides the site roles."""

    count = serializers.IntegerField()
    data = ServiceRuleSerializer(many=True)  # type: ignore[assignment]
    next = serializers.CharField(allow_null=True, help_text="Always null: a service has at most 200 rules.")


class ServiceRulesBody(StrictSerializer):
    rules = BoundedListField(child=SubjectBody(), max_length=RULES_LIMIT, help_text="Replaces all rules.")


class TryBody(StrictSerializer):
    method = serializers.RegexField("^[A-Z]{1,10}$", max_length=10)
    path = TextField(max_length=MAX_LENGTH, trim_whitespace=False, help_text="As clients send it: `/api/dashboards/7`.")


class DecisionSerializer(serializers.Serializer[Any]):
    """What the path rules of a service say about a request."""

    is_open = serializers.BooleanField(help_text="Whether a token of the service can open it.")
    code = serializers.CharField(
        source="why", help_text="Why not: `ambiguous_path` or `path_not_allowed`. Otherwise empty."
    )
    scope = serializers.CharField(help_text="The scope that the token needs. Empty: none.")
    line = serializers.IntegerField(allow_null=True, help_text="The path rule that decides, counted from 1.")
    detail = serializers.CharField(source="sentence")


class ServiceSecretSerializer(serializers.ModelSerializer[ServiceCredential]):
    """A secret with which a service proves who it is. It is never shown again."""

    ends_at = UtcDateTimeField(read_only=True, allow_null=True, help_text="`null` while it is the current one.")
    last_used_at = UtcDateTimeField(read_only=True, allow_null=True)

    class Meta:
        model = ServiceCredential
        fields = ["id", "created_at", "ends_at", "last_used_at"]


class NewServiceSecretSerializer(ServiceSecretSerializer):
    secret = serializers.SerializerMethodField(help_text="Shown this once.")

    class Meta(ServiceSecretSerializer.Meta):
        fields = [*ServiceSecretSerializer.Meta.fields, "secret"]

    def get_secret(self, _row: ServiceCredential) -> str:
        secret: str = self.context["secret"]
        return secret


class CreateSecretBody(StrictSerializer):
    overlap_hours = WholeNumberField(
        required=False,
        min_value=0,
        max_value=LONGEST_OVERLAP_HOURS,
        default=OVERLAP_HOURS,
        help_text="How long the current secret still works.",
    )
