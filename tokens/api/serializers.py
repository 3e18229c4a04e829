"""Serializers of tokens: metadata only, except for the one answer that shows a new token."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.core.validators import RegexValidator
from django.db.models import DateTimeField, TextChoices
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.models import MOST_OVERLAP_HOURS, User
from accounts.roles import SiteRole
from accounts.services_for_tokens import TokenService
from auditlog.api.serializers import HOST_NAME, TokenUseSerializer
from core.api.paging import MAX_PAGE_SIZE
from core.api.scopes import BY_ID, SCOPES
from core.api.serializers import BoundedListField, IdField, StrictSerializer, TextField, UtcDateTimeField, utc_text
from core.errors import errors_of
from core.networks import MAX_LENGTH as NETWORK_MAX_LENGTH
from core.networks import MOST_NETWORKS, clean_networks
from tokens import jwt
from tokens.descriptions import MAX_LENGTH as DESCRIPTION_MAX_LENGTH
from tokens.descriptions import clean_description
from tokens.leaks.finding import MAX_PASTED_LENGTH
from tokens.leaks.reporting import MAX_REPORTED, MAX_URL_LENGTH
from tokens.lifetimes import DEFAULT_LIFETIME, Lifetime, chosen_end, chosen_start, longest_lifetime
from tokens.models import Token
from tokens.names import MAX_LENGTH, PATTERN, clean_name
from tokens.narrowing import Narrowing
from tokens.pipeline_choice import MOST_PIPELINES
from tokens.replacement import ROTATION_OVERLAP_HOURS
from tokens.service_choice import MAX_LENGTH as MAX_SERVICE_LENGTH
from tokens.service_choice import find_service, scopes_of
from tokens.services import REASON_MAX_LENGTH, check_scopes
from tokens.states import CHOICES as STATE_CHOICES
from tokens.states import LIVE_CHOICES, TokenState
from tokens.unused_rights import UnusedRights
from tokens.uses import MOST_USES

# A service has at most so many, and the portal fewer. Each has at most so many characters.
MOST_SCOPES, SCOPE_MAX_LENGTH = 20, 60
_SCOPES_OF_API = ", ".join(f"`{scope.id}`" for scope in SCOPES)
_SERVICE_SCOPE = re.compile(r"service:[a-z0-9-]+:[a-z0-9-]+")

_IS_LIMITED = "Whether it reaches only the pipelines that were chosen when it was created."


class _PipelineIds(serializers.ListField):
    """The ids of `Token.pipeline_ids`."""

    def __init__(self) -> None:
        super().__init__(
            child=serializers.UUIDField(),
            source="pipeline_ids",
            read_only=True,
            allow_null=True,
            help_text="The ids of the only pipelines that it reaches, without deleted ones; null if it is not limited.",
        )


class ScopesField(serializers.ListField):
    """Scopes of the portal, or of one service. The schema has no list of values: each service has its own."""

    def __init__(self, **kwargs: Any) -> None:
        says = "Such as `api-readonly`; for a token of a service, its scopes, such as `service:grafana:read`."
        super().__init__(child=serializers.CharField(), read_only=True, **{"help_text": says, **kwargs})


class TokenServiceSerializer(serializers.Serializer[Any]):
    """The service that a token is for."""

    id = serializers.UUIDField(source="pk")
    name = serializers.CharField()
    short_name = serializers.CharField(source="slug")
    closed_because = serializers.CharField(
        help_text="Why the service refuses the token: it is switched off, or the owner may not use it. Otherwise empty."
    )


_SERVICE = TokenServiceSerializer(allow_null=True, help_text="The service that it is for; null if it is for this API.")


@extend_schema_field(_SERVICE)
class TokenServiceField(serializers.Field[Any, Any, Any, Any]):
    """Of a token."""

    def __init__(self) -> None:
        super().__init__(source="*", read_only=True)

    def to_representation(self, value: Token) -> dict[str, Any] | None:
        return service_answer(value)


def service_answer(token: Token) -> dict[str, Any] | None:
    """As `TokenServiceSerializer` describes it. No query for a token of the portal."""
    service = token.known_service
    if service is None:
        return None
    return {
        "id": str(service.pk),
        "name": service.name,
        "short_name": service.slug,
        "closed_because": token.service_closed_because,
    }


class TokenSerializer(serializers.ModelSerializer[Token]):
    """A token's metadata."""

    service = TokenServiceField()
    scopes = serializers.SerializerMethodField()
    is_limited = serializers.BooleanField(read_only=True, help_text=_IS_LIMITED)
    pipelines = _PipelineIds()
    networks = serializers.SerializerMethodField(
        help_text="The only networks and addresses from which it can be used; empty if from everywhere."
    )
    max_uses = serializers.IntegerField(
        read_only=True, allow_null=True, help_text="How often it can be used at all; null without a limit."
    )
    uses_left = serializers.IntegerField(
        read_only=True, allow_null=True, help_text="How often it can still be used; null without a limit."
    )
    not_before = UtcDateTimeField(
        read_only=True, allow_null=True, help_text="From when on it works; null if from its creation."
    )
    state = serializers.SerializerMethodField()
    blocked_because = serializers.CharField(
        read_only=True,
        help_text="For the state `blocked_by_policy`: which rule blocks it and what to do. Otherwise empty.",
    )
    can_be_revealed_until = UtcDateTimeField(
        read_only=True,
        allow_null=True,
        help_text="For the state `pending`: until when its owner can see it, once, on the portal's pages. "
        "Otherwise null.",
    )
    expires_soon = serializers.BooleanField(
        read_only=True,
        help_text="Active, and in its last 7 days, or in the last quarter of its lifetime if that is shorter.",
    )
    replaced_at = UtcDateTimeField(
        read_only=True,
        allow_null=True,
        help_text="Since when another token replaces it. It works until `expires_at`, which may have become earlier.",
    )
    replaced_by = serializers.UUIDField(
        source="replaced_by_id", read_only=True, allow_null=True, help_text="The id of the token that replaces it."
    )
    revoked_by = serializers.SlugRelatedField[User](
        slug_field="email", read_only=True, allow_null=True, help_text="Who expired it early."
    )
    serializer_field_mapping = {**serializers.ModelSerializer.serializer_field_mapping, DateTimeField: UtcDateTimeField}

    class Meta:
        model = Token
        fields = [
            "id",
            "name",
            "description",
            "service",
            "scopes",
            "is_limited",
            "pipelines",
            "networks",
            "max_uses",
            "uses_left",
            "state",
            "blocked_because",
            "expires_soon",
            "can_be_revealed_until",
            "created_at",
            "not_before",
            "expires_at",
            "revealed_at",
            "replaced_at",
            "replaced_by",
            "last_used_at",
            "last_used_ip",
            "revoked_at",
            "revoked_by",
            "revoke_reason",
        ]
        extra_kwargs = {
            "revoked_at": {"help_text": "When someone expired it early."},
            "revoke_reason": {"help_text": "Why it was expired early."},
        }

    def to_representation(self, instance: Token) -> dict[str, Any]:
        """What the fields above would show, which a test compares, in a tenth of the time that DRF takes for them: many
        answers contain a token, and lists contain fifty. The state is computed once.
        """
        state = instance.state
        is_blocked, is_active = state is TokenState.BLOCKED_BY_POLICY, state is TokenState.ACTIVE
        return {
            "id": str(instance.pk),
            "name": instance.name,
            "description": instance.description,
            "service": service_answer(instance),
            "scopes": self.get_scopes(instance),
            "is_limited": instance.is_limited,
            "pipelines": _texts(instance.pipeline_ids),
            "networks": instance.networks.split(),
            "max_uses": instance.max_uses,
            "uses_left": None if instance.max_uses is None else instance.uses_left,
            "state": state.id,
            "blocked_because": instance.policy_advice if is_blocked else "",
            "expires_soon": is_active and instance.is_in_its_last_days,
            "can_be_revealed_until": _moment(instance.can_be_revealed_until),
            "created_at": utc_text(instance.created_at),
            "not_before": _moment(instance.not_before),
            "expires_at": utc_text(instance.expires_at),
            "revealed_at": _moment(instance.revealed_at),
            "replaced_at": _moment(instance.replaced_at),
            "replaced_by": str(instance.replaced_by_id) if instance.replaced_by_id else None,
            "last_used_at": _moment(instance.last_used_at),
            "last_used_ip": instance.last_used_ip,
            "revoked_at": _moment(instance.revoked_at),
            "revoked_by": instance.revoked_by.email if instance.revoked_by_id and instance.revoked_by else None,
            "revoke_reason": instance.revoke_reason,
        }

    @extend_schema_field(ScopesField())
    def get_scopes(self, token: Token) -> list[str]:
        return [scope.id for scope in token.scopes]

    def get_networks(self, token: Token) -> list[str]:
        return token.networks.split()

    @extend_schema_field(
        serializers.ChoiceField(
            choices=STATE_CHOICES,
            help_text="`revoked`: someone expired it early. `waiting`: for approval. `scheduled`: it works from "
            "`not_before` on.",
        )
    )
    def get_state(self, token: Token) -> str:
        return token.state.id


def _texts(ids: list[UUID] | None) -> list[str] | None:
    return None if ids is None else [str(each) for each in ids]


def _moment(value: datetime | None) -> str | None:
    return None if value is None else utc_text(value)


class OrganizationTokenSerializer(TokenSerializer):
    """A token's metadata with its owner."""

    owner_id = serializers.UUIDField(read_only=True)
    owner_email = serializers.EmailField(source="owner.email", read_only=True)
    owner_is_service_account = serializers.BooleanField(source="owner.is_service_account", read_only=True)

    class Meta(TokenSerializer.Meta):
        fields = [*TokenSerializer.Meta.fields, "owner_id", "owner_email", "owner_is_service_account"]

    def to_representation(self, instance: Token) -> dict[str, Any]:
        owner = {
            "owner_id": str(instance.owner_id),
            "owner_email": instance.owner.email,
            "owner_is_service_account": instance.owner.is_service_account,
        }
        return super().to_representation(instance) | owner


class AccessReviewSerializer(serializers.ModelSerializer[Token]):
    """A live token, its owner, and how much it can do. ``context["counter"]`` is an `OperationCounter`."""

    owner_id = serializers.UUIDField(read_only=True)
    owner_name = serializers.CharField(source="owner.name", read_only=True)
    owner_email = serializers.EmailField(source="owner.email", read_only=True)
    owner_site_role = serializers.ChoiceField(source="owner.site_role", choices=SiteRole.choices, read_only=True)
    owner_is_active = serializers.BooleanField(source="owner.is_active", read_only=True)
    service = TokenServiceField()
    scopes = ScopesField()
    is_limited = serializers.BooleanField(read_only=True, help_text=_IS_LIMITED)
    pipelines = _PipelineIds()
    pipeline_names = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        allow_null=True,
        help_text="The names of those of them that you can see; null if it is not limited.",
    )
    networks = serializers.SerializerMethodField(
        help_text="The only networks and addresses from which it can be used; empty if from everywhere."
    )
    uses_left = serializers.IntegerField(
        read_only=True, allow_null=True, help_text="How often it can still be used; null without a limit."
    )
    state = serializers.ChoiceField(choices=LIVE_CHOICES, read_only=True, help_text="Only `active` tokens work.")
    operations_allowed = serializers.IntegerField(
        read_only=True,
        help_text="How many operations of the API the token can do now: a scope and the owner's site role allow "
        "them, for a limited token only with the chosen pipelines. 0 unless it is active.",
    )
    operations_total = serializers.IntegerField(
        read_only=True, help_text="How many operations of the API tokens can do at all."
    )
    serializer_field_mapping = {**serializers.ModelSerializer.serializer_field_mapping, DateTimeField: UtcDateTimeField}

    class Meta:
        model = Token
        fields = [
            "owner_id",
            "owner_name",
            "owner_email",
            "owner_site_role",
            "owner_is_active",
            "id",
            "name",
            "service",
            "scopes",
            "is_limited",
            "pipelines",
            "pipeline_names",
            "state",
            "created_at",
            "expires_at",
            "last_used_at",
            "operations_allowed",
            "operations_total",
            "networks",
            "uses_left",
        ]

    def to_representation(self, instance: Token) -> dict[str, Any]:
        """Written out for the reason that `TokenSerializer` gives."""
        owner, state, counter = instance.owner, instance.state, self.context["counter"]
        return {
            "owner_id": str(owner.pk),
            "owner_name": owner.name,
            "owner_email": owner.email,
            "owner_site_role": owner.site_role,
            "owner_is_active": owner.is_active,
            "id": str(instance.pk),
            "name": instance.name,
            "service": service_answer(instance),
            "scopes": [scope.id for scope in instance.scopes],
            "is_limited": instance.is_limited,
            "pipelines": _texts(instance.pipeline_ids),
            "pipeline_names": instance.pipeline_names,
            "state": state.id,
            "created_at": utc_text(instance.created_at),
            "expires_at": utc_text(instance.expires_at),
            "last_used_at": _moment(instance.last_used_at),
            "operations_allowed": counter.allowed(instance, state),
            "operations_total": counter.total,
            "networks": instance.networks.split(),
            "uses_left": instance.uses_left,
        }

    def get_networks(self, token: Token) -> list[str]:
        return token.networks.split()


class IssuedTokenSerializer(TokenSerializer):
    """The one answer that shows a new token. Only describes it: `TokenViewSet.create` adds ``token``."""

    token = serializers.CharField(
        read_only=True,
        allow_null=True,
        help_text="The token itself. It is shown only once and not stored. Null if it waits for approval.",
    )

    class Meta(TokenSerializer.Meta):
        fields = [*TokenSerializer.Meta.fields, "token"]


@extend_schema_field({"type": "string", "minLength": 1, "maxLength": MAX_LENGTH, "pattern": PATTERN})
class TokenNameField(TextField):
    """Spaces around the name are removed before its length is checked."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_LENGTH * 4, trim_whitespace=False, **kwargs)


@extend_schema_field({"type": "string", "maxLength": DESCRIPTION_MAX_LENGTH})
class TokenDescriptionField(TextField):
    """Line breaks become spaces before its length is checked."""

    def __init__(
        self, says: str = "At most 500 printable characters; line breaks become spaces.", **kwargs: Any
    ) -> None:
        super().__init__(
            max_length=DESCRIPTION_MAX_LENGTH * 4,
            allow_blank=True,
            required=False,
            help_text=says,
            **kwargs,
        )


class EditTokenBody(StrictSerializer):
    """Fields that are left out stay as they are."""

    together = {"minProperties": 1}

    name = TokenNameField(required=False, help_text="As for a new token. Not for a token that has ended.")
    description = TokenDescriptionField()

    def validate_name(self, value: str) -> str:
        return clean_name(value)

    def validate_description(self, value: str) -> str:
        return clean_description(value)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Give `name`, `description` or both.")
        return attrs


class ScopeField(TextField):
    """The id of a scope of this API, or what looks like one of a service."""

    default_error_messages: ClassVar = {
        "invalid_choice": serializers.ChoiceField.default_error_messages["invalid_choice"],
    }

    def __init__(self) -> None:
        super().__init__(max_length=SCOPE_MAX_LENGTH)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or not (data in BY_ID or _SERVICE_SCOPE.fullmatch(data)):
            self.fail("invalid_choice", input=data)
        return data


class IssueTokenBody(StrictSerializer):
    """`name`, `scopes`, if wanted limits (`pipelines` to `not_before`), and either `lifetime` or `expires_at`.

    `approval_reason` if the token needs approval.

    Without both, it expires after one month.
    """

    together = {
        "not": {"properties": {"lifetime": {}, "expires_at": {}}, "required": ["lifetime", "expires_at"]},
    }

    name = TokenNameField(
        help_text="1 to 50 letters (with their combining marks), digits, spaces and - ' : _ . ; unique among your live "
        "tokens. Counted in Unicode code points, in composed form (NFC).",
    )
    description = TokenDescriptionField(default="")
    service = TextField(
        max_length=MAX_SERVICE_LENGTH,
        required=False,
        allow_null=True,
        default=None,
        help_text="The id or the short name of the service that the token is for. Without it, or with null, it is for "
        "this API.",
    )
    scopes = BoundedListField(
        child=ScopeField(),
        allow_empty=False,
        max_length=MOST_SCOPES,
        is_set=True,
        help_text=f"Of this API: {_SCOPES_OF_API}. With a `service`, only scopes of that, such as "
        "`service:grafana:read`.",
    )
    pipelines = BoundedListField(
        child=IdField(),
        allow_empty=False,
        max_length=MOST_PIPELINES,
        required=False,
        allow_null=True,
        default=None,
        help_text="The ids of the only pipelines that the token reaches, at most 100 that you can see. Without it, or "
        "with null, it reaches all that you can use.",
    )
    networks = BoundedListField(
        child=TextField(max_length=NETWORK_MAX_LENGTH),
        max_length=MOST_NETWORKS,
        required=False,
        default=list,
        help_text="The only networks from which the token can be used, IPv4 or IPv6, such as `203.0.113.0/24`, or "
        "single addresses. Without it, from everywhere.",
    )
    max_uses = serializers.IntegerField(
        min_value=1,
        max_value=MOST_USES,
        required=False,
        allow_null=True,
        default=None,
        help_text="How often the token can be used. With its last use, it ends. Without it, or with null, as often as "
        "you like.",
    )
    not_before = TextField(
        max_length=40,
        required=False,
        allow_null=True,
        default=None,
        help_text="From when on the token works: ISO 8601 date and time (without a zone: UTC), or date (its first "
        "second, UTC). In the future and before the end; the lifetime counts from creation. Without it, or with null, "
        "it works immediately.",
    )
    approval_reason = TokenDescriptionField(
        default="",
        says="Why you need the token, for the person who decides. Required if the organization's policy asks for "
        "approval of such a token; otherwise ignored. At most 500 printable characters.",
    )
    lifetime = serializers.ChoiceField(choices=Lifetime.choices, required=False)
    expires_at = TextField(
        required=False, max_length=40, help_text="ISO 8601 date (its last second, UTC) or date and time."
    )

    def validate_name(self, value: str) -> str:
        return clean_name(value)

    def validate_approval_reason(self, value: str) -> str:
        return clean_description(value)

    def validate_description(self, value: str) -> str:
        return clean_description(value)

    def validate_networks(self, value: list[str]) -> list[str]:
        return clean_networks(value).split()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        service = self._service_in(attrs)
        attrs["service"] = service and service.pk
        with errors_of("scopes"):
            attrs["scopes"] = scopes_of(service, attrs["scopes"])
            if service is None:
                check_scopes(attrs["scopes"], self.context["owner"].own_organization)
        if "lifetime" in attrs and "expires_at" in attrs:
            raise serializers.ValidationError({"expires_at": ["Give either `lifetime` or `expires_at`, not both."]})
        custom = attrs.get("expires_at")
        preset = Lifetime(attrs.get("lifetime", DEFAULT_LIFETIME)) if custom is None else None
        longest = longest_lifetime(self.context["owner"].own_organization, self.context["owner"])
        with errors_of("lifetime" if preset else "expires_at"):
            attrs["expires_at"] = chosen_end(preset, custom or "", longest=longest)
        with errors_of("not_before"):
            attrs["not_before"] = chosen_start(attrs["not_before"] or "", expires_at=attrs["expires_at"])
        return attrs

    def _service_in(self, attrs: Mapping[str, Any]) -> TokenService | None:
        if attrs["service"] is None:
            return None
        with errors_of("service"):
            return find_service(self.context["owner"], attrs["service"])


class ReplaceTokenBody(StrictSerializer):
    overlap_hours = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=MOST_OVERLAP_HOURS,
        help_text="For how many hours the old token works beside the new one, at most until its own end and at most as "
        "the policy's `max_replacement_overlap_hours` allows. With 0, it ends immediately. Without it: 24, or the "
        "policy's maximum if that is less.",
    )


class RotateTokenBody(StrictSerializer):
    overlap_hours = serializers.IntegerField(
        required=False,
        default=ROTATION_OVERLAP_HOURS,
        min_value=0,
        max_value=MOST_OVERLAP_HOURS,
        help_text="For how many hours the old token works beside the new one, as for replacing a token. Without it, "
        "the old token ends immediately.",
    )


class ExpireTokenBody(StrictSerializer):
    reason = TextField(
        required=False, allow_blank=True, default="", max_length=REASON_MAX_LENGTH, help_text="For the log."
    )


class TokenLookupBody(StrictSerializer):
    """A text with one token in it."""

    token = TextField(
        max_length=MAX_PASTED_LENGTH,
        trim_whitespace=False,
        help_text="The found token. It may have text around it. It is neither stored nor logged.",
    )


class TokenLookupSerializer(OrganizationTokenSerializer):
    """The metadata of a found token, with those of its last uses that the caller may see.

    Only describes the answer: the view adds ``last_uses``.
    """

    last_uses = TokenUseSerializer(many=True, read_only=True)

    class Meta(OrganizationTokenSerializer.Meta):
        fields = [*OrganizationTokenSerializer.Meta.fields, "last_uses"]


class TokenReportBody(StrictSerializer):
    """Found tokens, and where they were found."""

    tokens = BoundedListField(
        child=TextField(max_length=jwt.MAX_LENGTH, trim_whitespace=False),
        allow_empty=False,
        max_length=MAX_REPORTED,
        help_text="Texts with one token each. Text without a token is ignored.",
    )
    url = TextField(
        required=False,
        max_length=MAX_URL_LENGTH,
        trim_whitespace=False,
        validators=[RegexValidator(r"^https?://\S+\Z", "Give an address that starts with http:// or https://.")],
        help_text="Where they were found. The tokens' owners see it.",
    )


class TokenReportSerializer(serializers.Serializer[Any]):
    """The same answer to every report."""

    status = serializers.ChoiceField(choices=["received"])


class ExpireTokensBody(StrictSerializer):
    ids = BoundedListField(child=IdField(), allow_empty=False, max_length=MAX_PAGE_SIZE, is_set=True)
    reason = TextField(max_length=REASON_MAX_LENGTH, help_text="For the mail to the owners, and for the log.")


class Outcome(TextChoices):
    EXPIRED = "expired", "Expired now"
    ALREADY_ENDED = "already_ended", "Ended before"


class TokenOutcomeSerializer(serializers.Serializer[Any]):
    """The result for one token."""

    id = serializers.UUIDField()
    outcome = serializers.ChoiceField(choices=Outcome.choices)


class TokenOutcomesSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField(help_text="Rows in this answer.")
    data = TokenOutcomeSerializer(many=True)  # type: ignore[assignment]
    next = serializers.URLField(allow_null=True)


class DayUsesSerializer(serializers.Serializer[Any]):
    """Uses on one day, UTC."""

    date = serializers.DateField(source="day")
    allowed = serializers.IntegerField()
    refused = serializers.IntegerField()


class AddressUsesSerializer(serializers.Serializer[Any]):
    """Uses of a token from one address, as far back as the log goes."""

    ip = serializers.IPAddressField(allow_null=True)
    host_name = serializers.CharField(help_text=HOST_NAME)
    first_at = serializers.DateTimeField()
    last_at = serializers.DateTimeField()
    uses = serializers.IntegerField(source="total", help_text="Including refused ones.")
    refused = serializers.IntegerField()
    is_new = serializers.BooleanField(
        help_text="First used within the last 7 days, and more than a day after the token's very first use."
    )


class AfterEndAddressSerializer(serializers.Serializer[Any]):
    ip = serializers.IPAddressField(allow_null=True)
    first_at = serializers.DateTimeField()
    last_at = serializers.DateTimeField()
    uses = serializers.IntegerField(source="count")


class AfterEndSerializer(serializers.Serializer[Any]):
    """Uses of a token after its end, in the last 30 days."""

    uses = serializers.IntegerField(source="count")
    first_at = serializers.DateTimeField(source="since")
    last_at = serializers.DateTimeField(source="last.at")
    last_ip = serializers.IPAddressField(source="last.ip", allow_null=True)
    last_method = serializers.CharField(source="last.method")
    last_target = serializers.CharField(source="last.target")
    last_user_agent = serializers.CharField(source="last.user_agent")
    addresses = AfterEndAddressSerializer(many=True)


class EndedTokenInUseSerializer(AfterEndSerializer):
    """An ended token that is still used."""

    id = serializers.UUIDField(source="last.token_id")
    name = serializers.CharField(source="last.token_name")
    owner_id = serializers.UUIDField(source="last.owner_id", allow_null=True)
    owner_email = serializers.CharField(source="last.owner_email")


_IS_COMPLETE = "False while the newest uses are still being counted. Ask again in a few minutes."


class TokenUsageSerializer(serializers.Serializer[Any]):
    """Uses of a token: per day for 30 days, by address, and after its end."""

    id = serializers.UUIDField()
    days = DayUsesSerializer(many=True)
    addresses = AddressUsesSerializer(many=True, help_text="The most recently used first, at most 1000.")
    after_end = AfterEndSerializer(allow_null=True)
    is_complete = serializers.BooleanField(help_text=_IS_COMPLETE)


class UsedOperationSerializer(serializers.Serializer[Any]):
    method = serializers.CharField()
    path = serializers.CharField(help_text="With `<id:pk>` for an id; for a token of a service, as the client sent it.")
    last_used_at = serializers.DateTimeField(source="last_at")


class NarrowingSerializer(serializers.Serializer[Any]):
    """What a token did in a number of days, and what would have been enough for it."""

    days = serializers.IntegerField()
    is_complete = serializers.BooleanField(
        help_text="False if it and the tokens that it replaced in this time were used 10,000 times or more, or if "
        "these are more than 100 tokens: older uses are left out, and it may need more scopes."
    )
    replaced_tokens = serializers.IntegerField(
        source="replaced", help_text="The uses of so many tokens that it replaced in this time are included."
    )
    used_operations = UsedOperationSerializer(source="used", many=True, help_text="The last one first.")
    operations_allowed = serializers.IntegerField(source="allowed", help_text="How many operations the token can do.")
    used_pipelines = serializers.SerializerMethodField(
        help_text="The ids of the pipelines that it is known to have used and that you can see."
    )
    knows_all_pipelines = serializers.BooleanField(
        help_text="False if it read lists, a status, a summary or a log: the log does not say of which pipelines."
    )
    pipelines_started = serializers.IntegerField(source="started")
    pipelines_visible = serializers.IntegerField(source="visible", help_text="How many pipelines you can see.")
    enough_scopes = serializers.SerializerMethodField(
        help_text="The scopes of the narrowest token that could have done the same."
    )

    @extend_schema_field(serializers.ListField(child=serializers.UUIDField()))
    def get_used_pipelines(self, found: Narrowing) -> list[str]:
        return [str(pipeline.id) for pipeline in found.pipelines]

    @extend_schema_field(ScopesField())
    def get_enough_scopes(self, found: Narrowing) -> list[str]:
        return [scope.id for scope in found.scopes]


class NarrowerTokenSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    periods = NarrowingSerializer(many=True)


class UnusedRightsSerializer(serializers.Serializer[Any]):
    """What a live token has and did not use."""

    id = serializers.UUIDField(source="token.pk")
    name = serializers.CharField(source="token.name")
    owner_id = serializers.UUIDField(source="token.owner_id")
    owner_email = serializers.EmailField(source="token.owner.email")
    service = serializers.SerializerMethodField()
    scopes = serializers.SerializerMethodField()
    last_used_at = UtcDateTimeField(source="token.last_used_at", allow_null=True)
    days = serializers.IntegerField()
    operations_used = serializers.IntegerField(help_text="How many different operations it called in this time.")
    is_complete = serializers.BooleanField(
        help_text="False if uses are left out, so that it may need more than `enough_scopes`: it was used 2,000 times "
        "or more, it is limited and its owner acted so often, or it replaced another token in this time. The uses of "
        "that token are in `GET /tokens/{id}/narrower`."
    )
    enough_scopes = serializers.SerializerMethodField(
        help_text="The scopes of the narrowest token that could have done the same; empty if it was not used."
    )
    unused_scopes = serializers.SerializerMethodField(help_text="Those of `scopes` that are not in `enough_scopes`.")
    is_limited = serializers.BooleanField(source="token.is_limited", help_text=_IS_LIMITED)
    unused_pipelines = serializers.SerializerMethodField(
        help_text="For a limited token: the ids of the chosen pipelines that you can see and that it is not known to "
        "have used; empty if it is not known to have used any. Otherwise null."
    )
    knows_all_pipelines = serializers.BooleanField(
        help_text="False if it read lists, a status, a summary or a log: the log does not say of which pipelines."
    )

    @extend_schema_field(TokenServiceField())
    def get_service(self, found: UnusedRights) -> dict[str, Any] | None:
        return service_answer(found.token)

    @extend_schema_field(ScopesField())
    def get_scopes(self, found: UnusedRights) -> list[str]:
        return [scope.id for scope in found.token.scopes]

    @extend_schema_field(ScopesField())
    def get_enough_scopes(self, found: UnusedRights) -> list[str]:
        return [scope.id for scope in found.enough]

    @extend_schema_field(ScopesField())
    def get_unused_scopes(self, found: UnusedRights) -> list[str]:
        return [scope.id for scope in found.scopes]

    @extend_schema_field(serializers.ListField(child=serializers.UUIDField(), allow_null=True))
    def get_unused_pipelines(self, found: UnusedRights) -> list[str] | None:
        return None if found.pipelines is None else [str(pipeline.id) for pipeline in found.pipelines]


class UsageSerializer(serializers.Serializer[Any]):
    """Uses of several tokens per day for 30 days, and those of them that are still used after their end."""

    days = DayUsesSerializer(many=True)
    ended_in_use = EndedTokenInUseSerializer(many=True, help_text="The most recently used first.")
    is_complete = serializers.BooleanField(help_text=_IS_COMPLETE)


class MeUserSerializer(serializers.ModelSerializer[User]):
    is_service_account = serializers.BooleanField(read_only=True)

    class Meta:
        model = User
        fields = ["id", "email", "name", "is_service_account"]


class MeSerializer(serializers.Serializer[Any]):
    """The caller, and the token in use."""

    user = MeUserSerializer()
    site_role = serializers.CharField()
    organization = serializers.DictField(child=serializers.CharField())
    token = TokenSerializer(allow_null=True, help_text="The token in use; null in a browser session.")
