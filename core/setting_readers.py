"""Readers of values from the environment: each takes a variable's name and its text, and returns a usable value.

For a wrong value they raise ``ImproperlyConfigured`` with one sentence that names the variable and says what to change.
opsera_portal/environment.py lists the variables.
"""

import ipaddress
import re
import secrets
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment

from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from core.files import private_opener, read_or_create_private

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SECONDS = {"s": 1, "m": 60, "h": 60 * 60, "d": 24 * 60 * 60}

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
_DEFAULT_PORTS = {"http": 80, "https": 443}
# By the scheme of EMAIL_URL: whether to use STARTTLS, whether TLS begins with the first byte, and the default port.
# RFC 8314 section 3.3: `smtps` means TLS from the first byte, on port 465.
_SMTP_SCHEMES = {
    "smtp": (False, False, 25),
    "smtp+tls": (True, False, 587),
    "smtp+starttls": (True, False, 587),
    "smtps": (False, True, 465),
    "smtp+ssl": (False, True, 465),
}
_OTHER_MAIL = {
    "consolemail": "django.core.mail.backends.console.EmailBackend",
    "filemail": "django.core.mail.backends.filebased.EmailBackend",
    "memorymail": "django.core.mail.backends.locmem.EmailBackend",
    "dummymail": "django.core.mail.backends.dummy.EmailBackend",
}
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z)({_LABEL}\.)*{_LABEL}")
_ADDRESS_LITERAL = re.compile(r"\[(IPv6:)?[0-9A-Fa-f.:]+\]")
# RFC 5321 and 5322 without quoted local parts and comments, which programs interpret differently.
_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@([A-Za-z0-9.-]{1,253}|\[[0-9A-Za-z.:]+\])")

# The characters of an origin (RFC 3986 section 3.2), none of which can end a header or a line.
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-_~\[\]:]+")


def data_directory(name: str, raw: str, *, default: Path) -> Path:
    """The directory for database, keys and secret key, which is created with mode 0700 if it is missing.

    Nobody else may be able to read or change an existing directory.
    """
    raw = raw or str(default)
    try:
        directory = Path(raw).expanduser().resolve()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ImproperlyConfigured(f"{name}: {raw!r} cannot be created ({why}).") from None
    _check_private(name, directory, 0o700)
    return directory


def signing_keys_directory(name: str, raw: str, *, default: Path) -> Path:
    """The directory of the keys that sign tokens. Nobody else may be able to read or change it or an existing key.

    ``default`` is in the data directory.
    """
    directory = Path(raw).expanduser().absolute() if raw else default
    for path, mode in [(directory, 0o700), *((key, 0o600) for key in sorted(directory.glob("*.pem")))]:
        if path.exists():
            _check_private(name if raw else "PORTAL_DATA_DIR", path, mode)
    return directory


def _check_private(name: str, path: Path, mode: int) -> None:
    """Raises ``ImproperlyConfigured`` if other users have rights on ``path``, which should have this mode."""
    if path.stat().st_mode & 0o077:
        raise ImproperlyConfigured(
            f"{name}: others can read or change {str(path)!r}, which must be for its owner only. Run chmod {mode:o} on "
            "it, and rotate the keys if someone may have read it."
        )


def private_file(name: str, path: Path) -> None:
    """Creates ``path`` with mode 0600 if it does not exist; SQLite would create a file that everyone can read.

    ``name`` is the variable that sets the path.
    """
    try:
        open(path, "ab", opener=private_opener).close()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}: {str(path)!r} cannot be written ({error.strerror}).") from None


def secret_key(name: str, key: str, *, directory: Path) -> str:
    """The given key, or one that is created at the first start and kept in the data directory."""
    if not key:
        try:
            key = read_or_create_private(directory / "secret-key", default=secrets.token_urlsafe(64)).strip()
        except OSError as error:
            raise ImproperlyConfigured(
                f"PORTAL_DATA_DIR: the secret key cannot be kept in {str(directory)!r} ({error.strerror})."
            ) from None
    if len(key) < 50:
        raise ImproperlyConfigured(f"{name} must have at least 50 characters.")
    return key


def long_secret(name: str, secret: str) -> str:
    """A secret of at least 32 characters, or "". The error does not repeat it."""
    if secret and len(secret) < 32:
        raise ImproperlyConfigured(f"{name} must have at least 32 characters.")
    return secret


def threads(name: str, raw: str) -> int:
    number = int(raw) if raw.isascii() and raw.isdecimal() and len(raw) < 4 else 0
    if not 1 <= number <= 128:
        raise ImproperlyConfigured(f"{name}: give a number from 1 to 128, not {raw!r}.")
    return number


def port(name: str, raw: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", raw) or not 1 <= int(raw) <= 65535:
        raise ImproperlyConfigured(f"{name} must be a port from 1 to 65535, not {raw!r}.")
    return int(raw)


def public_url(name: str, raw: str) -> str:
    """An http or https origin, without a path and without a slash at the end."""
    raw = raw.rstrip("/")
    try:
        parts = urlsplit(raw)
        well_formed = bool(_ORIGIN.fullmatch(raw)) and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        well_formed = False
    if not well_formed:
        raise ImproperlyConfigured(
            f"{name} must be an address like https://portal.example.com without a path, not {raw!r}."
        )
    return raw


_BROWSER_ORIGIN = re.compile(r"https?://([a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?")


def origin(url: str) -> str:
    """The origin of an address as browsers write it (RFC 6454): lower case, without the scheme's default port."""
    parts = urlsplit(url)
    host = bracketed(str(parts.hostname))
    port = "" if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def origins(name: str, raw: str, *, own: str) -> tuple[str, ...]:
    """Comma-separated origins of other sites, as browsers write them: ``https://app.example.com``.

    ``own`` is the portal's own origin, whose pages use cookies and must not be listed.
    """
    listed = tuple(part.strip() for part in raw.split(",")) if raw else ()
    for value in listed:
        if not _is_origin(value):
            raise ImproperlyConfigured(
                f"{name} must list origins like https://app.example.com, separated by commas: https (or http on this "
                "machine), in lower case, without a path and without *."
            )
        if value == own:
            raise ImproperlyConfigured(f"{name} must not list the portal's own origin, {own}.")
    return listed


def _is_origin(value: str) -> bool:
    try:
        parts = urlsplit(value)
        is_loopback = parts.hostname in {"127.0.0.1", "localhost", "::1"}
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback)
        return is_safe and bool(_BROWSER_ORIGIN.fullmatch(value)) and parts.port != 0 and origin(value) == value
    except (ValueError, KeyError):
        return False


def bracketed(host: str) -> str:
    """A host as URLs write it: IPv6 between brackets."""
    return f"[{host}]" if ":" in host else host


def contact(name: str, raw: str) -> str:
    """An address of a person or a page, as RFC 9116 writes it: ``mailto:...``, ``https://...`` or ``tel:...``."""
    if raw and not re.fullmatch(r"(mailto:[^@\s]+@|https://|tel:)[!-~]+", raw):
        raise ImproperlyConfigured(f"{name} must be like mailto:security@example.com or https://example.com/report.")
    return raw


def mail_server(name: str, raw: str) -> dict[str, Any]:
    """Django's settings for mail, from a URL like ``smtps://user:password@smtp.example.com``.

    User and password are percent-decoded. The error never repeats the value, which holds the password.
    """
    wrong = ImproperlyConfigured(
        f"{name} must be like smtps://user:password@smtp.example.com (TLS), smtp+tls://... (STARTTLS), smtp://host:25 "
        "or consolemail://. Percent-encode special characters in the user and the password."
    )
    raw = raw or "consolemail://"
    try:
        parts = urlsplit(raw)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise wrong from None
    config: dict[str, Any] = {"EMAIL_USE_TLS": False, "EMAIL_USE_SSL": False, "EMAIL_FILE_PATH": None}
    # urlsplit silently removes line breaks, so the value would change.
    if not raw.isprintable() or " " in raw:
        raise wrong
    if parts.scheme in _OTHER_MAIL:
        folder = unquote(parts.path).lstrip("/")
        if (parts.scheme == "filemail") != bool(folder) or parts.netloc or parts.query or parts.fragment:
            raise wrong
        return config | {
            "EMAIL_BACKEND": _OTHER_MAIL[parts.scheme],
            "EMAIL_FILE_PATH": f"/{folder}" if folder else None,
        }
    if parts.scheme not in _SMTP_SCHEMES:
        raise wrong
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    has_whole_sign_in = bool(user) == bool(password)
    if not host or port == 0 or not has_whole_sign_in or not (user + password).isprintable():
        raise wrong
    if not (_HOST_NAME.fullmatch(host) or ":" in host) or parts.path.strip("/") or parts.query or parts.fragment:
        raise wrong
    starttls, implicit_tls, usual_port = _SMTP_SCHEMES[parts.scheme]
    return config | {
        "EMAIL_BACKEND": "core.mail.smtp.SmtpBackend",
        "EMAIL_HOST": host,
        "EMAIL_PORT": port or usual_port,
        "EMAIL_HOST_USER": user,
        "EMAIL_HOST_PASSWORD": password,
        "EMAIL_USE_TLS": starttls,
        "EMAIL_USE_SSL": implicit_tls,
    }


def mail_sender(name: str, raw: str, *, default: str) -> str:
    """An address with an optional name: ``Opsera Portal <no-reply@example.com>``."""
    raw = raw.strip() or default
    named = re.fullmatch(r'("?)(?P<name>[^"<>]*)\1\s*<(?P<address>[^<>]*)>', raw)
    shown, address = (named["name"].strip(), named["address"]) if named else ("", raw)
    if not raw.isprintable() or len(raw) > 320 or not _MAILBOX.fullmatch(address):
        raise ImproperlyConfigured(
            f"{name} must be an address with an optional name, like Opsera Portal <no-reply@example.com>, not {raw!r}."
        )
    return f'"{shown}" <{address}>' if re.search(r"[^\w\s-]", shown) else f"{shown} <{address}>" if shown else address


def host_name(name: str, raw: str, *, default: str) -> str:
    """A name in the DNS, or an address in brackets (RFC 5321 section 4.1.3)."""
    raw = raw or default
    if not (_HOST_NAME.fullmatch(raw) or _ADDRESS_LITERAL.fullmatch(raw)):
        raise ImproperlyConfigured(f"{name} must be a name like portal.example.com, not {raw!r}.")
    return raw


def name_in_mail(host: str) -> str:
    """The host of a URL as mail writes it: an IP address is in brackets (RFC 5321 section 4.1.3)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return f"[{address}]" if address.version == 4 else f"[IPv6:{address}]"


def authorities(name: str, raw: str) -> str:
    """A file with further certificate authorities, which OpenSSL itself reads.

    OpenSSL would ignore a file that is missing or empty, and every connection would fail later.
    """
    if not raw:
        return raw
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=raw)
        why = "" if context.get_ca_certs() else "it holds no authority"
    except ssl.SSLError:
        why = "it is not in PEM format"
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it cannot be read"
    if why:
        raise ImproperlyConfigured(f"{name}: {raw!r} cannot be used: {why}.")
    return raw


@dataclass(frozen=True)
class OpenIDProvider:
    """A provider of single sign-on. ``name`` is for the button.

    ``trusts_email``: accepts e-mail addresses that the provider does not mark as verified. ``organization``: the short
    name of the only organization whose people it signs in; empty for all.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    name: str
    trusts_email: bool = False
    organization: str = ""


def openid_provider(
    *,
    issuer: str,
    client_id: str,
    client_secret: str,
    name: str,
    email_verified: str | None,
    organization: str = "",
) -> OpenIDProvider | None:
    """The provider of single sign-on; ``None`` if no variable is set. All of its variables, or none."""
    name = " ".join(name.split())
    organization = organization.strip()
    if not re.fullmatch(r"[-\w]{0,50}", organization, re.ASCII):
        raise ImproperlyConfigured(
            f"OIDC_ORGANIZATION must be the short name of an organization, such as acme, not {organization[:60]!r}."
        )
    if not (issuer or client_id or client_secret or name or email_verified or organization):
        return None
    for variable, value in (("ISSUER", issuer), ("CLIENT_ID", client_id), ("CLIENT_SECRET", client_secret)):
        if not value:
            raise ImproperlyConfigured(f"OIDC_{variable} is missing: single sign-on needs it as well as the others.")
    if not is_issuer(issuer):
        raise ImproperlyConfigured(
            f"OIDC_ISSUER must be an address like https://id.example.com/realm, not {issuer!r}: https, without ? and #."
        )
    if len(client_id) > 191 or len(name) > 40:
        raise ImproperlyConfigured("OIDC_CLIENT_ID may have at most 191 characters, and OIDC_NAME 40.")
    trusts_email = email_verified == "trust-provider"
    return OpenIDProvider(issuer, client_id, client_secret, name or "single sign-on", trusts_email, organization)


def is_issuer(raw: str) -> bool:
    """OpenID Connect Discovery 1.0 section 3. http only on this machine, for tests."""
    try:
        parts = urlsplit(raw)
        _ = parts.port
    except ValueError:
        return False
    is_loopback = parts.hostname in {"127.0.0.1", "localhost", "::1"}
    return (
        bool(re.fullmatch(r"https?://[!-~]+", raw) and parts.hostname)
        and (parts.scheme == "https" or is_loopback)
        and not (parts.query or parts.fragment or parts.username or "?" in raw or "#" in raw)
    )


def provider_hosts(name: str, raw: str) -> tuple[str, ...]:
    """Hosts such as `id.example.com` or `*.okta.com`, separated by commas, with a port if it is not 443."""
    hosts = tuple(part.strip().lower() for part in raw.split(",") if part.strip())
    for host in hosts:
        bare, _, port = host.partition(":")
        is_port = not port or (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536)
        # A star stands for the names below a domain, not for all of a top-level domain.
        below = bare.removeprefix("*.")
        is_name = _HOST_NAME.fullmatch(below) and ("." in below or below == bare)
        if not is_name or not is_port or host.endswith(":"):
            raise ImproperlyConfigured(
                f"{name} must be host names separated by commas, such as id.example.com,*.okta.com, not {host!r}."
            )
    return hosts


def on_off(name: str, raw: str) -> bool:
    return choice(name, raw, ("on", "off")) == "on"


def networks(name: str, raw: str, words: Mapping[str, Sequence[str]] | None = None) -> list[Network]:
    """Comma-separated addresses and networks: ``127.0.0.1,10.0.0.0/8,::1``. A key of ``words`` means its networks."""
    result: list[Network] = []
    for part in raw.split(","):
        if not (network := part.strip()):
            continue
        if words and network in words:
            result += [ipaddress.ip_network(meant) for meant in words[network]]
            continue
        try:
            result.append(ipaddress.ip_network(network))
        except ValueError:
            raise ImproperlyConfigured(
                f"{name} must be a comma-separated list of addresses or networks; {network!r} is neither."
            ) from None
    return result


def step_proxies(name: str, *, is_on: bool) -> dict[str, str]:
    """Proxies for HTTP steps by scheme, and under ``no`` the hosts without one; empty if they are off.

    They come from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, which are used only if ``name`` is ``on``.
    """
    if not is_on:
        return {}
    found = getproxies_environment()
    proxies = {scheme: url for scheme in ("http", "https") if (url := found.get(scheme) or found.get("all", ""))}
    if not proxies:
        raise ImproperlyConfigured(f"{name} is on, but neither HTTPS_PROXY nor HTTP_PROXY is set.")
    for url in proxies.values():
        try:
            parts = urlsplit(url)
            is_proxy = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_proxy = False
        if not is_proxy:
            # Without the value, which may have a password.
            raise ImproperlyConfigured(
                f"{name} is on, but a proxy is not an address like http://proxy.example.com:3128."
            )
    return proxies | {"no": found.get("no", "")}


def choice(name: str, raw: str, choices: tuple[str, ...]) -> str:
    if raw not in choices:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}, not {raw!r}.")
    return raw


class Rate(NamedTuple):
    """``amount`` times in ``seconds``."""

    amount: int
    seconds: int


def rate(name: str, raw: str) -> Rate | None:
    """How often something may happen: ``20/s``, ``1200/m``, ``5000/h`` or ``50000/d``; ``None`` for ``off``."""
    if raw == "off":
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,8})/([smhd])", raw)
    if match is None:
        raise ImproperlyConfigured(f"{name} must be like 1200/m (s, m, h or d), or off, not {raw!r}.")
    return Rate(int(match[1]), _SECONDS[match[2]])


def fernet_keys(name: str, raw: str) -> tuple[str, ...]:
    """Comma-separated keys, each 32 bytes in base64url, as `python -c "from cryptography.fernet import Fernet; \
    print(Fernet.generate_key().decode())"` creates them. The error does not repeat them."""
    keys = tuple(key for part in raw.split(",") if (key := part.strip()))
    for number, key in enumerate(keys, start=1):
        try:
            Fernet(key)
        except ValueError:
            raise ImproperlyConfigured(f"{name}: key {number} is not 32 bytes in base64url.") from None
    return keys
