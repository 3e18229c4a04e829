"""What every answer tells the browser that gets it: pages, files, answers of the API, redirections and refusals."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

# Passkeys, and the copy buttons.
ALLOWED_FEATURES = ("clipboard-write", "publickey-credentials-create", "publickey-credentials-get")
DENIED_FEATURES = (
    "accelerometer",
    "autoplay",
    "camera",
    "clipboard-read",
    "display-capture",
    "encrypted-media",
    "fullscreen",
    "geolocation",
    "gyroscope",
    "hid",
    "identity-credentials-get",
    "idle-detection",
    "local-fonts",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "picture-in-picture",
    "screen-wake-lock",
    "serial",
    "storage-access",
    "usb",
    "window-management",
    "xr-spatial-tracking",
)

# Django's and django-csp's own middleware say the rest. What is said here holds unless an answer says otherwise itself.
HEADERS = {
    # Pages say what they need (CONTENT_SECURITY_POLICY). What says nothing is data: no browser is to run or frame it.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Permissions-Policy": ", ".join(
        [f"{name}=()" for name in DENIED_FEATURES] + [f"{name}=(self)" for name in ALLOWED_FEATURES]
    ),
    # No other site loads anything from here, and no page here loads anything from elsewhere.
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    # Only what is the same for everyone, files and public keys, says that it may be kept.
    "Cache-Control": "no-store",
}


class BrowserProtectionMiddleware:
    """Stands around all others, so that an answer that any of them gives by itself is protected as well."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response
