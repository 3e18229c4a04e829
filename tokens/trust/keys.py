"""The public keys of issuers that trust rules name, found by OpenID Connect Discovery and kept for an hour.

An issuer is only asked if a rule names it. Administrators choose issuers, so each call goes through the fence
(`core.http.fenced_call`), and only to hosts in OIDC_ORGANIZATION_HOSTS if the operator lists some.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
from django.conf import settings
from django.core.cache import cache

from accounts.signin.single_sign_on.provider import is_allowed
from core.http import fenced_call
from core.rate_limits import Limit
from core.setting_readers import is_issuer

logger = logging.getLogger(__name__)

KEPT_SECONDS = 60 * 60
# An unknown key id makes the portal fetch the keys again, for each issuer at most once in this time.
AGAIN_SECONDS = 60
# Also counts failures, so that an issuer that doesn't answer can't hold up many requests.
FETCHES = Limit("trust-issuer", amount=5, seconds=60)
LIMIT_BYTES = 128 * 1024
MOST_KEYS = 50

Key = Mapping[str, Any]


class KeysUnavailable(Exception):
    """The message is for the activity log."""


def may_ask(address: str) -> bool:
    """Whether the portal may send a request to this address of an issuer."""
    return is_issuer(address) and (not settings.OIDC_ORGANIZATION_HOSTS or is_allowed(address))


def find_key(issuer: str, key_id: str | None) -> Key | None:
    """``None`` if the issuer has no such key. Raises ``KeysUnavailable``."""
    name = f"trust-keys:{hashlib.sha256(issuer.encode()).hexdigest()[:40]}"
    kept = cache.get(name)
    if kept is not None:
        found = _chosen(kept, key_id)
        # The marker is there since the last fetch: nobody can make the portal ask more often with invented ids.
        if found is not None or not cache.add(f"{name}:again", 1, AGAIN_SECONDS):
            return found
    if FETCHES.take(issuer) is not None:
        raise KeysUnavailable("The portal requested the keys of the issuer too often in a short time.")
    keys = _fetch(issuer)
    cache.set(name, keys, KEPT_SECONDS)
    cache.add(f"{name}:again", 1, AGAIN_SECONDS)
    return _chosen(keys, key_id)


def _chosen(keys: list[dict[str, Any]], key_id: str | None) -> Key | None:
    """The key with this id. Without an id, the only key."""
    fitting = [key for key in keys if key.get("kid") == key_id or (key_id is None and len(keys) == 1)]
    return fitting[0] if fitting else None


def _fetch(issuer: str) -> list[dict[str, Any]]:
    config = _document(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    # OpenID Connect Discovery 1.0 section 4.3.
    if config.get("issuer") != issuer:
        raise KeysUnavailable("The issuer's discovery document names another issuer.")
    address = config.get("jwks_uri")
    if not isinstance(address, str) or urlsplit(address).scheme != urlsplit(issuer).scheme:
        raise KeysUnavailable("The issuer's discovery document has no usable jwks_uri.")
    keys = _document(address).get("keys")
    if not isinstance(keys, list) or len(keys) > MOST_KEYS:
        raise KeysUnavailable("The issuer's keys can't be read.")
    return [key for key in keys if isinstance(key, dict) and key.get("use", "sig") == "sig"]


def _document(address: str) -> dict[str, Any]:
    if not may_ask(address):
        raise KeysUnavailable("The issuer names an address that the portal may not call.")
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "Opsera-Portal"}
    try:
        fenced_call.check_url(address)
        request = httpx.Request("GET", address, headers={**headers, "Connection": "close"})
        response, body = fenced_call.send(request, limit=LIMIT_BYTES, caller="trust rules")
        found = json.loads(body) if response.status_code == 200 and len(body) <= LIMIT_BYTES else None
    except fenced_call.CallFailed as error:
        raise KeysUnavailable(str(error)[:300]) from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise KeysUnavailable("The issuer didn't answer with its discovery document or its keys.")
    return found
