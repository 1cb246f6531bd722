"""Where a webhook may go: a name is resolved once, checked, and the connection made to the address checked.

A name that answers with a public address to the check and with a private one to the connection gains nothing,
since there is no second look-up; redirects are not followed.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

from iotistic.kernel.errors import Denied, Unavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")


class AddressRefused(Denied):
    """A webhook may not go to this address."""

    code = "alerts.address_refused"


class NameUnresolved(Unavailable):
    """The name of a webhook's server cannot be resolved now."""

    code = "alerts.name_unresolved"


def networks_of(text: str) -> list[Network]:
    """Return the networks of a setting: CIDR with commas between."""
    return [ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip()]


def is_allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Say whether a webhook may go there: to public addresses, and to networks that are allowed."""
    meant = _embedded(address)
    if any(meant.version == network.version and meant in network for network in networks):
        return True
    return meant.is_global and not meant.is_multicast and not meant.is_reserved


def _embedded(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour or address


async def checked_address(host: str, port: int, networks: Sequence[Network]) -> str:
    """Return an address of `host` that a webhook may go to.

    Raises AddressRefused when one of its addresses is not allowed (so that chance does not decide), and
    NameUnresolved.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise NameUnresolved(host=host) from exc
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses:
        raise NameUnresolved(host=host)
    for text in addresses:
        if not is_allowed(ipaddress.ip_address(text.partition("%")[0]), networks):
            raise AddressRefused(
                host=host, hint="private networks are allowed by ALERT_WEBHOOK_NETWORKS of the server"
            )
    return addresses[0]
