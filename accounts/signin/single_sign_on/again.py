"""Asking people again who they are at their provider, with a sign-in that it can't answer from an old session.

The portal sends `prompt=login` and `max_age=0`, and checks when the person signed in there (`auth_time`, OpenID Connect
Core 1.0 section 3.1.2.1).
"""

import time
from typing import Any
from urllib.parse import urlencode

from allauth.socialaccount.models import SocialLogin
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext

from accounts.allauth_internals import AUTHENTICATION_METHODS_SESSION_KEY, record_authentication
from accounts.models import User
from accounts.signin.single_sign_on.failures import moment, tell_failure
from accounts.signin.single_sign_on.id_token import LEEWAY_SECONDS
from accounts.signin.single_sign_on.links import NotLinked, check_admits
from accounts.signin.single_sign_on.provider import METHOD, Provider
from auditlog.actions import Action
from auditlog.record import record

ALLAUTHS_METHOD = "socialaccount"
# What the request to the provider has, and what the session keeps for its answer.
PARAMETERS = {"prompt": "login", "max_age": "0"}


def state_for(person: User) -> dict[str, Any]:
    return {"again": str(person.pk), "asked_at": int(time.time())}


def is_again(login: SocialLogin) -> bool:
    return "again" in login.state


def prove(request: HttpRequest, login: SocialLogin, provider: Provider) -> HttpResponse:
    """The answer to a person whom the portal asked again: on to the next page, or a refusal.

    Nobody is signed in or out, and nothing but the proof is kept.
    """
    person, state = request.user, login.state
    then = state.get("next") or reverse("overview")
    if not isinstance(person, User) or str(person.pk) != state["again"]:
        messages.error(request, gettext("You were signed out in the meantime. Sign in again."))
        return HttpResponseRedirect(f"{reverse('account_login')}?{urlencode({'next': then})}")
    refused = _refusal(login, person, provider)
    if refused is None:
        names = {"provider": provider.id, "uid": login.account.uid}
        record_authentication(request, person, ALLAUTHS_METHOD, reauthenticated=True, **names)
        return HttpResponseRedirect(then)
    cause, said = refused
    tell_failure(request, cause, provider)
    record(actor=person, action=Action.SIGN_IN_FAILED, target=person, request=request, method=METHOD)
    messages.error(request, said)
    return HttpResponseRedirect(f"{reverse('account_reauthenticate')}?{urlencode({'next': then})}")


def date_proof(request: HttpRequest, claims: Any) -> None:
    """Dates the proof of a sign-in that has just ended to when the person really signed in at the provider.

    Otherwise, at a browser that was left open, signing out and in again would be a fresh proof without any question.
    """
    signed_in_at = _time_in(claims)
    if signed_in_at is None:
        return
    for entry in request.session.get(AUTHENTICATION_METHODS_SESSION_KEY, []):
        if entry["method"] == ALLAUTHS_METHOD and signed_in_at < entry["at"]:
            entry["at"] = signed_in_at
            request.session.modified = True


def _refusal(login: SocialLogin, person: User, provider: Provider) -> tuple[str, str] | None:
    """The cause for the operator, and what the person reads; ``None`` if they have proved who they are."""
    names = {"provider": provider.name}
    if not login.is_existing or login.user.pk != person.pk:
        said = gettext("At %(provider)s you signed in with another account. Sign in with the one that you use here.")
        return f"another identity than that of person {person.pk} answers", said % names
    try:
        check_admits(provider, person)
    except NotLinked as error:
        return error.cause, error.said
    signed_in_at = _time_in(login.identity.claims)
    if signed_in_at is None:
        said = gettext(
            "%(provider)s does not say when you signed in there, so this is no proof. Sign out, then sign in again."
        )
        return "the ID token has no auth_time", said % names
    if signed_in_at < login.state["asked_at"] - LEEWAY_SECONDS:
        said = gettext("%(provider)s did not ask you to sign in again, so this is no proof. Sign out there first.")
        return f"the person signed in at {moment(signed_in_at)} (auth_time), before the portal asked", said % names
    return None


def _time_in(claims: Any) -> float | None:
    found = claims.get("auth_time")
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None
