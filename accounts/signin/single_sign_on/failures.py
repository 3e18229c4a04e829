"""Failed sign-ins with the provider: the cause for the server's log, and advice for the person."""

import json
import logging
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast

import requests
import urllib3
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_noop

from accounts.models import OrganizationProvider
from accounts.signin.single_sign_on.provider import Provider
from core.http.tls import TrustingAdapter

logger = logging.getLogger(__name__)

# Codes of RFC 6749 section 4.1.2.1 and OpenID Connect Core section 3.1.2.6 after which another try may succeed.
TRY_AGAIN_CODES = {"login_required", "interaction_required", "account_selection_required", "consent_required"}
AWAY_CODES = {"server_error", "temporarily_unavailable"}
# Discovery documents, keys, tokens and user info are far smaller.
ANSWER_LIMIT_BYTES = 1024 * 1024
ANSWER_LIMIT_SECONDS = 15.0


class Advice(StrEnum):
    """Texts for the person, translated where they are shown. Each says whether to try again, and whom to ask."""

    AGAIN = gettext_noop(
        "The sign-in took longer than 10 minutes, was started in another browser or window, or was already completed. "
        "Sign in again."
    )
    AWAY = gettext_noop(
        "The sign-in provider does not answer correctly at the moment. Try again in a few minutes. If it fails again, "
        "tell the operator of this portal."
    )
    OPERATOR = gettext_noop(
        "The settings of this portal and of the sign-in provider do not match. Trying again does not help: tell the "
        "operator of this portal."
    )
    ADMINISTRATOR = gettext_noop(
        "The settings of your organization's single sign-on do not match those of the sign-in provider. Trying again "
        "does not help: tell an Administrator of your organization, who sees the cause under Organization, Single "
        "sign-on."
    )


class SignInFailure(OAuth2Error):
    """``cause`` is for the operator. It contains no secret, and quotes what the provider sent."""

    def __init__(self, cause: str, advice: Advice = Advice.OPERATOR) -> None:
        super().__init__(cause)
        self.cause = cause
        self.advice = advice


def fetch(provider: Provider, what: str, method: str, url: str, **options: Any) -> dict[str, Any]:
    """The JSON object in the provider's answer. Raises ``SignInFailure``. ``what`` names the address in errors.

    For an organization's provider, only hosts that the operator allows are reached: redirects are not followed, and
    the length of answers and the time for them are limited.
    """
    if not provider.may_reach(url):
        raise SignInFailure(f"{what} {_without_query(url)} is on a host that OIDC_ORGANIZATION_HOSTS does not allow")
    try:
        with get_adapter().get_requests_session() as session:
            if url.startswith("https:"):
                session.mount("https://", TrustingAdapter())
            if provider.row is not None:
                options |= {"allow_redirects": False, "stream": True}
            until = time.monotonic() + ANSWER_LIMIT_SECONDS
            answer = session.request(method, url, **options)
            if provider.row is not None:
                _read_some(answer, until=until)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        # Every error of `requests` is an OSError.
        raise SignInFailure(f"{what} {_without_query(url)}: {_reason(error)}", _advice_for(error)) from None
    body = _json_of(answer)
    if answer.status_code not in {200, 201}:
        said = oauth_error(body) if isinstance(body, dict) else ""
        advice = Advice.AWAY if answer.status_code >= 500 or answer.status_code == 429 else Advice.OPERATOR
        raise SignInFailure(f"{what} {_without_query(url)} answers {answer.status_code}{said}", advice)
    if not isinstance(body, dict):
        kind = answer.headers.get("Content-Type", "no type")
        raise SignInFailure(f"{what} {_without_query(url)} did not answer with a JSON object, but with {quoted(kind)}")
    return cast(dict[str, Any], body)


def tell_failure(request: HttpRequest, cause: str, provider: Provider | None = None) -> None:
    """Writes the line about a failed sign-in to the server's log, and for an organization's provider to its page."""
    logger.warning("Single sign-on failed: %s; request %s", cause, getattr(request, "request_id", None))
    if provider is not None and provider.row is not None:
        rows = OrganizationProvider.objects.filter(pk=provider.row.pk)
        rows.update(last_failure=cause[:500], last_failure_at=timezone.now())


def oauth_error(said: Any) -> str:
    """The code and the description of an OAuth error, quoted from the provider."""
    parts = [f"{name} {quoted(said[name])}" for name in ("error", "error_description") if said.get(name)]
    return f": {', '.join(parts)}" if parts else ""


def advice_for_code(code: str) -> Advice:
    if code in TRY_AGAIN_CODES:
        return Advice.AGAIN
    return Advice.AWAY if code in AWAY_CODES else Advice.OPERATOR


def quoted(text: object) -> str:
    """Text from outside in quotes, so that it can't be mistaken for ours. At most 200 characters."""
    return json.dumps(str(text)[:200], ensure_ascii=True)


def moment(seconds: object) -> str:
    """A time from a token as ISO 8601; quoted if it is not a time."""
    try:
        return datetime.fromtimestamp(float(cast(Any, seconds)), UTC).isoformat(timespec="seconds")
    except (ValueError, TypeError, OverflowError, OSError):
        return quoted(seconds)


def _read_some(answer: requests.Response, *, until: float) -> None:
    """Reads the answer up to the limit; a longer one is no JSON then. Raises ``requests.Timeout`` after ``until``.

    Each read returns what is there: the timeout of a socket begins again with every byte.
    """
    content = b""
    try:
        while part := answer.raw.read1(64 * 1024, decode_content=True):
            content += part
            if len(content) > ANSWER_LIMIT_BYTES:
                content = b""
                break
            if time.monotonic() > until:
                raise requests.Timeout
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from None
    answer._content = content


def _without_query(url: str) -> str:
    return quoted(url.partition("?")[0])


def _json_of(answer: requests.Response) -> object:
    try:
        found: object = answer.json()
    except (ValueError, RecursionError):
        return None
    return found


def _advice_for(error: BaseException) -> Advice:
    if isinstance(error, requests.exceptions.SSLError) or not isinstance(error, requests.exceptions.RequestException):
        return Advice.OPERATOR
    return Advice.AWAY if isinstance(error, (requests.ConnectionError, requests.Timeout)) else Advice.OPERATOR


def _reason(error: BaseException) -> str:
    """The innermost error in words: `requests` wraps it several times."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    innermost = list(_chain(error))[-1]
    if isinstance(innermost, ssl.SSLCertVerificationError):
        return f"TLS: {innermost.verify_message} (for an authority of your own, see SSL_CERT_FILE)"
    if isinstance(innermost, ssl.SSLError):
        return f"TLS: {innermost.reason or innermost}"
    return str(getattr(innermost, "strerror", None) or innermost or type(innermost).__name__)[:200]


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        inside = [getattr(current, "reason", None), *current.args, current.__cause__, current.__context__]
        current = next((each for each in inside if isinstance(each, BaseException)), None)
