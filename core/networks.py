"""Networks from which something is allowed: the use of one token, of an organization's tokens, or signing in.

They are stored as one text, in canonical form (RFC 4632, RFC 5952), separated by spaces. Empty: from everywhere.
"""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

from django.core.exceptions import ValidationError
from django.utils.translation import gettext, ngettext

MOST_NETWORKS = 20
# More than the longest network needs, and short enough for an error to repeat it.
MAX_LENGTH = 60

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def clean_networks(words: Iterable[str]) -> str:
    """The networks in canonical form, each once; empty if there are none. Raises ``ValidationError``."""
    networks = list(dict.fromkeys(_read(word.strip()) for word in words))
    if len(networks) > MOST_NETWORKS:
        raise ValidationError(
            ngettext(
                "Enter at most %(limit)s network.",
                "Enter at most %(limit)s networks.",
                MOST_NETWORKS,
            )
            % {"limit": MOST_NETWORKS}
        )
    return " ".join(map(_written, networks))


def words_of(text: str) -> list[str]:
    """What a person typed, separated by spaces, commas, semicolons or line breaks."""
    return [word for word in re.split(r"[\s,;]+", text) if word]


def is_inside(networks: str, address: str | None) -> bool:
    """Whether a request from this address is allowed. One from an unknown address is not, if there is a limit."""
    return not networks or (address is not None and _is_inside(networks, address))


# Scripts use the same token from the same address again and again.
@lru_cache(maxsize=1000)
def _is_inside(networks: str, address: str) -> bool:
    place = ipaddress.ip_address(address)
    return any(place in ipaddress.ip_network(network) for network in networks.split())


def _read(word: str) -> Network:
    # A zone (`fe80::1%eth0`) only has a meaning on one machine.
    if "%" in word:
        raise _unreadable(word)
    try:
        return _without_mapping(ipaddress.ip_network(word))
    except ValueError:
        raise _refused(word) from None


def _without_mapping(network: Network) -> Network:
    """The portal writes the address of an IPv4 client as such, even if the server sees it as IPv6."""
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        return ipaddress.IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def _refused(word: str) -> ValidationError:
    try:
        meant = ipaddress.ip_network(word, strict=False)
    except ValueError:
        return _unreadable(word)
    text = gettext("“%(word)s” is an address inside of a network. For the whole network, write %(network)s.")
    return ValidationError(text % {"word": word, "network": meant})


def _unreadable(word: str) -> ValidationError:
    text = gettext("“%(word)s” is not an address or a network such as 203.0.113.0/24 or 2001:db8::/32.")
    return ValidationError(text % {"word": word[:MAX_LENGTH]})


def _written(network: Network) -> str:
    """A single address without its prefix."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)
