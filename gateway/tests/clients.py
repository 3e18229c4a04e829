"""Sends requests to the endpoints of OAuth as services do."""

import base64
from urllib.parse import quote_plus, urlencode

FORM = "application/x-www-form-urlencoded"


def basic(service, secret):
    pair = f"{quote_plus(str(service.pk))}:{quote_plus(secret)}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def send(api, address, form, headers=None):
    body = form if isinstance(form, str | bytes) else urlencode(form)
    return api.generic("POST", address, body, content_type=FORM, headers=headers or {})


def oauth_error(answer):
    body = answer.json()
    assert set(body) == {"error", "error_description"}
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status_code, body["error"]
