"""The shapes of an organization's own single sign-on in the API. The fields have the same names as on the page."""

from typing import Any

from rest_framework import serializers

from accounts.provider_rules import CLAIM_LIMIT, CLAIMS_LIMIT
from accounts.roles import SiteRole
from accounts.services.single_sign_on import DOMAINS_LIMIT, RULES_LIMIT
from core.api.serializers import (
    BoundedListField,
    BoundedObjectField,
    FlagField,
    IdField,
    StrictSerializer,
    TextField,
    WholeNumberField,
)

DEFAULT_ROLES = [choice for choice in SiteRole.choices if choice[0] != SiteRole.ADMINISTRATOR]


class RoleRuleSerializer(StrictSerializer):
    """People whose claim has this value, or a list with it, get the site role. The first rule that matches counts."""

    claim = TextField(max_length=CLAIM_LIMIT, help_text="A name, or a path like `realm_access.roles`.")
    value = TextField(max_length=CLAIM_LIMIT)
    site_role = serializers.ChoiceField(choices=SiteRole.choices)


class GroupRuleSerializer(StrictSerializer):
    """People whose claim has this value, or a list with it, are in the group. Every rule that matches counts."""

    claim = TextField(max_length=CLAIM_LIMIT, help_text="A name, or a path like `realm_access.roles`.")
    value = TextField(max_length=CLAIM_LIMIT)
    group = IdField(help_text="The id of a group.")


class SingleSignOnSerializer(serializers.Serializer[Any]):
    """The organization's provider and its rules. The client secret is never shown."""

    is_set_up = serializers.BooleanField(help_text="If not, the other fields have their defaults.")
    is_enabled = serializers.BooleanField()
    name = serializers.CharField()
    issuer = serializers.CharField()
    client_id = serializers.CharField()
    trusts_email = serializers.BooleanField(
        help_text="Whether members are found by addresses that the provider does not mark as verified."
    )
    creates_people = serializers.BooleanField(help_text="Whether people are created at their first sign-in.")
    domains = serializers.ListField(child=serializers.CharField())
    default_role = serializers.ChoiceField(choices=DEFAULT_ROLES)
    people_per_hour = serializers.IntegerField(help_text="How many people are created in an hour, at most.")
    role_rules = RoleRuleSerializer(many=True)
    refuses_unmapped = serializers.BooleanField(
        help_text="Whether people to whom no role rule applies are refused. Otherwise they get `default_role`."
    )
    group_rules = GroupRuleSerializer(many=True)
    sign_in_url = serializers.CharField(help_text="The link for your people.")
    redirect_url = serializers.CharField(allow_null=True, help_text="The redirect address to register at the provider.")
    last_failure = serializers.CharField(help_text="Why the last failed sign-in failed; empty if there was none.")
    last_failure_at = serializers.DateTimeField(allow_null=True)


class TryClaimsBody(StrictSerializer):
    claims = BoundedObjectField(
        max_length=CLAIMS_LIMIT,
        help_text="The content of an ID token or of the user info, not the token itself. Nothing of it is kept.",
    )


class RuledGroupSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    rule = serializers.IntegerField(help_text="The position of the first group rule that matches, from 1.")


class ClaimsOutcomeSerializer(serializers.Serializer[Any]):
    """What the rules would give to a person with these claims."""

    is_refused = serializers.BooleanField(help_text="Whether the sign-in is refused, because no role rule applies.")
    site_role = serializers.CharField(
        allow_null=True,
        help_text="A site role. `null`: the sign-in is refused (`is_refused`), or the role stays as it is, because "
        "there are no role rules or the provider has left out a claim.",
    )
    role_rule = serializers.IntegerField(
        allow_null=True, help_text="The position of the role rule that decides, from 1. `null`: none applies."
    )
    groups = RuledGroupSerializer(many=True)
    left_out = serializers.ListField(
        child=serializers.CharField(),
        help_text="Claims that the provider left out because they are too long. Rules on them are skipped.",
    )


class ChangeSingleSignOnBody(StrictSerializer):
    """Fields that are left out stay as they are. The first time, `name`, `issuer`, `client_id` and `client_secret` are
    required."""

    together = {"minProperties": 1}

    is_enabled = FlagField(required=False)
    name = TextField(required=False, max_length=40)
    issuer = TextField(
        required=False, max_length=200, help_text="On a host that the operator allows. Another one needs the secret."
    )
    client_id = TextField(required=False, max_length=191)
    client_secret = TextField(required=False, max_length=1000, write_only=True)
    trusts_email = FlagField(required=False)
    creates_people = FlagField(required=False)
    domains = BoundedListField(child=TextField(max_length=253), required=False, max_length=DOMAINS_LIMIT)
    default_role = serializers.ChoiceField(choices=DEFAULT_ROLES, required=False)
    people_per_hour = WholeNumberField(required=False, min_value=1, max_value=1000)
    role_rules = BoundedListField(child=RoleRuleSerializer(), required=False, max_length=RULES_LIMIT)
    refuses_unmapped = FlagField(required=False)
    group_rules = BoundedListField(child=GroupRuleSerializer(), required=False, max_length=RULES_LIMIT)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """``changes`` (values as a provider stores them) and ``secret``."""
        if not attrs:
            raise serializers.ValidationError("Give at least one field.")
        changes = dict(attrs)
        secret = changes.pop("client_secret", "")
        if "domains" in changes:
            changes["domains"] = " ".join(changes["domains"])
        if "role_rules" in changes:
            changes["role_rules"] = [dict(rule) for rule in changes["role_rules"]]
        if "group_rules" in changes:
            changes["group_rules"] = [{**rule, "group": str(rule["group"])} for rule in changes["group_rules"]]
        return {"changes": changes, "secret": secret}
