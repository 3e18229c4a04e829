"""Both databases find the same addresses in a network."""

import ipaddress
import uuid
from datetime import UTC, datetime

import pytest
from django.db import connection

from auditlog.models import TokenUse

pytestmark = [pytest.mark.django_db, pytest.mark.each_database]

ADDRESSES = [
    None,
    "0.0.0.0",
    "10.0.0.1",
    "10.255.255.255",
    "11.0.0.0",
    "255.255.255.255",
    "::",
    "::1",
    "2001:db8::7",
    "2001:db9::",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
]


@pytest.fixture
def entries():
    TokenUse.objects.bulk_create(
        TokenUse(
            request_id=uuid.uuid4(),
            at=datetime(2026, 11, 1, tzinfo=UTC),
            token_id=uuid.UUID(int=0),
            method="GET",
            status=200,
            duration_ms=1,
            ip=address,
        )
        for address in ADDRESSES
    )


def found(network):
    return set(TokenUse.objects.filter(ip__in_network=network).values_list("ip", flat=True))


@pytest.mark.parametrize(
    "network",
    ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.1/32", "10.0.0.2/31", "::/0", "::/127", "2001:db8::/32", "2001:db8::7/128"],
)
def test_addresses_of_a_network_are_found(entries, network):
    inside = ipaddress.ip_network(network)

    assert found(network) == {one for one in ADDRESSES if one and ipaddress.ip_address(one) in inside}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL checks the type of each value")
@pytest.mark.parametrize("stored", ["no address", "", b"\xff", 7])
def test_stored_value_that_is_no_address_is_in_no_network(entries, stored):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE auditlog_tokenuse SET ip = %s WHERE ip = '10.0.0.1'", [stored])

    assert "10.255.255.255" in found("10.0.0.0/8")
    assert len(found("10.0.0.0/8")) == 1
