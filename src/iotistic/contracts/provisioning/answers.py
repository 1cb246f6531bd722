"""What the cloud answers a device that becomes known to it, in both shapes that are in use.

v2          {device{deviceId, uuid, deviceName}, mqtt{brokerUrl, username, password, brokerConfig},
             api{endpoint, deviceApiKey, tlsConfig}, vpn?, certificate?, challenge?, expiresAt?}
deployed    {id, uuid, deviceName, deviceType, …, mqtt{username, password, broker, brokerConfig, topics},
             api{tlsConfig}?, vpn?}
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from iotistic.contracts.provisioning.challenges import Challenge, read_challenge
from iotistic.contracts.provisioning.fields import Fields, write_time

_MOST_PEM = 64 * 1024
_MOST_PORT = 65535
_SCHEMES = frozenset({"mqtt", "mqtts", "ws", "wss", "tcp", "ssl"})


@dataclass(frozen=True, slots=True)
class CloudKey:
    """The cloud's public key (PEM) for envelopes, and what it is called."""

    public_key: str
    key_id: str

    def write(self) -> dict[str, str]:
        """Return the JSON shape."""
        return {"apiPublicKey": self.public_key, "keyId": self.key_id}


@dataclass(frozen=True, slots=True)
class MqttAccess:
    """How a device reaches its broker; texts that were not given are empty."""

    broker_url: str
    username: str
    password: str = field(repr=False)
    broker_config: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    topics: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class RegisterAnswer:
    """A device as the cloud knows it now; texts that were not given are empty."""

    device_id: str
    uuid: str
    device_name: str
    device_type: str = ""
    application_id: str = ""
    fleet_id: str = ""
    mqtt: MqttAccess | None = None
    api_endpoint: str = ""
    device_api_key: str = field(default="", repr=False)
    """Only when the cloud wants another than the device's own."""
    api_tls_config: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    certificate: str = ""
    """PEM, for the key of the signing request."""
    challenge: Challenge | None = None
    """To be signed in the last step, when the cloud gives one already."""
    vpn: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    def write(self) -> dict[str, Any]:
        """Return the shape of v2."""
        api = {"endpoint": self.api_endpoint, "deviceApiKey": self.device_api_key}
        wire: dict[str, Any] = {
            "device": {
                "deviceId": self.device_id,
                "uuid": self.uuid,
                "deviceName": self.device_name,
                "deviceType": self.device_type,
                "applicationId": self.application_id,
                "fleetId": self.fleet_id,
            },
            "api": {name: value for name, value in api.items() if value},
            "certificate": self.certificate,
            "vpn": dict(self.vpn),
        }
        if self.api_tls_config:
            wire["api"]["tlsConfig"] = dict(self.api_tls_config)
        if self.mqtt is not None:
            wire["mqtt"] = {
                "brokerUrl": self.mqtt.broker_url,
                "username": self.mqtt.username,
                "password": self.mqtt.password,
                "brokerConfig": dict(self.mqtt.broker_config),
                "topics": dict(self.mqtt.topics),
            }
        if self.challenge is not None:
            wire |= write_challenge(self.challenge)
        return {name: value for name, value in wire.items() if value}


def write_challenge(challenge: Challenge) -> dict[str, str]:
    """Return the JSON shape of a challenge."""
    wire = {"challenge": challenge.text}
    if challenge.expires_at is not None:
        wire["expiresAt"] = write_time(challenge.expires_at)
    return wire


def read_cloud_key(document: object) -> CloudKey:
    """Read the answer to the first step of v2. Raises ProvisioningInvalid."""
    fields = Fields(document)
    key = CloudKey(fields.text("apiPublicKey", lines=True), fields.text("keyId", most=256))
    fields.done("the cloud's key")
    return key


def read_register_answer(document: object, uuid: str) -> RegisterAnswer:
    """Read the answer to a registration, in either shape; it must be about `uuid`. Raises ProvisioningInvalid."""
    fields = Fields(document)
    device = fields.part_if_any("device") or fields
    api, challenge = fields.part_if_any("api"), read_challenge(fields)
    answered = device.uuid("uuid")
    answer = RegisterAnswer(
        device_id=device.text("deviceId", "id", most=255),
        uuid=answered,
        device_name=device.text("deviceName", most=255),
        device_type=device.maybe("deviceType", most=255),
        application_id=device.maybe("applicationId", most=255),
        fleet_id=device.maybe("fleetId", most=255),
        mqtt=_mqtt(fields.part_if_any("mqtt")),
        api_endpoint=_endpoint(fields, api),
        device_api_key="" if api is None else api.maybe("deviceApiKey", most=1024),
        api_tls_config=_tls(api),
        certificate=fields.maybe("certificate", "clientCert", most=_MOST_PEM, lines=True),
        challenge=challenge if challenge.text else None,
        vpn=fields.mapping("vpn"),
    )
    if answered and answered != uuid:
        fields.faults.append(f"device.uuid is {answered}, and not of the device that asked")
    fields.done("the answer to the registration")
    return answer


def read_challenge_answer(document: object) -> Challenge:
    """Read a challenge that was asked for. Raises ProvisioningInvalid."""
    fields = Fields(document)
    fields.text("challenge", most=512)
    challenge = read_challenge(fields)
    fields.done("the challenge")
    return challenge


def read_key_exchange_answer(document: object) -> str:
    """Read the answer to the last step; return the device's id, empty when it says nothing of it.

    It is `{"status": "ok", "device"}` or `{"success": true}`. Raises ProvisioningInvalid.
    """
    fields = Fields(document)
    if not (fields.holds("success", True) or fields.holds("status", "ok")):
        fields.faults.append("status is not ok")
    device = fields.part_if_any("device")
    found = "" if device is None else device.maybe("id", "deviceId", most=255)
    fields.done("the answer to the key exchange")
    return found


def _mqtt(fields: Fields | None) -> MqttAccess | None:
    if fields is None:
        return None
    config, topics = fields.mapping("brokerConfig"), fields.mapping("topics")
    url = fields.maybe("brokerUrl", "broker", "url", most=2048) or _url_of(config)
    if not _is_url(url, _SCHEMES):
        fields.faults.append("mqtt.brokerUrl is not a URL like mqtts://broker.example:8883")
    username, password = fields.text("username", most=1024), fields.text("password", most=1024)
    return MqttAccess(url, username, password, config, topics)


def _url_of(config: Mapping[str, Any]) -> str:
    host, port = config.get("host"), config.get("port")
    if not isinstance(host, str) or not isinstance(port, int):
        return ""
    protocol = config.get("protocol")
    return f"{protocol if isinstance(protocol, str) else 'mqtts'}://{host}:{port}"


def _endpoint(fields: Fields, api: Fields | None) -> str:
    endpoint = "" if api is None else api.maybe("endpoint", most=2048)
    if endpoint and not is_http_url(endpoint):
        fields.faults.append("api.endpoint is not a URL like https://cloud.example/api/v1")
    return endpoint.rstrip("/")


def _tls(api: Fields | None) -> dict[str, Any]:
    if api is None:
        return {}
    read = api.part_if_any("tlsConfig")
    if read is not None:
        read.maybe("caCert", most=_MOST_PEM, lines=True)
    return api.mapping("tlsConfig")


def is_http_url(text: str) -> bool:
    """Say whether a text is the address of an HTTP service."""
    return _is_url(text, frozenset({"http", "https"}))


def _is_url(text: str, schemes: frozenset[str]) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    good = parts.scheme in schemes and bool(parts.hostname) and not parts.fragment
    return good and text.isprintable() and " " not in text and (port is None or 0 < port <= _MOST_PORT)
