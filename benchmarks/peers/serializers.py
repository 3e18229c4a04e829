"""Serializes the same answer as the portal's GET /api/v1/me, in the same way. `token_path.py` compares the answers."""

from typing import Any

from django.contrib.auth.models import User
from rest_framework import serializers

from benchmarks.peers.models import Token


class TokenSerializer(serializers.ModelSerializer[Token]):
    scopes = serializers.SerializerMethodField()
    pipelines = serializers.SerializerMethodField()
    networks = serializers.SerializerMethodField()
    service = serializers.SerializerMethodField()
    uses_left = serializers.SerializerMethodField()
    state = serializers.SerializerMethodField()
    blocked_because = serializers.SerializerMethodField()
    expires_soon = serializers.SerializerMethodField()
    can_be_revealed_until = serializers.SerializerMethodField()
    replaced_by = serializers.UUIDField(source="replaced_by_id", read_only=True)
    revoked_by = serializers.SlugRelatedField[User](slug_field="email", read_only=True)

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

    def get_pipelines(self, token: Token) -> list[str] | None:
        """None of these tokens is limited."""
        return [] if token.is_limited else None

    def get_service(self, token: Token) -> None:
        return None

    def get_uses_left(self, token: Token) -> int | None:
        return token.max_uses

    def get_networks(self, token: Token) -> list[str]:
        return token.networks.split()

    def get_scopes(self, token: Token) -> list[str]:
        return token.scope.split()

    def get_state(self, token: Token) -> str:
        return "revoked" if token.revoked_at else "active"

    def get_blocked_because(self, token: Token) -> str:
        return ""

    def get_expires_soon(self, token: Token) -> bool:
        return False

    def get_can_be_revealed_until(self, token: Token) -> None:
        return None


# Created once, as in the portal: creating it for each answer would cost as much as the rest of the request.
TOKEN_SERIALIZER = TokenSerializer()


def me(user: User, token: Token) -> dict[str, Any]:
    organization = token.organization
    return {
        "user": {
            "id": str(user.pk),
            "email": user.email,
            "name": user.first_name,
            "is_service_account": False,
        },
        "site_role": "user",
        "organization": {"id": str(organization.pk), "name": organization.name, "account": organization.slug},
        "token": TOKEN_SERIALIZER.to_representation(token),
    }
