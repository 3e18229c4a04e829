"""The lookup ``ip__in_network="192.0.2.0/24"``: the addresses in a network.

PostgreSQL has an operator for it. SQLite stores addresses as text, so it calls a function of Python.
"""

import ipaddress
from functools import lru_cache
from typing import Any

from django.db.models import GenericIPAddressField, Lookup
from django.db.models.sql.compiler import SQLCompiler

# The name of the function in SQLite.
_FUNCTION = "address_is_in_network"


@GenericIPAddressField.register_lookup
class InNetwork(Lookup[Any]):
    lookup_name = "in_network"
    prepare_rhs = False

    def as_sql(self, compiler: SQLCompiler, connection: Any) -> Any:
        address, address_params = self.process_lhs(compiler, connection)
        network, network_params = self.process_rhs(compiler, connection)
        return f"{_FUNCTION}({address}, {network})", [*address_params, *network_params]

    def as_postgresql(self, compiler: SQLCompiler, connection: Any) -> Any:
        address, address_params = self.process_lhs(compiler, connection)
        network, network_params = self.process_rhs(compiler, connection)
        return f"{address} <<= {network}::inet", [*address_params, *network_params]

    def get_db_prep_lookup(self, value: Any, connection: Any) -> Any:
        return "%s", [value]


def add_function(connection: Any) -> None:
    """Adds the function to a new connection to SQLite."""
    if connection.vendor == "sqlite":
        connection.connection.create_function(_FUNCTION, 2, _is_in_network, deterministic=True)


# A page searches thousands of entries, but few addresses.
@lru_cache(maxsize=10_000)
def _is_in_network(address: Any, network: str) -> bool:
    """``False`` for a missing address, and for a stored text that is none."""
    try:
        return ipaddress.ip_address(address) in _network(network)
    except ValueError:
        return False


@lru_cache(maxsize=100)
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text)
