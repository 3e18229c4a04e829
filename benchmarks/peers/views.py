"""The same answer with five kinds of authentication. Only the last one loads the token's record and logs the use."""

import time
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone
from knox.auth import TokenAuthentication as KnoxTokenAuthentication  # type: ignore[import-not-found]
from rest_framework.authentication import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.authentication import JWTAuthentication

from benchmarks.peers.models import Organization, Token, TokenUse
from benchmarks.peers.serializers import me

# The content of answers for libraries that have no such records. Never saved.
_now = timezone.now()
SOMEONE = User(pk=1, username="person", email="person@benchmark.example", first_name="Person")
SOME_TOKEN = Token(
    owner=SOMEONE,
    organization=Organization(pk=1, name="Benchmark", slug="benchmark"),
    name="bench",
    scope="api",
    created_at=_now.replace(microsecond=0),
    expires_at=_now.replace(microsecond=0) + timedelta(days=7),
    revealed_at=_now,
    last_used_at=_now,
    last_used_ip="127.0.0.1",
)


class PlainView(APIView):
    authentication_classes = []
    permission_classes = []

    def get(self, request: Request) -> Response:
        return Response(me(SOMEONE, SOME_TOKEN))


class MeView(APIView):
    permission_classes = [IsAuthenticated]

    def get(self, request: Request) -> Response:
        return Response(me(request.user, SOME_TOKEN))  # type: ignore[arg-type]


class DRFTokenView(MeView):
    authentication_classes = [TokenAuthentication]


class KnoxView(MeView):
    authentication_classes = [KnoxTokenAuthentication]


class SimpleJWTView(MeView):
    authentication_classes = [JWTAuthentication]


class RecordAuthentication(JWTAuthentication):
    """Checks what simplejwt checks, and then the token's record: it must exist, and be neither expired nor revoked."""

    def authenticate(self, request: Request) -> tuple[User, Token] | None:
        found = super().authenticate(request)
        if found is None:
            return None
        user, claims = found
        try:
            token = Token.objects.select_related("organization").get(pk=claims["jti"], owner=user)
        except Token.DoesNotExist:
            raise AuthenticationFailed("No such token.") from None
        if token.revoked_at is not None or token.expires_at <= timezone.now():
            raise AuthenticationFailed("The token has ended.")
        return user, token


class NaiveView(APIView):
    """Inserts one row for each request, and commits before it answers."""

    authentication_classes = [RecordAuthentication]
    permission_classes = [IsAuthenticated]

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self.clock, self.at = time.perf_counter(), timezone.now()
        return super().dispatch(request, *args, **kwargs)

    def get(self, request: Request) -> Response:
        return Response(me(request.user, request.auth))  # type: ignore[arg-type]

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        token = request.auth
        if token is not None:
            TokenUse.objects.create(
                at=self.at,
                token=token,
                token_name=token.name,
                scope=token.scope,
                owner=request.user,
                owner_email=request.user.email,
                organization=token.organization,
                account=token.organization.slug,
                method=request.method,
                target=request.get_full_path(),
                status=response.status_code,
                outcome="allowed" if response.status_code < 400 else "refused",
                reason="ok" if response.status_code < 400 else "forbidden",
                ip=request.META["REMOTE_ADDR"],
                user_agent=request.headers.get("User-Agent", ""),
                duration_ms=round((time.perf_counter() - self.clock) * 1000),
            )
        return response
