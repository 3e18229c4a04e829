"""What happens with each new connection to SQLite."""

from typing import Any

from django.db import connection as default_connection
from django.db.backends.signals import connection_created

from core.db import networks


def add_functions(connection: Any, **kwargs: Any) -> None:
    networks.add_function(connection)


# Each request with a token takes a connection from the pool of PostgreSQL, and would send the signal.
if default_connection.vendor == "sqlite":
    connection_created.connect(add_functions)
