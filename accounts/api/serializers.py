"""The shapes of people and groups in the API."""

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.models import Group, Notification, User, UserState
from accounts.notifications import kinds
from accounts.notifications.texts import sentence_of
from accounts.roles import SiteRole
from core.api.serializers import BoundedListField, FlagField, IdField, NameField, StrictSerializer
from core.mail.kinds import label_of
from core.models import OutgoingMail

UNDELIVERED_STATES = [choice for choice in OutgoingMail.State.choices if choice[0] != OutgoingMail.State.SENT]

MEMBERS_LIMIT = 1000
MANAGED_HELP = "Whether single sign-on decides who is in the group. Members can't be changed here then."


class GroupRefSerializer(serializers.ModelSerializer[Group]):
    class Meta:
        model = Group
        fields = ["id", "name"]


class UndeliveredMailSerializer(serializers.ModelSerializer[OutgoingMail]):
    """A mail to a person that has not been delivered yet."""

    mail = serializers.SerializerMethodField(help_text="What kind of mail it is, in words.")
    state = serializers.ChoiceField(choices=UNDELIVERED_STATES, read_only=True)
    next_attempt_at = serializers.SerializerMethodField(help_text="`null` if the portal has given up.")
    last_error = serializers.CharField(read_only=True, help_text="Empty if it has not been tried yet.")

    class Meta:
        model = OutgoingMail
        fields = ["id", "mail", "state", "created_at", "attempts", "next_attempt_at", "last_error"]

    def get_mail(self, row: OutgoingMail) -> str:
        return label_of(row)

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_next_attempt_at(self, row: OutgoingMail) -> str | None:
        waits = row.state == OutgoingMail.State.WAITING
        shown: str | None = serializers.DateTimeField().to_representation(row.next_attempt_at) if waits else None
        return shown


class OrganizationMailSerializer(UndeliveredMailSerializer):
    user_id = serializers.UUIDField(source="person_id", read_only=True)
    email = serializers.CharField(source="address", read_only=True)

    class Meta(UndeliveredMailSerializer.Meta):
        fields = ["id", "user_id", "email", *UndeliveredMailSerializer.Meta.fields[1:]]


class UserSerializer(serializers.ModelSerializer[User]):
    """A person in the organization."""

    site_role = serializers.ChoiceField(choices=SiteRole.choices, read_only=True)
    site_role_is_managed = serializers.BooleanField(
        source="role_is_managed",
        read_only=True,
        help_text="Whether single sign-on decides about the site role. It can't be changed here then.",
    )
    state = serializers.ChoiceField(choices=UserState.choices, read_only=True)
    groups = GroupRefSerializer(source="member_groups", many=True, read_only=True)
    last_sign_in_at = serializers.DateTimeField(source="last_login", read_only=True, allow_null=True)
    live_tokens = serializers.IntegerField(source="live_token_count", read_only=True)
    has_two_factor = serializers.BooleanField(
        read_only=True, help_text="Whether an authenticator app or a passkey is set up."
    )
    undelivered_mails = UndeliveredMailSerializer(
        many=True, read_only=True, help_text="Mails to this person that have not been delivered yet, newest first."
    )

    class Meta:
        model = User
        fields = [
            "id",
            "email",
            "name",
            "site_role",
            "site_role_is_managed",
            "is_active",
            "state",
            "groups",
            "last_sign_in_at",
            "live_tokens",
            "has_two_factor",
            "undelivered_mails",
            "created_at",
        ]


class InviteUserBody(StrictSerializer):
    email = serializers.EmailField(max_length=254)
    name = NameField(max_length=100)
    site_role = serializers.ChoiceField(choices=SiteRole.choices, required=False, default=SiteRole.GUEST)
    groups = BoundedListField(
        child=IdField(), required=False, default=list, max_length=MEMBERS_LIMIT, help_text="Ids of groups."
    )


class EraseUserBody(StrictSerializer):
    confirm = serializers.CharField(max_length=254, help_text="The person's e-mail address.")


class ChangeUserBody(StrictSerializer):
    """Fields that are left out stay as they are."""

    together = {"minProperties": 1}

    site_role = serializers.ChoiceField(choices=SiteRole.choices, required=False)
    is_active = FlagField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Give `site_role`, `is_active` or both.")
        return attrs


class SessionSerializer(serializers.Serializer[Any]):
    """A session in which a person is signed in."""

    id = serializers.IntegerField()
    browser = serializers.CharField(help_text="In words, from the browser's User-Agent.")
    address = serializers.IPAddressField()
    signed_in_at = serializers.DateTimeField()
    last_seen_at = serializers.DateTimeField(help_text="Exact to the minute.")
    is_current = serializers.BooleanField(help_text="Whether it is the session of this request.")


class EndSessionsBody(StrictSerializer):
    including_here = FlagField(required=False, default=False, help_text="Also end the session of this request.")
    expire_tokens = FlagField(
        required=False, default=False, help_text="Also expire all my live tokens. This cannot be undone."
    )


class EndedSerializer(serializers.Serializer[Any]):
    """How many live sessions and tokens have ended."""

    sessions = serializers.IntegerField()
    tokens = serializers.IntegerField()


class MemberSerializer(serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = ["id", "email", "name"]


class GroupSerializer(serializers.ModelSerializer[Group]):
    """One row of the list."""

    member_count = serializers.IntegerField(read_only=True)
    is_managed = serializers.BooleanField(read_only=True, help_text=MANAGED_HELP)

    class Meta:
        model = Group
        fields = ["id", "name", "member_count", "is_managed", "created_at"]


class GroupDetailSerializer(serializers.ModelSerializer[Group]):
    members = MemberSerializer(many=True, read_only=True)
    is_managed = serializers.BooleanField(read_only=True, help_text=MANAGED_HELP)

    class Meta:
        model = Group
        fields = ["id", "name", "members", "is_managed", "created_at"]


class CreateGroupBody(StrictSerializer):
    name = NameField(max_length=50, help_text="Unique in the organization, ignoring case.")
    members = BoundedListField(
        child=IdField(), required=False, default=list, max_length=MEMBERS_LIMIT, help_text="Ids of people."
    )


class ChangeGroupBody(StrictSerializer):
    """Fields that are left out stay as they are. `members` replaces all members."""

    together = {"minProperties": 1}

    name = NameField(max_length=50, required=False)
    members = BoundedListField(child=IdField(), required=False, max_length=MEMBERS_LIMIT, help_text="Ids of people.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Give `name`, `members` or both.")
        return attrs


def _channel_fields(**options: Any) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
    return {
        kind.id: serializers.ChoiceField(
            choices=[(channel.value, channel.label) for channel in kind.channels],
            help_text=f"{kind.label}. By default `{kind.default.value}`.",
            **options,
        )
        for kind in kinds.KINDS
    }


class NotificationChannelsSerializer(serializers.Serializer[Any]):
    """Where a person is told about each kind of event."""

    def get_fields(self) -> dict[str, Any]:
        return _channel_fields()


class NotificationChannelsBody(StrictSerializer):
    """Kinds that are left out stay as they are. Those about security always stay in the portal."""

    def get_fields(self) -> dict[str, Any]:
        return _channel_fields(required=False)


class PreferencesSerializer(serializers.ModelSerializer[User]):
    """A person's own preferences."""

    wants_expiry_mails = serializers.BooleanField(
        read_only=True, help_text="Whether `notifications.end_near` has a mail, at once or daily."
    )
    notifications = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = ["wants_expiry_mails", "language", "time_zone", "notifications"]
        read_only_fields = fields

    @extend_schema_field(NotificationChannelsSerializer)
    def get_notifications(self, person: User) -> dict[str, str]:
        return {kind.id: kinds.channel_for(person.notification_choices, kind).value for kind in kinds.KINDS}


class ChangePreferencesBody(StrictSerializer):
    together = {"minProperties": 1}

    wants_expiry_mails = FlagField(
        required=False,
        help_text="Adds a mail to `notifications.end_near`, or removes it. Send either this or `end_near`.",
    )
    notifications = NotificationChannelsBody(required=False)
    language = serializers.ChoiceField(
        choices=[("", "As the browser asks"), *settings.LANGUAGES],
        required=False,
        help_text="Of pages and mails. The API always answers in English.",
    )
    time_zone = serializers.CharField(
        max_length=64,
        required=False,
        help_text="A name of the IANA database, such as `Europe/Berlin`. The API always answers in UTC.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Give at least one preference.")
        return attrs


class NotificationSerializer(serializers.ModelSerializer[Notification]):
    """Something that a person was told."""

    id = serializers.UUIDField(source="public_id", read_only=True)
    kind = serializers.ChoiceField(choices=kinds.CHOICES, read_only=True)
    is_security = serializers.SerializerMethodField()
    text = serializers.SerializerMethodField(help_text="What happened, in a sentence.")
    details = serializers.JSONField(read_only=True, help_text="What the text says, by name. Each kind has its own.")

    class Meta:
        model = Notification
        fields = ["id", "at", "kind", "is_security", "text", "token_id", "token_name", "details", "read_at"]

    def get_is_security(self, row: Notification) -> bool:
        return row.kind in kinds.BY_ID and kinds.BY_ID[row.kind].is_security

    def get_text(self, row: Notification) -> str:
        return sentence_of(row)


class MarkReadBody(StrictSerializer):
    """Send either `ids` or `until`."""

    together = {"minProperties": 1, "maxProperties": 1}

    ids = BoundedListField(
        child=IdField(), required=False, min_length=1, max_length=1000, help_text="Ids of notifications."
    )
    until = IdField(required=False, help_text="The id of a notification: it and all older ones are marked.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len(attrs) != 1:
            raise serializers.ValidationError("Give either `ids` or `until`.")
        return attrs


class MarkedSerializer(serializers.Serializer[Any]):
    marked = serializers.IntegerField(help_text="How many of them were unread.")
