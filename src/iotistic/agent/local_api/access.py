"""Who may use the device API. Pure: what a connection and its headers say goes in, a refusal comes out.

    mode            listens on        peers                       key
    LOCALHOST_ONLY  loopback          loopback                    only if it was asked for
    LOCAL_NETWORK   everything        private and link-local      always
    API_KEY         everything        any                         always
    OPEN            everything        any                         never

The peer is the address of the connection itself: what a header claims is believed nowhere. Browsers are kept
out of what they can reach on their own: a page of another origin is refused in every mode, and where no key
is needed a name that an attacker's DNS could point at the device is refused as well.
"""

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit

from iotistic.agent.local_api.problems import Unauthenticated
from iotistic.kernel.errors import Denied


class Mode(StrEnum):
    """Who may use the device API."""

    LOCALHOST_ONLY = "LOCALHOST_ONLY"
    LOCAL_NETWORK = "LOCAL_NETWORK"
    API_KEY = "API_KEY"
    OPEN = "OPEN"


class PeerRefused(Denied):
    """The device API is not for callers from there."""

    code = "device_api.peer_refused"


class HostRefused(Denied):
    """The device API is not called by this name."""

    code = "device_api.host_refused"


class OriginRefused(Denied):
    """Pages of other origins may not use the device API."""

    code = "device_api.origin_refused"


class Asking(NamedTuple):
    """What a request says of who sends it; `peer` is the address of the connection."""

    peer: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may; `asks_for_key` lets callers from the device itself show the key too."""

    mode: Mode = Mode.LOCALHOST_ONLY
    asks_for_key: bool = False
    names: frozenset[str] = frozenset()
    """Names of this device in the local network, in lower case."""

    @property
    def needs_key(self) -> bool:
        """Whether every request has to show the key."""
        return self.mode in (Mode.LOCAL_NETWORK, Mode.API_KEY) or (
            self.mode is Mode.LOCALHOST_ONLY and self.asks_for_key
        )

    def check_sender(self, asking: Asking) -> None:
        """Raise PeerRefused, HostRefused or OriginRefused for who may not even try."""
        _check_peer(self.mode, asking.peer)
        host = asking.headers.get("Host", "")
        _check_origin(asking.headers, host)
        if self.mode is Mode.LOCALHOST_ONLY and not _is_local_name(host):
            raise HostRefused(
                "the device API is called as localhost, 127.0.0.1 or [::1]",
                hint="set API_SECURITY_MODE to reach it by another name",
            )
        if self.mode is Mode.OPEN and not self._is_ours(host):
            raise HostRefused("the device API is called by an address, or by the device's own name")

    def check_key(self, asking: Asking, key: str) -> None:
        """Raise Unauthenticated without the right key; a wrong one is refused also where none is needed."""
        given = key_in(asking.headers)
        if given is None:
            if self.needs_key:
                raise Unauthenticated(
                    hint="send it as `Authorization: Bearer KEY`; it is in the agent's folder, device-api.key"
                )
        elif self.mode is not Mode.OPEN and not is_same(given, key):
            raise Unauthenticated("the key of the device API is wrong")

    def _is_ours(self, host: str) -> bool:
        name = _name_of(host)
        return _is_local_name(host) or name in self.names or name.endswith(".local") or _is_address(name)


def key_in(headers: Mapping[str, str]) -> str | None:
    """Return the key that a request shows, in `Authorization: Bearer` or `X-API-Key`."""
    scheme, _, given = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    if scheme:
        return ""
    return headers.get("X-API-Key")


def is_same(given: str, key: str) -> bool:
    """Compare in constant time; no key is the same as nothing."""
    return bool(key) and hmac.compare_digest(given.encode("utf-8", "replace"), key.encode())


def plain_address(peer: str) -> str:
    """Return an address without its zone, and as IPv4 if it is one in IPv6's clothes."""
    text = peer.partition("%")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return peer
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _check_peer(mode: Mode, peer: str) -> None:
    if mode in (Mode.API_KEY, Mode.OPEN):
        return
    try:
        address = ipaddress.ip_address(plain_address(peer))
    except ValueError:
        raise PeerRefused("the address of the caller is not known") from None
    if address.is_loopback:
        return
    if mode is Mode.LOCALHOST_ONLY or not _is_near(address):
        raise PeerRefused(hint="set API_SECURITY_MODE to let other devices call")


_NEAR = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10")
)
"""RFC 1918, RFC 4193 and link-local. Not `is_private`, which holds documentation and benchmark networks too."""


def _is_near(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(address in network for network in _NEAR if network.version == address.version)


def _check_origin(headers: Mapping[str, str], host: str) -> None:
    """Refuse what a page of another origin makes its browser send."""
    if headers.get("Sec-Fetch-Site", "none").lower() not in ("none", "same-origin"):
        raise OriginRefused
    origin = headers.get("Origin")
    if origin is not None and _place_of(origin) != host.lower():
        raise OriginRefused


def _place_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_local_name(host: str) -> bool:
    return _name_of(host) in ("localhost", "127.0.0.1", "::1")


def _name_of(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
