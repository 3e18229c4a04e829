"""Reads the URL of a database from the environment."""

import re
from typing import Any
from urllib.parse import unquote

from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

_SQLITE = "sqlite:///"


def database(name: str, url: str) -> dict[str, Any] | None:
    """Django's settings for the database at ``url``, if there is one. Parameters of a PostgreSQL URL are libpq's.

    Raises ``ImproperlyConfigured`` without the URL, which has the password.
    """
    if not url:
        return None
    if url.startswith(_SQLITE):
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": unquote(url.removeprefix(_SQLITE))}
    if not url.startswith(("postgres://", "postgresql://")):
        raise ImproperlyConfigured(f"{name} must name a postgres:// or an sqlite:/// database.")
    try:
        found = conninfo_to_dict(url)
    except ProgrammingError as error:
        raise ImproperlyConfigured(
            f"{name} must be like postgres://user:password@host:5432/name ({type(error).__name__})."
        ) from None
    port = str(found.pop("port", ""))
    if not re.fullmatch(r"[0-9,]*", port):
        raise ImproperlyConfigured(f"{name} must be like postgres://user:password@host:5432/name.")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": found.pop("dbname", ""),
        "USER": found.pop("user", ""),
        "PASSWORD": found.pop("password", ""),
        "HOST": found.pop("host", ""),
        "PORT": port,
        "OPTIONS": found,
    }
