"""The door for the web server: granian loads `opsera_portal.wsgi:application`."""

import os
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsera_portal.settings")

from core.http import request_bodies

_portal = get_wsgi_application()
# Django would leave the views to the first requests. These come several at once, and threads that import the same
# modules from different ends can be handed one that is not complete yet.
import_module(settings.ROOT_URLCONF)


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """The portal. A `Content-Type` that cannot be read becomes none: Django would fail on it before it has a request,
    with nothing left that could answer."""
    try:
        parse_header_parameters(environ.get("CONTENT_TYPE", ""))
    except ValueError:
        environ["CONTENT_TYPE"] = ""
    request_bodies.collect_body(environ)
    with request_bodies.turn_to_work():
        return _portal(environ, start_response)
