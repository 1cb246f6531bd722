"""Where a request comes from: the connection's own address, or what a trusted proxy says about it.

`X-Forwarded-For` is a claim of whoever sent it. It is read from right to left, each address being
vouched for by the one to its right, and only as long as that one is a proxy that the settings name.
"""

import ipaddress
from collections.abc import Iterable, Iterator

from pydantic import field_validator
from starlette.requests import Request

from iotistic.kernel.settings import Settings
from iotistic.kernel.web.attempts import caller_address

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Whoever has an IPv6 connection has a whole /64 of addresses to call from.
_IPV6_SITE = 64


class ProxySettings(Settings):
    """Which proxies stand before the API."""

    trusted_proxies: str = ""
    """Addresses and networks of reverse proxies, with commas between: 10.0.0.5, 172.16.0.0/12. Only they are
    believed when they say in X-Forwarded-For who called them; unset believes nobody."""

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        list(_networks(value))
        return value


class ClientAddresses:
    """Tells callers apart, behind proxies too."""

    def __init__(self, proxies: Iterable[_Network] = ()) -> None:
        self._proxies = tuple(proxies)

    @classmethod
    def of(cls, settings: ProxySettings) -> "ClientAddresses":
        """Trust the proxies that the settings name."""
        return cls(_networks(settings.trusted_proxies))

    def address(self, request: Request) -> str:
        """Return the nearest address that is no trusted proxy; empty when even the connection has none."""
        nearest = caller_address(request)
        address = _parsed(nearest)
        for claimed in reversed(_forwarded(request)):
            if address is None or not self._trusts(address):
                break
            further = _parsed(claimed)
            if further is None:
                break
            address, nearest = further, str(further)
        return nearest

    def site(self, request: Request) -> str:
        """Return what to count attempts by: the address, of IPv6 its /64."""
        nearest = self.address(request)
        address = _parsed(nearest)
        if isinstance(address, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((address, _IPV6_SITE), strict=False))
        return str(address or nearest)

    def _trusts(self, address: _Address) -> bool:
        return any(address in network for network in self._proxies)


def _forwarded(request: Request) -> list[str]:
    """Return what stands in all the headers of this name, in the order in which proxies added it."""
    return [part for line in request.headers.getlist("x-forwarded-for") for part in line.split(",")]


def _parsed(text: str) -> _Address | None:
    """Return an address, IPv4 also where it comes dressed as IPv6; None for what is none."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _networks(listed: str) -> Iterator[_Network]:
    for part in filter(None, (part.strip() for part in listed.split(","))):
        yield ipaddress.ip_network(part)
