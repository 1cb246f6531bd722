"""What a device asks when it becomes known to a cloud. Names on the wire are in camelCase, as devices in use send them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from iotistic.contracts.provisioning.challenges import Proof
from iotistic.contracts.provisioning.fields import Fields

_MOST_NAME = 255
_MOST_SECRET = 1024

IDEMPOTENCY_HEADER = "X-Idempotency-Key"
AGENT_KEY_HEADER = "X-Agent-Key"
KEY_EXCHANGE_V2 = "/provisioning/v2/key-exchange"
REGISTER_V2 = "/provisioning/v2/register"
REGISTER = "/device/register"


def challenge_path(uuid: str) -> str:
    """Return where a device asks for a challenge."""
    return f"/device/{uuid}/challenge"


def key_exchange_path(uuid: str) -> str:
    """Return where a device proves that it has its keys."""
    return f"/device/{uuid}/key-exchange"


def device_path(uuid: str) -> str:
    """Return where a device takes its leave (DELETE)."""
    return f"/devices/{uuid}"


@dataclass(frozen=True, slots=True)
class RegisterRequest:
    """Who wants to be known, by which right, and as what; texts that are not known are empty.

    It is what an envelope holds; deployed devices send it open, with the provisioning key as bearer token and
    without a signing request.
    """

    uuid: str
    device_name: str
    device_type: str
    device_api_key: str = field(repr=False)
    """Made by the device: what it will be known by."""
    provisioning_key: str = field(repr=False)
    csr: str = ""
    """Asks for a certificate (PEM, P-256 or Ed25519): its public key is the device's."""
    application_id: str = ""
    mac_address: str = ""
    os_version: str = ""
    agent_version: str = ""
    proof: Proof | None = None
    """That the key that the cloud knows from before is still there: only so a known device is taken again."""

    def write(self) -> dict[str, Any]:
        """Return the JSON shape."""
        wire: dict[str, Any] = {
            "uuid": self.uuid,
            "deviceName": self.device_name,
            "deviceType": self.device_type,
            "deviceApiKey": self.device_api_key,
            "provisioningKey": self.provisioning_key,
            "csr": self.csr,
            "applicationId": self.application_id,
            "macAddress": self.mac_address,
            "osVersion": self.os_version,
            "agentVersion": self.agent_version,
        }
        if self.proof is not None:
            wire["proof"] = {"challenge": self.proof.challenge, "signature": self.proof.signature}
        return {name: value for name, value in wire.items() if value}


def read_register(document: object, bearer: str = "") -> RegisterRequest:
    """Read a request to be known; the provisioning key may have come as `bearer`. Raises ProvisioningInvalid."""
    fields = Fields(document)
    key = fields.maybe("provisioningKey", "provisioningApiKey", most=_MOST_SECRET) or bearer
    if not key:
        fields.text("provisioningKey")
    proof = fields.part_if_any("proof")
    request = RegisterRequest(
        uuid=fields.uuid("uuid"),
        device_name=fields.text("deviceName", most=_MOST_NAME),
        device_type=fields.text("deviceType", most=_MOST_NAME),
        device_api_key=fields.text("deviceApiKey", most=_MOST_SECRET),
        provisioning_key=key,
        csr=fields.maybe("csr", lines=True),
        application_id=fields.maybe("applicationId", most=_MOST_NAME),
        mac_address=fields.maybe("macAddress", most=_MOST_NAME),
        os_version=fields.maybe("osVersion", most=_MOST_NAME),
        agent_version=fields.maybe("agentVersion", most=_MOST_NAME),
        proof=None if proof is None else Proof(proof.text("challenge"), proof.text("signature")),
    )
    fields.done("the request to register")
    return request


@dataclass(frozen=True, slots=True)
class KeyExchangeRequest:
    """The last step: the device shows that it has the keys it registered."""

    device_api_key: str = field(repr=False)
    signature: str = ""
    """Of `uuid:challenge`; empty from deployed devices, which only show the API key."""

    def write(self) -> Mapping[str, str]:
        """Return the JSON shape."""
        shape = {"deviceApiKey": self.device_api_key, "signature": self.signature}
        return {name: value for name, value in shape.items() if value}


def read_key_exchange(document: object, agent_key: str = "") -> KeyExchangeRequest:
    """Read the last step; the API key may have come in a header. Raises ProvisioningInvalid."""
    fields = Fields(document)
    key = fields.maybe("deviceApiKey", most=_MOST_SECRET) or agent_key
    if not key:
        fields.text("deviceApiKey")
    request = KeyExchangeRequest(key, fields.maybe("signature", most=_MOST_SECRET))
    fields.done("the key exchange")
    return request
