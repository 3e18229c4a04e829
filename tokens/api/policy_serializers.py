"""Serializers of the organization's policy. The fields have the same names as on the page."""

from typing import Any

from rest_framework import serializers

from accounts.models import MOST_OVERLAP_HOURS, POLICY_FIELDS, POLICY_LISTS, ServiceTokenCreators
from accounts.roles import SiteRole
from core.api.scopes import CHOICES as SCOPE_CHOICES
from core.api.serializers import BoundedListField, StrictSerializer, TextField, WholeNumberField
from core.networks import MAX_LENGTH, MOST_NETWORKS, clean_networks
from tokens.policy.preview import SOON


class PolicySerializer(serializers.Serializer[Any]):
    max_token_lifetime_days = serializers.IntegerField(help_text="The maximum lifetime of a token.")
    allowed_scopes = serializers.ListField(child=serializers.ChoiceField(choices=SCOPE_CHOICES))
    max_live_tokens = serializers.IntegerField(help_text="The maximum number of live tokens of a person.")
    unused_tokens_end_after_days = serializers.IntegerField(
        allow_null=True, help_text="Null: unused tokens work until they expire."
    )
    max_replacement_overlap_hours = serializers.IntegerField(
        help_text="For how many hours a replaced token may work beside the new one."
    )
    approval_scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=SCOPE_CHOICES),
        help_text="A second person must approve new tokens with one of these scopes.",
    )
    approval_lifetime_days = serializers.IntegerField(
        allow_null=True, help_text="A second person must approve new tokens with a longer lifetime. Null: no limit."
    )
    approval_for_service_accounts = serializers.BooleanField(
        help_text="Whether a second person must approve new tokens of service accounts."
    )
    two_factor_roles = serializers.ListField(
        child=serializers.ChoiceField(choices=SiteRole.choices), help_text="Site roles that need two-factor."
    )
    token_networks = serializers.ListField(
        child=serializers.CharField(),
        help_text="The only networks and addresses from which tokens can be used; empty if from everywhere.",
    )
    sign_in_networks = serializers.ListField(
        child=serializers.CharField(),
        help_text="The only networks from which people with `sign_in_network_roles` can sign in and use their "
        "sessions; empty if from everywhere.",
    )
    sign_in_network_roles = serializers.ListField(child=serializers.ChoiceField(choices=SiteRole.choices))
    max_service_token_lifetime_days = serializers.IntegerField(
        help_text="The maximum lifetime of a service account's token."
    )
    service_token_creators = serializers.ChoiceField(
        choices=ServiceTokenCreators.choices, help_text="Who creates and replaces the tokens of service accounts."
    )
    orphaned_service_tokens_end_after_days = serializers.IntegerField(
        allow_null=True, help_text="Null: tokens of a service account that nobody active is responsible for work on."
    )
    log_retention_days = serializers.IntegerField(help_text="How long both logs are kept.")
    version = serializers.CharField(help_text="Changes with every change of the policy. Send it with your change.")


class OwnerEffectSerializer(serializers.Serializer[Any]):
    email = serializers.EmailField()
    name = serializers.CharField()
    tokens = serializers.IntegerField()


class BlockedByRuleSerializer(serializers.Serializer[Any]):
    lifetime = serializers.IntegerField()
    service_lifetime = serializers.IntegerField()
    scope = serializers.IntegerField()
    unused = serializers.IntegerField()
    orphaned = serializers.IntegerField()
    two_factor = serializers.IntegerField()


class EffectSerializer(serializers.Serializer[Any]):
    """What the change does. Tokens and people that it does not affect are not counted."""

    blocked_tokens = serializers.IntegerField(help_text="Tokens that work now and will be blocked from their next use.")
    blocked_people = serializers.IntegerField(help_text="How many people own these tokens.")
    by_rule = BlockedByRuleSerializer(
        help_text="Blocked tokens by rule. A token that breaks several is counted for each."
    )
    owners = OwnerEffectSerializer(many=True, help_text="Owners of blocked tokens, at most 100. Most tokens first.")
    unblocked_tokens = serializers.IntegerField(help_text="Tokens that are blocked now and will work again.")
    unused_soon = serializers.IntegerField(
        help_text=f"Tokens that will expire as unused within {SOON.days} days unless they are used."
    )
    people_to_set_up_two_factor = serializers.IntegerField()
    people_above_max_live_tokens = serializers.IntegerField(help_text="They keep their tokens but can't create more.")
    tokens_used_outside = serializers.IntegerField(
        help_text="Live tokens whose last use came from an address that is allowed now and will be refused."
    )
    people_signed_in_outside = serializers.IntegerField(
        help_text="People with a session at an address from which they can use it now and won't be able to."
    )


class ChangedPolicySerializer(PolicySerializer):
    """The policy as it is now, and what the change has done."""

    effect = EffectSerializer()


class PolicyPreviewSerializer(serializers.Serializer[Any]):
    """What a change would do. ``version`` is that of the current policy."""

    version = serializers.CharField()
    effect = EffectSerializer()


class NetworkList(BoundedListField):
    """Networks, IPv4 or IPv6, such as `203.0.113.0/24`, or single addresses. Empty: from everywhere."""

    def __init__(self) -> None:
        super().__init__(
            child=TextField(max_length=MAX_LENGTH),
            required=False,
            max_length=MOST_NETWORKS,
            help_text="Networks such as `203.0.113.0/24`, or single addresses; empty for everywhere.",
        )

    def to_internal_value(self, data: Any) -> list[str]:
        return clean_networks(super().to_internal_value(data)).split()


class ChangePolicyBody(StrictSerializer):
    """Fields that are left out stay as they are."""

    # `version` alone changes nothing. Without `anyOf`, from which generators would create several bodies.
    together = {
        "minProperties": 1,
        "not": {"properties": {"version": {}}, "required": ["version"], "maxProperties": 1},
    }

    max_token_lifetime_days = WholeNumberField(required=False, min_value=1, max_value=366)
    allowed_scopes = BoundedListField(
        child=serializers.ChoiceField(choices=SCOPE_CHOICES),
        required=False,
        allow_empty=False,
        max_length=len(SCOPE_CHOICES),
        is_set=True,
    )
    max_live_tokens = WholeNumberField(required=False, min_value=1, max_value=1000)
    unused_tokens_end_after_days = WholeNumberField(required=False, allow_null=True, min_value=1, max_value=366)
    max_replacement_overlap_hours = WholeNumberField(required=False, min_value=0, max_value=MOST_OVERLAP_HOURS)
    approval_scopes = BoundedListField(
        child=serializers.ChoiceField(choices=SCOPE_CHOICES), required=False, max_length=len(SCOPE_CHOICES), is_set=True
    )
    approval_lifetime_days = WholeNumberField(required=False, allow_null=True, min_value=1, max_value=366)
    approval_for_service_accounts = serializers.BooleanField(required=False)
    two_factor_roles = BoundedListField(
        child=serializers.ChoiceField(choices=SiteRole.choices), required=False, max_length=len(SiteRole), is_set=True
    )
    token_networks = NetworkList()
    sign_in_networks = NetworkList()
    sign_in_network_roles = BoundedListField(
        child=serializers.ChoiceField(choices=SiteRole.choices), required=False, max_length=len(SiteRole), is_set=True
    )
    max_service_token_lifetime_days = WholeNumberField(required=False, min_value=1, max_value=366)
    service_token_creators = serializers.ChoiceField(choices=ServiceTokenCreators.choices, required=False)
    orphaned_service_tokens_end_after_days = WholeNumberField(
        required=False, allow_null=True, min_value=1, max_value=366
    )
    log_retention_days = WholeNumberField(required=False, min_value=30, max_value=3660)
    version = TextField(
        required=False,
        max_length=64,
        help_text="The version of the policy that you looked at. If the policy has changed since, the answer is 409.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """``changes`` (values as an organization stores them) and ``version``."""
        changes = {
            field: " ".join(attrs[field]) if field in POLICY_LISTS else attrs[field]
            for field in POLICY_FIELDS
            if field in attrs
        }
        if not changes:
            raise serializers.ValidationError("Give at least one field of the policy.")
        return {"changes": changes, "version": attrs.get("version")}
