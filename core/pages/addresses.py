"""Addresses of this portal's own pages: of a row, where a redirect can lead, and which page a form was on."""

import uuid
from functools import cache
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.urls import Resolver404, ResolverMatch, get_script_prefix, resolve, reverse
from django.utils.http import url_has_allowed_host_and_scheme

from core.http.request_context import printable

# Steps of signing in and out: no redirect leads back to them.
SIGN_IN_STEPS = frozenset(
    {
        "account_login",
        "account_logout",
        "account_inactive",
        "account_reauthenticate",
        "admin:login",
        "admin:logout",
        "mfa_authenticate",
        "mfa_login_webauthn",
        "mfa_reauthenticate",
        "mfa_reauthenticate_webauthn",
        "organization_sign_on",
        "organization_sign_on_callback",
        "single_sign_on",
        "single_sign_on_again",
        "single_sign_on_callback",
        "socialaccount_login_cancelled",
    }
)
# These answer GET, but are not pages.
NO_PAGES = SIGN_IN_STEPS | {"admin:jsi18n", "favicon", "healthz", "readyz", "robots"}
MAX_LENGTH = 2048


def address_of(view_name: str, row_id: uuid.UUID) -> str:
    """The same as `reverse` for a page with one id, in a tenth of the time: tables have such a link in each row."""
    before, after = _around_id(view_name, get_script_prefix())
    return f"{before}{row_id}{after}"


@cache
def _around_id(view_name: str, script_prefix: str) -> tuple[str, str]:
    """The parts of the address before and after the id."""
    no_row = str(uuid.UUID(int=0))
    before, _, after = reverse(view_name, args=[no_row]).partition(no_row)
    return before, after


def local_page(request: HttpRequest, address: str) -> str | None:
    """Path and query of a page of this portal; ``None`` for other addresses and for views that don't answer GET."""
    if not address or len(address) > MAX_LENGTH or printable(address) != address:
        return None
    hosts = {request.get_host(), *(urlsplit(origin).netloc for origin in settings.CSRF_TRUSTED_ORIGINS)}
    if not url_has_allowed_host_and_scheme(address, hosts, require_https=request.is_secure()):
        return None
    url = urlsplit(address)
    if not url.path.startswith("/") or not is_page(url.path):
        return None
    return f"{url.path}?{url.query}" if url.query else url.path


def back_to(request: HttpRequest, default: str) -> str:
    """Where to redirect after an action: to ``next`` of the request, such as a list with its filters, if that is a page
    of this portal, otherwise to ``default``."""
    given = request.POST.get("next") or request.GET.get("next") or ""
    return local_page(request, given) or default


def is_page(path: str) -> bool:
    """Whether a person can open this address."""
    match = match_of(path)
    return (
        match is not None
        and match.view_name not in NO_PAGES
        and not path.startswith(("/api/v1", "/scim/v2"))
        and _is_page_view(match)
    )


def page_above(path: str) -> str:
    """The nearest page above an address, such as the page of the pipeline for its Run button."""
    while path != "/":
        path = path[: path.rstrip("/").rfind("/") + 1]
        if is_page(path):
            break
    return path


def page_of_form(request: HttpRequest, *, keeps_its_own: bool) -> str:
    """The page that the form of this POST was on.

    The browser sends it as ``Referer``. A form can be in a dialog above another page (assets/js/dialog.js); with
    ``keeps_its_own``, the form's own page is preferred in that case.
    """
    referer = local_page(request, request.headers.get("Referer", ""))
    if is_page(request.path):
        if referer and (not keeps_its_own or urlsplit(referer).path == request.path):
            return referer
        return request.get_full_path()
    return referer or page_above(request.path)


def match_of(path: str) -> ResolverMatch | None:
    try:
        return resolve(path)
    except Resolver404:
        return None


def is_same_origin(request: HttpRequest) -> bool:
    """Whether a page of this portal sent this request, according to the browser. False if the browser doesn't say."""
    origin = request.headers.get("Origin")
    if origin is None:
        referer = urlsplit(request.headers.get("Referer", ""))
        origin = f"{referer.scheme}://{referer.netloc}"
    return origin in {f"{request.scheme}://{request.get_host()}", *settings.CSRF_TRUSTED_ORIGINS}


def _is_page_view(match: ResolverMatch) -> bool:
    view = getattr(match.func, "view_class", None)
    if view is None:
        return True
    return hasattr(view, "get") and "get" in view.http_method_names and not getattr(view, "is_part_of_page", False)
