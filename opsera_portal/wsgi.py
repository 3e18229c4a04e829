"""The WSGI application that the web server loads: `opsera_portal.wsgi:application`."""

import gc
import os
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsera_portal.settings")

from core.http import request_bodies

# What a start creates stays, so a search for garbage among it costs time and finds nothing: neither now nor later.
gc.disable()
_portal = get_wsgi_application()
# Django would import the views with the first requests. If several arrive at the same time, a thread can get a module
# that another thread has not finished importing.
import_module(settings.ROOT_URLCONF)
gc.freeze()
gc.enable()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """The portal. Removes a malformed `Content-Type`: Django would fail before it has a request, and nothing could
    answer."""
    if environ.get("CONTENT_TYPE"):
        try:
            parse_header_parameters(environ["CONTENT_TYPE"])
        except ValueError:
            environ["CONTENT_TYPE"] = ""
    request_bodies.collect_body(environ)
    with request_bodies.TURN_TO_WORK:
        return _portal(environ, start_response)
