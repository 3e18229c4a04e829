"""Typed readers for settings that come from the environment.

Each reader returns a usable value or raises ``ImproperlyConfigured`` with one sentence that names the variable,
so that a wrong value stops the start and says what to change.
"""

import ipaddress
import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from environ import Env

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

env = Env()


def data_directory(default: Path) -> Path:
    """The directory for database, keys and secret key; made with mode 0700 where it is missing."""
    directory = Path(env.str("PORTAL_DATA_DIR", default=str(default))).expanduser().resolve()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"PORTAL_DATA_DIR: {directory} cannot be made ({error.strerror}).") from None
    return directory


def private_text(path: Path, *, make: str) -> str:
    """The text of a file only we may read; written with ``make`` where it is missing.

    Two processes that start at once agree: the file appears complete under its name or not at all, and the loser of
    the race reads what the winner wrote.
    """
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(make)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text()


def secret_key(directory: Path) -> str:
    """SECRET_KEY from the environment, or made once and kept in the data directory."""
    key = env.str("SECRET_KEY", default="")
    if not key:
        key = private_text(directory / "secret-key", make=secrets.token_urlsafe(64)).strip()
    if len(key) < 50:
        raise ImproperlyConfigured("SECRET_KEY must have at least 50 characters.")
    return str(key)


def port(name: str, default: int) -> int:
    raw = env.str(name, default=str(default))
    if not raw.isascii() or not raw.isdigit() or not 1 <= int(raw) <= 65535:
        raise ImproperlyConfigured(f"{name} must be a port from 1 to 65535, not {raw!r}.")
    return int(raw)


def public_url(name: str, default: str) -> str:
    """An http or https origin, without a path and without a slash at the end."""
    raw = env.str(name, default=default).rstrip("/")
    try:
        parts = urlsplit(raw)
        well_formed = parts.scheme in {"http", "https"} and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        well_formed = False
    if not well_formed or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        raise ImproperlyConfigured(
            f"{name} must be an address like https://portal.example.com without a path, not {raw!r}."
        )
    return str(raw)


def networks(name: str, default: str = "") -> list[Network]:
    """Comma-separated addresses and networks: ``127.0.0.1,10.0.0.0/8,::1``."""
    result: list[Network] = []
    for part in env.str(name, default=default).split(","):
        if not (text := part.strip()):
            continue
        try:
            result.append(ipaddress.ip_network(text))
        except ValueError:
            raise ImproperlyConfigured(
                f"{name} must be a comma-separated list of addresses or networks; {text!r} is neither."
            ) from None
    return result


def choice(name: str, choices: tuple[str, ...], default: str) -> str:
    value = env.str(name, default=default)
    if value not in choices:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
    return str(value)
