"""Which addresses HTTP steps and webhooks can call (docs/product.md#pipelines-and-access-rules).

People choose the URL, and the portal calls it from inside the operator's network. Loopback, link-local and
cloud metadata addresses and the machine's own addresses are refused. Private networks are allowed, because CI servers
are there, unless the operator refuses them.
"""

import ipaddress
import socket
from dataclasses import dataclass

from django.conf import settings
from django.utils.translation import gettext, gettext_noop

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

NAT64 = ipaddress.ip_network("64:ff9b::/96")

# The first network that holds an address names its kind. Of IPv6 only 2000::/3 (the internet) and
# fc00::/7 (private networks) are in use; everything else is refused.
# The page translates the kinds. In the log of a run they are in English.
REFUSED_NETWORKS = [
    (ipaddress.ip_network(network), kind)
    for kind, networks in {
        gettext_noop("a cloud metadata address"): [
            "169.254.169.254/32",
            "100.100.100.200/32",  # Alibaba
            "168.63.129.16/32",  # Azure
            "192.0.0.192/32",  # Oracle
            "fd00:42::42/128",  # Scaleway
            "fd00:100::100:200/128",  # Alibaba
            "fd00:a9fe:a9fe::1/128",  # Akamai
            "fd00:c1::a9fe:a9fe/128",  # Oracle
            "fd00:ec2::/32",  # AWS: metadata at ::254, credentials of pods at ::23
            "fd20:ce::254/128",  # Google
        ],
        gettext_noop("a loopback address"): ["127.0.0.0/8", "::1/128"],
        gettext_noop("a link-local address"): ["169.254.0.0/16", "fe80::/10"],
        gettext_noop("an unspecified address"): ["0.0.0.0/8", "::/128"],
        gettext_noop("a multicast address"): ["224.0.0.0/4", "ff00::/8"],
        gettext_noop("a reserved address"): [
            "192.0.0.0/24",
            "240.0.0.0/4",
            "::/3",
            "4000::/2",
            "8000::/2",
            "c000::/3",
            "e000::/4",
            "f000::/5",
            "f800::/6",
            "fe00::/8",
        ],
    }.items()
    for network in networks
]


OWN = gettext_noop("an address of the portal's own machine")
CLOSED = "in a network that the operator has closed to steps"


def refusal_of(host: str, addresses: list[IPAddress], *, caller: str) -> str | None:
    """Why this host can't be called, for people who chose it; ``None`` if it can. ``caller``: "steps" or "webhooks".

    One refused address is enough, because the next call could use that one.
    """
    for address in addresses:
        if kind := _refused_kind(address):
            return (
                f"{host} leads to {address}, {kind}, which {caller} are not allowed to call. Use another host, "
                "or ask the operator of the portal to allow it in HTTP_STEP_ALLOWED_NETWORKS."
            )
    return None


def _refused_kind(address: IPAddress) -> str | None:
    """The kind of a refused address, such as "a loopback address"; ``None`` if it is allowed."""
    embedded = _embedded_addresses(address)
    if any(map(_is_closed, [address, *embedded])):
        return CLOSED
    opened = [network for network in settings.HTTP_STEP_ALLOWED_NETWORKS if address in network]
    if embedded:
        kind = next(filter(None, map(_refused_kind, embedded)), None)
    else:
        kind = next((kind for network, kind in REFUSED_NETWORKS if address in network), None)
    if kind:
        return None if opened else kind
    # An allowed network often includes the portal. The portal's address needs an entry of its own.
    if getattr(address, "ipv4_mapped", None) or any(network.num_addresses == 1 for network in opened):
        return None
    return OWN if is_own(address) else None


def _is_closed(address: IPAddress) -> bool:
    """Whether the operator refuses it. The smallest network that holds the address decides, as in routing: a refused
    network can have an allowed host, and an allowed network a refused part."""
    closed, opened = (
        max((network.prefixlen for network in networks if address in network), default=-1)
        for networks in (settings.HTTP_STEP_REFUSED_NETWORKS, settings.HTTP_STEP_ALLOWED_NETWORKS)
    )
    return closed >= 0 and closed >= opened


def is_own(address: IPAddress) -> bool:
    """Whether this is currently an address of this machine, whose services may trust local callers.

    Only a local address can be bound. This is tried for each call, so that changed addresses, and addresses that are
    routed to this machine without an interface, are found.
    """
    family, nowhere = (socket.AF_INET, "240.0.0.1") if address.version == 4 else (socket.AF_INET6, "100::1")
    if not _can_bind(family, str(address)):
        return False
    # With ip_nonlocal_bind (load balancers) any address can be bound. Then the route decides.
    return not _can_bind(family, nowhere) or _is_its_own_source(family, str(address))


def _can_bind(family: socket.AddressFamily, address: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _is_its_own_source(family: socket.AddressFamily, address: str) -> bool:
    """Whether the route to the address starts at the address itself. Sends nothing."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return bool(probe.getsockname()[0] == address)
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class RefusedKind:
    """A kind of refused address, with its networks; no networks if the kind is not defined by networks."""

    kind: str
    networks: list[str]


@dataclass(frozen=True, slots=True)
class AddressRules:
    """The addresses that steps can't call, for people who write steps."""

    refused: list[RefusedKind]
    allowed: list[str]
    uses_proxy: bool


def address_rules() -> AddressRules:
    kinds: dict[str, list[str]] = {}
    for network, kind in REFUSED_NETWORKS:
        kinds.setdefault(kind, []).append(str(network))
    kinds[OWN] = []
    if closed := [str(network) for network in settings.HTTP_STEP_REFUSED_NETWORKS]:
        kinds[gettext_noop("an address in a network that the operator has closed to steps")] = closed
    return AddressRules(
        refused=[RefusedKind(gettext(kind), networks) for kind, networks in kinds.items()],
        allowed=[str(network) for network in settings.HTTP_STEP_ALLOWED_NETWORKS],
        uses_proxy=bool(settings.HTTP_STEP_PROXIES),
    )


def _embedded_addresses(address: IPAddress) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses to which this IPv6 address can lead."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    if address in NAT64:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    if address.sixtofour:
        return [address.sixtofour]
    return list(address.teredo or ())
