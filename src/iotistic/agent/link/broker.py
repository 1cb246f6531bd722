"""Which broker the device speaks to, and as whom: what provisioning brought, otherwise what was set here.

Pure: documents in, an address out. Whatever is wrong with them is said by name, and nothing is guessed: a
broker that is reached in the clear, or without a look at its certificate, was asked for in so many words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from iotistic.agent.link.errors import BrokerUnusable
from iotistic.agent.store.device import Identity

_PLAIN, _TLS = ("mqtt", "tcp"), ("mqtts", "ssl", "tls")
_PORTS = dict.fromkeys(_PLAIN, 1883) | dict.fromkeys(_TLS, 8883)
_SHORTEST_KEEP_ALIVE_S, _LONGEST_KEEP_ALIVE_S = 10, 65_535
_MOST_PORT = 65_535
KEEP_ALIVE_S = 240
_SESSION_S = 86_400


@dataclass(frozen=True, slots=True)
class OwnBroker:
    """A broker that was set on the device. `url` is `mqtt://host[:port]`, `mqtts://…`, or a host alone."""

    url: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    ca_pem: str = ""
    verify: bool = True
    keep_alive_s: int = KEEP_ALIVE_S
    """Also for a broker from provisioning that says nothing about it."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Everything that a connection needs."""

    host: str
    port: int
    client_id: str
    username: str = ""
    password: str = field(default="", repr=False)
    tls: bool = True
    ca_pem: str = ""
    """Certificates (PEM) that the broker's is checked against instead of the system's."""
    verify: bool = True
    identity_pem: str = field(default="", repr=False)
    """Private key and certificate of the device, if it has one."""
    keep_alive_s: int = KEEP_ALIVE_S
    session_s: int = _SESSION_S
    """How long the broker keeps for us what came while we were away."""


def client_id(uuid: str) -> str:
    """Return the name that a device has at the broker."""
    return f"device_{uuid}"


def find_broker(identity: Identity, own: OwnBroker) -> BrokerAddress | None:
    """Return where to connect; None when no broker is known. Raises BrokerUnusable."""
    config = identity.mqtt_broker_config
    if identity.mqtt_broker_url or config.get("host"):
        return _provisioned(identity, config, own)
    if not own.url:
        return None
    scheme, host, port = _split(own.url)
    return BrokerAddress(
        host=host,
        port=port or _PORTS[scheme],
        client_id=client_id(identity.uuid),
        username=own.username,
        password=own.password,
        tls=scheme in _TLS,
        ca_pem=own.ca_pem,
        verify=own.verify,
        identity_pem=_identity(identity, identity.certificate),
        keep_alive_s=own.keep_alive_s,
    )


def _provisioned(identity: Identity, config: Mapping[str, Any], own: OwnBroker) -> BrokerAddress:
    scheme, host, port = _split(identity.mqtt_broker_url) if identity.mqtt_broker_url else ("mqtts", "", 0)
    scheme = _text(config, "protocol") or scheme
    if scheme not in _PORTS:
        raise _unknown(scheme)
    tls = _flag(config, "useTls", default=scheme in _TLS) or scheme in _TLS
    return BrokerAddress(
        host=_text(config, "host") or host,
        port=_whole(config, "port", 1, _MOST_PORT) or port or _PORTS["mqtts" if tls else "mqtt"],
        client_id=client_id(identity.uuid),
        username=identity.mqtt_username,
        password=identity.mqtt_password,
        tls=tls,
        ca_pem=_text(config, "caCert"),
        verify=_flag(config, "verifyCertificate", default=True),
        identity_pem=_identity(identity, _text(config, "clientCert") or identity.certificate),
        keep_alive_s=_whole(config, "keepAlive", _SHORTEST_KEEP_ALIVE_S, _LONGEST_KEEP_ALIVE_S)
        or own.keep_alive_s,
        session_s=0 if _flag(config, "cleanSession", default=False) else _SESSION_S,
    )


def _split(url: str) -> tuple[str, str, int]:
    scheme, host_and_port = url.split("://", 1) if "://" in url else ("mqtt", url)
    try:
        parts = urlsplit(f"//{host_and_port}")
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise BrokerUnusable(f"the broker's address cannot be read: {exc}") from exc
    if scheme not in _PORTS:
        raise _unknown(scheme)
    if not host or port == 0:
        raise BrokerUnusable("the broker's address has no host, or port 0")
    if parts.username or parts.password:
        raise BrokerUnusable(
            "the broker's address holds a user name or password",
            hint="set MQTT_USERNAME and MQTT_PASSWORD: addresses end up in logs",
        )
    return scheme, host, port or 0


def _unknown(scheme: str) -> BrokerUnusable:
    return BrokerUnusable(
        f"the broker's protocol is {scheme[:40]!r}", hint=f"one of {', '.join(_PORTS)} is spoken here"
    )


def _identity(identity: Identity, certificate: str) -> str:
    if not certificate or not identity.private_key:
        return ""
    return f"{identity.private_key.strip()}\n{certificate.strip()}\n"


def _text(config: Mapping[str, Any], name: str) -> str:
    value = config.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BrokerUnusable(f"the broker's {name} is not a text")
    return value


def _flag(config: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = config.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise BrokerUnusable(f"the broker's {name} is neither true nor false")
    return value


def _whole(config: Mapping[str, Any], name: str, least: int, most: int) -> int:
    """Return a whole number, 0 when there is none."""
    value = config.get(name)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise BrokerUnusable(f"the broker's {name} is no whole number from {least} to {most}")
    return value
