from allauth.account.adapter import DefaultAccountAdapter
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.urls import reverse

from opsera_portal.request_context import client_address


class PortalAccountAdapter(DefaultAccountAdapter):
    """allauth with this portal's rules: nobody signs themselves up, and addresses come from trusted proxies only."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        address = client_address(request)
        if address is None:
            raise PermissionDenied("The address of the caller is not known.")
        return address

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        if request.user.is_authenticated and request.user.is_superuser:
            return reverse("admin:index")
        return reverse("overview")
