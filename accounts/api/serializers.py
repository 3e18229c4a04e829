"""The shapes of people and groups in the API."""

from typing import Any

from rest_framework import serializers

from accounts.models import Group, User, UserState
from accounts.roles import SiteRole
from opsera_portal.api.paging import MAX_PAGE_SIZE, PageQuery
from opsera_portal.api.serializers import IdField, StrictSerializer, TextField

MEMBERS_LIMIT = 1000


class GroupRefSerializer(serializers.ModelSerializer[Group]):
    class Meta:
        model = Group
        fields = ["id", "name"]


class UserSerializer(serializers.ModelSerializer[User]):
    """A person of the organization."""

    site_role = serializers.ChoiceField(choices=SiteRole.choices, read_only=True)
    state = serializers.ChoiceField(choices=UserState.choices, read_only=True)
    groups = GroupRefSerializer(source="member_groups", many=True, read_only=True)
    last_sign_in_at = serializers.DateTimeField(source="last_login", read_only=True, allow_null=True)
    live_tokens = serializers.IntegerField(source="live_token_count", read_only=True)

    class Meta:
        model = User
        fields = [
            "id",
            "email",
            "name",
            "site_role",
            "is_active",
            "state",
            "groups",
            "last_sign_in_at",
            "live_tokens",
            "created_at",
        ]


class UserListQuery(PageQuery, StrictSerializer):
    """The same filters as on the page."""

    q = serializers.CharField(
        required=False, allow_blank=True, max_length=100, help_text="Part of the name or e-mail address."
    )
    site_role = serializers.ChoiceField(choices=SiteRole.choices, required=False)
    state = serializers.ChoiceField(choices=UserState.choices, required=False)
    group = IdField(required=False, help_text="The id of a group.")
    page_size = serializers.IntegerField(required=False, default=100, min_value=1, max_value=MAX_PAGE_SIZE)


class InviteUserBody(StrictSerializer):
    email = serializers.EmailField(max_length=254)
    name = TextField(max_length=100)
    site_role = serializers.ChoiceField(choices=SiteRole.choices, required=False, default=SiteRole.GUEST)
    groups = serializers.ListField(
        child=IdField(), required=False, default=list, max_length=MEMBERS_LIMIT, help_text="Ids of groups."
    )


class ChangeUserBody(StrictSerializer):
    """What is not here stays as it is."""

    site_role = serializers.ChoiceField(choices=SiteRole.choices, required=False)
    is_active = serializers.BooleanField(required=False)

    def to_internal_value(self, data: Any) -> Any:
        if hasattr(data, "get") and "is_active" in data and not isinstance(data["is_active"], bool):
            # DRF would take "no" and 0 for false.
            raise serializers.ValidationError({"is_active": ["Must be true or false."]})
        return super().to_internal_value(data)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Give `site_role`, `is_active` or both.")
        return attrs


class MemberSerializer(serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = ["id", "email", "name"]


class GroupSerializer(serializers.ModelSerializer[Group]):
    """One row of the list."""

    member_count = serializers.IntegerField(read_only=True)

    class Meta:
        model = Group
        fields = ["id", "name", "member_count", "created_at"]


class GroupDetailSerializer(serializers.ModelSerializer[Group]):
    members = MemberSerializer(many=True, read_only=True)

    class Meta:
        model = Group
        fields = ["id", "name", "members", "created_at"]


class GroupListQuery(PageQuery, StrictSerializer):
    q = serializers.CharField(required=False, allow_blank=True, max_length=100, help_text="Part of the name.")
    page_size = serializers.IntegerField(required=False, default=100, min_value=1, max_value=MAX_PAGE_SIZE)


class CreateGroupBody(StrictSerializer):
    name = TextField(max_length=50, help_text="Unique in the organization, ignoring case.")
    members = serializers.ListField(
        child=IdField(), required=False, default=list, max_length=MEMBERS_LIMIT, help_text="Ids of people."
    )


class ChangeGroupBody(StrictSerializer):
    """What is not here stays as it is. `members` takes the place of all members."""

    name = TextField(max_length=50, required=False)
    members = serializers.ListField(
        child=IdField(), required=False, max_length=MEMBERS_LIMIT, help_text="Ids of people."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Give `name`, `members` or both.")
        return attrs
