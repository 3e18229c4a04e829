"""The token endpoint for CI jobs: OAuth 2.0 Token Exchange (RFC 8693)."""

from typing import Any, ClassVar

from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import APIException, Throttled, ValidationError
from rest_framework.parsers import FormParser
from rest_framework.request import Request
from rest_framework.response import Response

from core.api.operations import Operation
from core.api.parsers import StrictJSONParser
from core.api.serializers import TextField
from core.api.throttling import neighborhood
from core.api.views import ApiViewSet
from core.http.request_context import without_tokens
from tokens.models import Token
from tokens.trust import exchange
from tokens.trust.exchange import GRANT_TYPE
from tokens.trust.subject_token import MAX_LENGTH

JWT = "urn:ietf:params:oauth:token-type:jwt"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105
# RFC 6749 section 5.1.
NEVER_KEPT = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class ExchangeBody(serializers.Serializer[Any]):
    """As a form or as JSON. Unknown parameters are ignored (RFC 6749 section 3.2)."""

    grant_type = TextField(max_length=100, help_text=f"Always `{GRANT_TYPE}`.")
    subject_token = TextField(max_length=MAX_LENGTH, help_text="The JWT that the CI system gave to the job.")
    subject_token_type = serializers.ChoiceField(choices=[(JWT, JWT), (ID_TOKEN, ID_TOKEN)])
    scope = TextField(
        max_length=200,
        required=False,
        allow_blank=True,
        default="",
        help_text="Fewer scopes than the trust rule gives, separated by spaces.",
    )
    audience = TextField(
        max_length=100,
        required=False,
        allow_blank=True,
        default="",
        help_text="The short name of your organization. Then only its trust rules count.",
    )


class ExchangeSerializer(serializers.Serializer[Any]):
    """The answer of RFC 8693 section 2.2.1."""

    access_token = serializers.CharField(help_text="A token of this API. It is shown this once.")
    issued_token_type = serializers.CharField(help_text=f"Always `{ACCESS_TOKEN}`.")
    token_type = serializers.CharField(help_text="Always `Bearer`.")
    expires_in = serializers.IntegerField(help_text="Seconds.")
    scope = serializers.CharField(help_text="Separated by spaces.")


class ExchangeErrorSerializer(serializers.Serializer[Any]):
    """An error of OAuth (RFC 6749 section 5.2)."""

    error = serializers.CharField(
        help_text="For programs: `invalid_request`, `invalid_scope`, `unsupported_grant_type` or "
        "`temporarily_unavailable`."
    )
    error_description = serializers.CharField(help_text="For people.")


class TokenExchangeViewSet(ApiViewSet):
    """Exchanges the identity of a CI job for a short token of a service account, by a trust rule."""

    operations: ClassVar[dict[str, Operation]] = {
        "exchange": Operation(_("Exchange the identity of a CI job"), is_public=True, shows_secret=True),
    }
    # Credentials are ignored: the subject token is the proof.
    authentication_classes = []
    parser_classes = [StrictJSONParser, FormParser]
    serializer_class = ExchangeSerializer
    queryset = Token.objects.none()

    def check_limits(self, request: Request) -> None:
        wait = exchange.FROM_ADDRESS.take(neighborhood(request._request))
        if wait is not None:
            raise Throttled(wait)

    @extend_schema(
        operation_id="token_exchange",
        request={"application/json": ExchangeBody},
        responses={
            200: ExchangeSerializer,
            **dict.fromkeys((400, 403, 406, 413, 415, 429, 503), ExchangeErrorSerializer),
        },
    )
    @method_decorator(sensitive_variables())
    def exchange(self, request: Request) -> Response:
        """A job of GitHub Actions, GitLab CI or another trusted system sends the JWT that the system gave to it, and
        gets a token that ends in at most an hour (RFC 8693).

        The body can also be a form (`application/x-www-form-urlencoded`), as OAuth clients send it. Errors have the
        shape of OAuth: `error` and `error_description`."""
        body = self._body(request)
        made = exchange.exchange_token(
            encoded=body["subject_token"],
            wanted=body["scope"].split(),
            organization=body["audience"],
            request=request._request,
        )
        answer = {
            "access_token": made.signed_jwt,
            "issued_token_type": ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": made.seconds,
            "scope": made.token.scope,
        }
        return Response(answer, headers=NEVER_KEPT)

    def _body(self, request: Request) -> dict[str, Any]:
        data: Any = request.data
        if hasattr(data, "lists"):
            if repeated := [name for name, values in data.lists() if len(values) > 1]:
                raise ValidationError({name: ["This parameter is given twice."] for name in repeated})
            data = data.dict()
        if isinstance(given := data.get("grant_type"), str) and given != GRANT_TYPE:
            raise UnsupportedGrant
        serializer = ExchangeBody(data=data)
        serializer.is_valid(raise_exception=True)
        body: dict[str, Any] = serializer.validated_data
        return body

    def handle_exception(self, exc: Exception) -> Response:
        """Errors in the shape of OAuth, with the status and the headers that they have elsewhere."""
        if isinstance(exc, exchange.ExchangeRefused):
            is_temporary = exc.error == exchange.UNAVAILABLE
            headers = NEVER_KEPT | ({"Retry-After": "60"} if is_temporary else {})
            return _error(exc.error, exc.description, status=503 if is_temporary else 400, headers=headers)
        response = super().handle_exception(exc)
        if response.status_code < 400 or not isinstance(response.data, dict):
            return response
        error = "invalid_request"
        if isinstance(exc, UnsupportedGrant):
            error = "unsupported_grant_type"
        elif response.status_code in {429, 503}:
            error = exchange.UNAVAILABLE
        headers = {name: response.headers[name] for name in ("Retry-After", "Allow") if name in response.headers}
        said = _words(response.data)
        return _error(error, said, status=response.status_code, headers={**headers, **NEVER_KEPT})


class UnsupportedGrant(APIException):
    status_code = 400
    default_detail = f"grant_type must be {GRANT_TYPE}."


def _error(error: str, description: str, *, status: int, headers: dict[str, str]) -> Response:
    body = {"error": error, "error_description": without_tokens(description)}
    response = Response(body, status=status, headers=headers, content_type="application/json")
    response.problem_code = error  # type: ignore[attr-defined]
    return response


def _words(problem: dict[str, Any]) -> str:
    """The sentences of a problem document."""
    errors = problem.get("errors") or {}
    return " ".join(f"{name}: {' '.join(texts)}" for name, texts in errors.items()) or str(problem.get("detail", ""))
