"""Lets people with some site roles sign in, and use their sessions, only from their organization's networks.

The policy names the networks and the roles. Operators belong to no organization, so nothing keeps them out: they can
repair a policy in Django admin.
"""

from collections.abc import Callable
from typing import ClassVar

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext

from accounts.models import User
from auditlog.actions import Action
from auditlog.record import record
from core.api.problems import problem_response
from core.errors import DomainError
from core.http.open_views import is_open_to_everybody
from core.http.request_context import client_address, is_api, person_of

CODE = "sign_in_network"
# In the session: the address from which it was last refused. So each address is in the log once, however many requests
# a page sends.
REFUSED_FROM = "refused_from"


class OutsideNetworks(DomainError):
    """The person can't sign in from this address."""

    status = 403
    code = CODE

    def __init__(self, person: User, address: str | None) -> None:
        super().__init__(_explanation(person, address))


def is_outside(person: User, address: str | None) -> bool:
    organization = person.organization
    return organization is not None and not organization.lets_sign_in(person.site_role, address)


def check_sign_in(person: User, request: HttpRequest, *, methods: list[str]) -> None:
    """Call it when the person has proved who they are, so that nobody else learns about the policy.

    Call it outside of a transaction that the error would roll back, because the refusal is written to the activity log.
    ``methods``: how they proved it. Raises ``OutsideNetworks``.
    """
    address = client_address(request)
    if is_outside(person, address):
        record(actor=person, action=Action.SIGN_IN_REFUSED, target=person, request=request, methods=methods)
        raise OutsideNetworks(person, address)


class SignInNetworksMiddleware:
    """Refuses sessions that are used from outside. They work again from inside."""

    OPEN: ClassVar[set[str]] = {"account_logout"}

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., HttpResponseBase], args: object, kwargs: object
    ) -> HttpResponseBase | None:
        match = request.resolver_match
        if match is None or match.view_name in self.OPEN or is_open_to_everybody(view):
            return None
        if not request.user.is_authenticated:
            return None
        person, address = person_of(request), client_address(request)
        if not is_outside(person, address):
            return None
        _record_session(person, request, address)
        return _refusal(request, _explanation(person, address))


def _record_session(person: User, request: HttpRequest, address: str | None) -> None:
    if request.session.get(REFUSED_FROM) == str(address):
        return
    record(actor=person, action=Action.SESSION_REFUSED, target=person, request=request)
    request.session[REFUSED_FROM] = str(address)


def _explanation(person: User, address: str | None) -> str:
    return gettext(
        "You are at %(address)s. People with the site role %(role)s can use the portal only from their organization's "
        "networks. Connect to one of them, for example by VPN, and try again. If you think that this is wrong, ask an "
        "Administrator of your organization."
    ) % {"address": address or gettext("an unknown address"), "role": person.get_site_role_display()}


def _refusal(request: HttpRequest, explanation: str) -> HttpResponseBase:
    if is_api(request):
        return problem_response(request, 403, explanation, CODE)
    return render(request, "account/outside_networks.html", {"explanation": explanation}, status=403)
