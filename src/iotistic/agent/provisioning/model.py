"""What provisioning is asked, and what it tells."""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from iotistic.agent.link.transport import CloudAddress
from iotistic.agent.provisioning.errors import RequestInvalid
from iotistic.agent.store.device import Identity
from iotistic.contracts.provisioning.answers import is_http_url

_BASE_PATH = "/api/v1"
_MOST_NAME = 255
_CA = "caCert"


class ProvisioningState(StrEnum):
    """How far a device is."""

    NEW = "new"
    REGISTERING = "registering"
    """Its keys are on the disk; the cloud may know it or not."""
    REGISTERED = "registered"
    KEY_EXCHANGING = "key-exchanging"
    PROVISIONED = "provisioned"


@dataclass(frozen=True, slots=True)
class ProvisioningRequest:
    """By which right, where, and as what the device wants to be known."""

    provisioning_key: str = field(repr=False)
    api_endpoint: str
    """Base URL; without a path, `/api/v1` is meant."""
    device_name: str = ""
    device_type: str = "standalone"
    application_id: str = ""
    ca_pem: str = field(default="", repr=False)
    """Certificates that the cloud is checked against instead of the system's."""

    def checked(self) -> "ProvisioningRequest":
        """Return the request as it is worked on. Raises RequestInvalid with every fault."""
        key, endpoint = self.provisioning_key.strip(), self.api_endpoint.strip()
        faults = [] if key.isascii() and key.isprintable() and key else ["the provisioning key is missing"]
        if not is_http_url(endpoint):
            faults.append("the endpoint is not a URL like https://cloud.example/api/v1")
        faults += [
            f"{name} has more than {_MOST_NAME} characters"
            for name in ("device_name", "device_type", "application_id")
            if len(getattr(self, name)) > _MOST_NAME
        ]
        if faults:
            raise RequestInvalid("; ".join(faults), faults=faults)
        return ProvisioningRequest(
            key,
            base_url(endpoint),
            self.device_name.strip(),
            self.device_type.strip() or "standalone",
            self.application_id.strip(),
            self.ca_pem,
        )

    @property
    def fingerprint(self) -> str:
        """What tells whether the same was asked before; says nothing of the key."""
        return hashlib.sha256(f"{self.api_endpoint}\n{self.provisioning_key}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ProvisioningStatus:
    """How the device stands with its cloud."""

    provisioned: bool
    uuid: str
    device_id: str
    device_name: str
    api_endpoint: str
    has_provisioning_key: bool
    mqtt_configured: bool
    state: ProvisioningState
    problem: str = ""
    """Why it is not further, in the words of whoever refused or could not be reached."""
    problem_code: str = ""
    is_refused: bool = False
    """True when nothing is tried any more until somebody asks again."""
    next_try_at: float | None = None
    """When it is tried again, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Farewell:
    """Whether the cloud knows that the device is gone."""

    is_cloud_told: bool
    reason: str = ""
    """Why not."""


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What a device tells of itself when it registers; empty where it does not know."""

    mac_address: str = ""
    os_version: str = ""
    agent_version: str = ""


def address_of(identity: Identity) -> CloudAddress:
    """Return where a device's cloud is, and whom to believe."""
    ca = identity.api_tls_config.get(_CA)
    return CloudAddress(identity.api_endpoint, ca if isinstance(ca, str) else "")


def base_url(endpoint: str) -> str:
    """Return an endpoint as requests are made from it: with the version, without a slash at the end."""
    trimmed = endpoint.rstrip("/")
    return trimmed if urlsplit(trimmed).path else trimmed + _BASE_PATH
