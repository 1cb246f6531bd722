"""Under which host devices are told to reach the broker and the authority.

    DEVICE_MQTT_URL > a broker of yours (MQTT_BROKER_URL) > MQTT_BROKER_HOST > what the broker listens on

Open to all addresses, it is the one that this machine has towards the network: it stands in the broker's certificate.
Under what name a device asked the API is not taken: whoever asks says that himself, and it is the name of the proxy
before the API, which the broker's certificate does not have.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from iotistic.control.provisioning.answering import is_of_this_machine
from iotistic.entrypoints.up.ports import LOOPBACK, Chosen
from iotistic.entrypoints.up.settings import UpSettings
from iotistic.pki.identities import own_addresses

_ANY = {"0.0.0.0": 4, "::": 6}
"""What means all addresses, and of which version of IP: Mosquitto keeps the two apart."""


@dataclass(frozen=True)
class Reach:
    """Of one installation; `url` is the broker for devices with a certificate, `password_url` for those without."""

    host: str
    """Of what `up` itself listens on."""
    url: str
    password_url: str = ""
    """Empty: the same."""

    @property
    def is_local(self) -> bool:
        """Whether devices of other machines cannot follow it."""
        return is_of_this_machine(self.url)

    def environment(self) -> dict[str, str]:
        """Return it as the settings of those who tell devices."""
        password = {"DEVICE_MQTT_PASSWORD_URL": self.password_url} if self.password_url else {}
        return {"DEVICE_MQTT_URL": self.url, **password}


def reach(
    settings: UpSettings,
    ports: Mapping[str, Chosen],
    *,
    addresses: Callable[[], Sequence[str]] = own_addresses,
    environ: Mapping[str, str] = os.environ,
) -> Reach:
    """Return where devices are sent; `addresses` are those of this machine towards the network."""
    host = _listening(settings.listen_address, addresses)
    url = environ.get("DEVICE_MQTT_URL") or _yours(settings.mqtt_broker_url or "")
    url = url or f"mqtts://{in_url(settings.mqtt_broker_host or host)}:{ports['mqtt'].port}"
    if settings.mqtt_broker_url or environ.get("DEVICE_MQTT_PASSWORD_URL"):
        return Reach(host, url)
    account = f"mqtts://{in_url(urlsplit(url).hostname or '')}:{ports['mqtt_account'].port}"
    return Reach(host, url, account)


def in_url(host: str) -> str:
    """Return a host as URLs have it."""
    return f"[{host}]" if ":" in host else host


def _yours(url: str) -> str:
    """Return a broker's URL without a path, which those of devices do not have."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if url else ""


def _listening(listen_address: str, addresses: Callable[[], Sequence[str]]) -> str:
    version = _ANY.get(listen_address)
    if version is None:
        return listen_address
    return next((one for one in addresses() if ip_address(one).version == version), LOOPBACK)
