"""Addresses and cookies on the host of a service, where people open it in the browser.

The proxy in front of the service passes `/.portal/...` to the portal (`gateway/views/sessions.py`). Everything is
built from the registered address of the service, never from what a request says.
"""

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode, urlsplit

from django.http.response import HttpResponseBase

from core.setting_readers import LOOPBACK_NAMES
from gateway.models import Service

PREFIX = "/.portal/"
NONCE_COOKIE, SESSION_COOKIE = "portal-start", "portal-service"
_HOST_ONLY = "__Host-"
SESSION_COOKIE_NAMES = (SESSION_COOKIE, f"{_HOST_ONLY}{SESSION_COOKIE}")
# So that the page of the portal fits into `next` of the sign-in page, where it is encoded once more.
_LONGEST = 1200
_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")


def origin_of(service: Service) -> str:
    """Scheme, host and port of its address; empty if people can't open it: browsers keep the cookie secret only over
    https."""
    parts = urlsplit(service.address)
    is_private = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))
    return f"{parts.scheme}://{parts.netloc}" if is_private and parts.netloc else ""


def _is_loopback(host: str) -> bool:
    """Whether requests to this host stay on the machine: also the other addresses of 127.0.0.0/8."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK_NAMES


def first_path_of(service: Service) -> str:
    return path_on_service(urlsplit(service.address).path)


def path_on_service(then: str) -> str:
    """``then`` if it is a path of the service, with or without a query; otherwise its first page. So no address leads
    to another host."""
    is_path = _PATH.fullmatch(then) is not None and not then.startswith(PREFIX)
    return then if is_path and len(quote(then)) <= _LONGEST else "/"


def start_path(then: str) -> str:
    """Where the browser is sent on the service's host to sign in."""
    return f"{PREFIX}start?{urlencode({'then': then}, safe='/')}"


def finish_url(service: Service, *, code: str, then: str) -> str:
    return f"{origin_of(service)}{PREFIX}finish?{urlencode({'code': code, 'then': then}, safe='/')}"


def cookie_name(service: Service, name: str) -> str:
    """With the prefix, browsers accept the cookie only from this host: no other host of its domain can plant one."""
    return name if origin_of(service).startswith("http:") else f"{_HOST_ONLY}{name}"


def cookie_of(service: Service, name: str, cookies: Mapping[str, str]) -> str:
    return cookies.get(cookie_name(service, name), "")


def set_cookie(response: HttpResponseBase, service: Service, name: str, value: str, *, max_age: int) -> None:
    full = cookie_name(service, name)
    secure = full.startswith(_HOST_ONLY)
    response.set_cookie(full, value, max_age=max_age, path="/", secure=secure, httponly=True, samesite="Lax")


def remove_cookie(response: HttpResponseBase, service: Service, name: str) -> None:
    response.delete_cookie(cookie_name(service, name), path="/", samesite="Lax")
