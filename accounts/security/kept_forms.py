"""Keeps what a person typed into a form that could not be processed, and fills it in when they come back.

This happens if the session had ended, if the person signed in again in another tab, which changes the CSRF token, or if
the portal first asks again who is there. The typed values are stored for one person for an hour, encrypted, and filled
into the page that the person returns to (``?kept=`` and an id). Secrets are never kept.
"""

import json
import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch, reverse
from django.utils import timezone
from django.utils.html import escape
from django.utils.translation import gettext, gettext_lazy, pgettext
from django_htmx.http import HttpResponseClientRedirect

from accounts.signin.last_person import last_person
from core.encryption import SecretUnreadable, ShortLivedBox
from core.http.request_context import is_api
from core.models import KeptForm
from core.pages import errors
from core.pages.addresses import SIGN_IN_STEPS, is_page, is_same_origin, local_page, match_of, page_above, page_of_form
from core.pages.form_filling import fill

KEPT_FOR = timedelta(hours=1)
# For one person: about one for each tab. More replace the oldest.
KEPT_AT_MOST = 10
MAX_BYTES = 128 * 1024
PARAMETER = "kept"

# Fields that are never kept: these, and all whose name sounds like a secret.
SECRET_FIELDS = frozenset({"token", "tokens", "code", "key"})
_SECRET_NAME = re.compile(r"passw|secret|credential", re.IGNORECASE)
# Fields that the page of the form creates again.
_OF_THE_PAGE = frozenset({"csrfmiddlewaretoken", REDIRECT_FIELD_NAME, "submission", "browser_time_zone"})

# Pages that ask people who they are.
ASKS_TO_SIGN_IN = frozenset({"account_login", "admin:login"})
ASKS_AGAIN = frozenset({"account_reauthenticate", "mfa_reauthenticate", "mfa_reauthenticate_webauthn"})

# Forms of people who are not signed in.
OPEN_FORMS = frozenset(
    {"account_login", "account_reset_password", "account_reset_password_from_key", "accounts:invitation"}
)

# Placeholder for the label of the form's button, which is known only after the page is rendered.
_BUTTON = "\ue000button\ue000"
ENDED = gettext_lazy("Your session ended before this was saved. Check it and press %(button)s again.")
ENDED_NOTHING_TYPED = gettext_lazy(
    "Your session ended, so nothing was done. Press %(button)s again if you still want it."
)
ASKED = gettext_lazy("Thank you. Nothing is saved yet: check it and press %(button)s again.")
ASKED_NOTHING_TYPED = gettext_lazy("Thank you. Nothing is done yet: press %(button)s again.")
FORM_IS_GONE = gettext_lazy(
    "Your session ended before this was saved, so nothing was done. The form is no longer on this page."
)
ASKED_FORM_IS_GONE = gettext_lazy("Thank you. Nothing was done, because the form is no longer on this page.")
OPEN_TOO_LONG = gettext_lazy(
    "This page was open for too long, so nothing was done. Check it and press %(button)s again."
)

_box = ShortLivedBox("kept forms")

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class KeptFormsMiddleware:
    """Keeps what was typed if a POST is answered by asking who is there, and fills it in when the person is back.

    Also makes sure that people return to a whole page, not to an address that only answers POST or to a part of a page.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if is_api(request):
            return self.get_response(request)
        kept_id = _remove_from_the_address(request) if request.method == "GET" and PARAMETER in request.GET else ""
        kept = _kept_for(request, kept_id) if kept_id else None
        if kept:
            # Shown by templates/includes/messages.html.
            request.kept_form_says = _sentence(kept)  # type: ignore[attr-defined]
        response = self.get_response(request)
        if response.status_code == 405 and not getattr(response, "content", b""):
            return _method_not_allowed(request, response)
        if asks := _asks_who_is_there(response):
            response = _come_back(request, response, asks)
        return _filled(request, response, kept) if kept else response


def _method_not_allowed(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    is_button = request.method == "GET"
    page = request.path if is_page(request.path) and not is_button else page_above(request.path)
    return errors.method_not_allowed(request, response, page, is_button=is_button)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    """Brings a form of the portal with an old CSRF token back, filled in. It is not processed.

    Requests from other sites, or from an unknown origin, get the plain error: what another site sends must never appear
    in a form of the portal.
    """
    if is_api(request) or not is_same_origin(request):
        return errors.csrf_failure(request, reason)
    match = request.resolver_match
    if match is None:
        return errors.csrf_failure(request, reason)
    if match.view_name in OPEN_FORMS and not request.user.is_authenticated:
        return _again(request, match)
    if match.view_name in SIGN_IN_STEPS and match.view_name != "account_logout":
        return _sign_in_again(request, match.view_name)
    page = _page_with_kept(request, is_ended=True)
    if request.user.is_authenticated:
        return _see_other(page)
    return _see_other(f"{reverse('account_login')}?{urlencode({REDIRECT_FIELD_NAME: page})}")


def forget_old(stopping: threading.Event) -> None:
    KeptForm.objects.filter(kept_at__lt=timezone.now() - KEPT_FOR).delete()


# Keeping


@dataclass(frozen=True)
class Kept:
    """``action``: the path that the form was sent to. ``is_ended``: the session had ended; otherwise the person was
    asked again who they are."""

    action: str
    typed: dict[str, list[str]]
    is_ended: bool


def is_secret(name: str) -> bool:
    return name in SECRET_FIELDS or _SECRET_NAME.search(name) is not None


def _typed(request: HttpRequest) -> dict[str, list[str]]:
    try:
        post = request.POST
    except (RequestDataTooBig, TooManyFieldsSent):
        return {}
    return {name: post.getlist(name) for name in post if name not in _OF_THE_PAGE and not is_secret(name)}


def _page_with_kept(request: HttpRequest, *, is_ended: bool) -> str:
    """The address of the form's page, with the id of what is kept."""
    typed = _typed(request)
    page = page_of_form(request, keeps_its_own=bool(typed))
    known = last_person(request)
    person_id = str(request.user.pk) if request.user.is_authenticated else known.id if known else ""
    if not person_id:
        return page
    kept_id = _keep(person_id, Kept(request.path, typed, is_ended))
    return _with_kept(page, kept_id) if kept_id else page


def _keep(person_id: str, kept: Kept) -> str | None:
    text = json.dumps(asdict(kept))
    if len(text) > MAX_BYTES:
        return None
    row = KeptForm(person_id=uuid.UUID(person_id))
    row.sealed = _box.encrypt(text, _context(row))
    row.save(force_insert=True)
    older = KeptForm.objects.filter(person_id=row.person_id).order_by("-kept_at", "-pk")
    KeptForm.objects.filter(pk__in=list(older.values_list("pk", flat=True)[KEPT_AT_MOST:])).delete()
    return row.pk.hex


def _remove_from_the_address(request: HttpRequest) -> str:
    """Removes the parameter from the request, so that views and links on the page don't see it."""
    query = request.GET.copy()
    kept_id = str(query.pop(PARAMETER)[-1])
    request.GET = query  # type: ignore[assignment]
    request.META["QUERY_STRING"] = query.urlencode()
    return kept_id


def _kept_for(request: HttpRequest, kept_id: str) -> Kept | None:
    if not request.user.is_authenticated:
        return None
    try:
        pk = uuid.UUID(kept_id)
    except ValueError:
        return None
    since = timezone.now() - KEPT_FOR
    row = KeptForm.objects.filter(pk=pk, person_id=request.user.pk, kept_at__gt=since).first()
    if row is None:
        return None
    try:
        return Kept(**json.loads(_box.decrypt(row.sealed, _context(row))))
    except SecretUnreadable:
        return None


def _context(row: KeptForm) -> tuple[str, ...]:
    """Binds the encrypted values to the row and the person: moved to another row, they don't decrypt."""
    return row.pk.hex, str(row.person_id)


# Coming back


def _asks_who_is_there(response: HttpResponseBase) -> str:
    """The name of the view that a redirect leads to, if it asks who is there; "" otherwise, for example after signing
    out."""
    if response.status_code != 302:
        return ""
    url = urlsplit(response["Location"])
    match = None if url.netloc else match_of(url.path)
    if match is None:
        return ""
    comes_back = any(name == REDIRECT_FIELD_NAME for name, _ in parse_qsl(url.query))
    if match.view_name in ASKS_AGAIN or (match.view_name in ASKS_TO_SIGN_IN and comes_back):
        return str(match.view_name)
    return ""


def _come_back(request: HttpRequest, response: HttpResponseBase, asks: str) -> HttpResponseBase:
    match = request.resolver_match
    if match is None:
        return response
    if match.view_name in SIGN_IN_STEPS:
        # Return to where the person was going, not to the step itself.
        page = local_page(request, (request.POST or request.GET).get(REDIRECT_FIELD_NAME, ""))
    elif "HX-Request" in request.headers:
        page = local_page(request, request.headers.get("HX-Current-URL", "")) or page_above(request.path)
        # A part of a page would show the sign-in form inside the page.
        return HttpResponseClientRedirect(_with_next(response["Location"], page))
    elif request.method == "POST":
        page = _page_with_kept(request, is_ended=asks in ASKS_TO_SIGN_IN)
    else:
        page = None if is_page(request.path) else page_above(request.path)
    if page:
        response["Location"] = _with_next(response["Location"], page)
    return response


def _sentence(kept: Kept) -> str:
    if kept.is_ended:
        said = ENDED if kept.typed else ENDED_NOTHING_TYPED
    else:
        said = ASKED if kept.typed else ASKED_NOTHING_TYPED
    return said % {"button": _BUTTON}


def _filled(request: HttpRequest, response: HttpResponseBase, kept: Kept) -> HttpResponseBase:
    if not isinstance(response, HttpResponse) or not response.get("Content-Type", "").startswith("text/html"):
        return response
    filled = fill(response.text, path=request.path, action=kept.action, typed=kept.typed)
    if not filled.is_found and kept.typed:
        is_gone = FORM_IS_GONE if kept.is_ended else ASKED_FORM_IS_GONE
        response.content = filled.html.replace(escape(_sentence(kept)), escape(str(is_gone)))
    else:
        quoted = gettext("“%(button)s”") % {"button": filled.button}
        button = quoted if filled.button else pgettext("press … again", "the button")
        response.content = filled.html.replace(_BUTTON, escape(button))
    return response


def _again(request: HttpRequest, match: ResolverMatch) -> HttpResponseBase:
    """Shows a page that is open to everyone as on a first visit, with what was typed filled in."""
    kept = Kept(request.path, _typed(request), is_ended=True)
    request.method = "GET"
    request.kept_form_says = OPEN_TOO_LONG % {"button": _BUTTON}  # type: ignore[attr-defined]
    response = match.func(request, *match.args, **match.kwargs)
    if hasattr(response, "render"):
        response = response.render()
    if response.status_code == 200:
        response.status_code = 403
    return _filled(request, response, kept)


def _sign_in_again(request: HttpRequest, view_name: str) -> HttpResponseBase:
    """If the person has signed in in another tab, goes where they were going. Otherwise the step starts again."""
    going = local_page(request, request.POST.get(REDIRECT_FIELD_NAME, ""))
    if request.user.is_authenticated and view_name not in ASKS_AGAIN:
        return _see_other(going or reverse("overview"))
    return _see_other(_with_next(request.path, going) if going else request.path)


def _with_next(location: str, page: str) -> str:
    url = urlsplit(location)
    query = QueryDict(url.query, mutable=True)
    query[REDIRECT_FIELD_NAME] = page
    return url._replace(query=query.urlencode(safe="/")).geturl()


def _with_kept(page: str, kept_id: str) -> str:
    url = urlsplit(page)
    query = QueryDict(url.query, mutable=True)
    query[PARAMETER] = kept_id
    return url._replace(query=query.urlencode(safe="/")).geturl()


def _see_other(address: str) -> HttpResponseRedirect:
    response = HttpResponseRedirect(address)
    response.status_code = 303
    return response
