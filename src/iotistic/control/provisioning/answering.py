"""What a device is given when it becomes known, in the two shapes that are in use."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from iotistic.contracts.provisioning.answers import MqttAccess, RegisterAnswer
from iotistic.contracts.provisioning.fields import write_time
from iotistic.contracts.provisioning.keys import Challenge
from iotistic.control.devices.model import Device
from iotistic.kernel.settings import Settings

_PORTS = {"mqtts": 8883, "mqtt": 1883}


class OfferSettings(Settings):
    """Where devices find the cloud and its broker."""

    device_mqtt_url: str = Field(default="mqtts://localhost:8883", pattern=r"^mqtts?://[^\s/]+$")
    """Address of the broker as devices reach it. `iotistic up` sets it by itself: to your broker (MQTT_BROKER_URL), to
    MQTT_BROKER_HOST, or to what it listens on."""
    device_mqtt_password_url: str = Field(default="", pattern=r"^(mqtts?://[^\s/]+)?$")
    """Address of the broker for devices without a certificate, such as those of the earlier system, when it takes their
    passwords at another port (MQTT_ACCOUNT_PORT of the broker); empty: the same."""
    device_mqtt_verify_certificate: bool = True
    """Whether devices check the broker's certificate; false is for networks that break TLS open."""
    device_api_url: str = Field(default="", pattern=r"^(https?://\S+)?$")
    """Base URL of the API as devices reach it, with its version; empty: they stay at the one they registered at."""
    device_api_ca: str = ""
    """Certificates (PEM) that devices check the API against; empty: the system's."""
    provisioning_secret: SecretStr
    """Passwords of devices at the broker are derived from it; PROVISIONING_SECRET_FILE keeps it in a file."""


def is_of_this_machine(url: str) -> bool:
    """Whether an address is another machine for each that reads it, so that no other device can follow it."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@dataclass(frozen=True, slots=True)
class Granted:
    """What a registration ended in."""

    device: Device
    registration: str
    certificate: str
    challenge: Challenge | None
    is_retold: bool


class Offer:
    """Says what a device is given; the same registration always gets the same."""

    def __init__(self, settings: OfferSettings, ca_pem: str, vpn: Mapping[str, Any] | None = None) -> None:
        """`ca_pem` is what the broker's certificate is checked against."""
        self._settings, self._ca_pem = settings, ca_pem
        self._vpn: Mapping[str, Any] = vpn or {}

    def mqtt_username(self, uuid: str) -> str:
        """Return how a device is called at the broker."""
        return f"device_{uuid}"

    def mqtt_password(self, uuid: str, registration: str) -> str:
        """Return a device's password: another registration, another password."""
        secret = self._settings.provisioning_secret.get_secret_value().encode()
        return hmac.new(secret, f"mqtt\0{uuid}\0{registration}".encode(), hashlib.sha256).hexdigest()

    def v2(self, granted: Granted) -> dict[str, Any]:
        """Return the answer of the first door."""
        device, settings = granted.device, self._settings
        tls = {"caCert": settings.device_api_ca, "verifyCertificate": True} if settings.device_api_ca else {}
        url = settings.device_mqtt_url if granted.certificate else self._password_url
        return RegisterAnswer(
            device_id=str(device.number),
            uuid=device.uuid,
            device_name=device.name,
            device_type=device.type,
            application_id=device.application_id,
            fleet_id=device.fleet_id,
            mqtt=MqttAccess(
                url,
                self.mqtt_username(device.uuid),
                self.mqtt_password(device.uuid, granted.registration),
                self._broker(url, granted.certificate),
                _topics(device.uuid),
            ),
            api_endpoint=settings.device_api_url,
            api_tls_config=tls,
            certificate=granted.certificate,
            challenge=granted.challenge,
            vpn=self._vpn,
        ).write()

    def deployed(self, granted: Granted) -> dict[str, Any]:
        """Return the answer of the door that deployed agents use."""
        device, v2 = granted.device, self.v2(granted)
        mqtt = v2["mqtt"]
        answer: dict[str, Any] = {
            "id": device.number,
            "uuid": device.uuid,
            "deviceName": device.name,
            "deviceType": device.type,
            "applicationId": device.application_id or None,
            "fleetId": device.fleet_id,
            "createdAt": write_time(device.created_at.timestamp()),
            "mqtt": {
                "username": mqtt["username"],
                "password": mqtt["password"],
                "broker": mqtt["brokerUrl"],
                "brokerConfig": mqtt["brokerConfig"],
                "topics": mqtt["topics"],
            },
        }
        if tls := v2.get("api", {}).get("tlsConfig"):
            answer["api"] = {"tlsConfig": tls}
        return answer | ({"vpn": dict(self._vpn)} if self._vpn else {})

    @property
    def _password_url(self) -> str:
        return self._settings.device_mqtt_password_url or self._settings.device_mqtt_url

    def _broker(self, url: str, certificate: str) -> dict[str, Any]:
        parts = urlsplit(url)
        config: dict[str, Any] = {
            "protocol": parts.scheme,
            "host": parts.hostname or "",
            "port": parts.port or _PORTS[parts.scheme],
            "useTls": parts.scheme == "mqtts",
            "clientIdPrefix": "device",
            "keepAlive": 60,
            "cleanSession": True,
            "reconnectPeriod": 5000,
            "connectTimeout": 30000,
            "verifyCertificate": self._settings.device_mqtt_verify_certificate,
        }
        if parts.scheme == "mqtts":
            config["caCert"] = self._ca_pem
        return config | ({"clientCert": certificate} if certificate else {})


def _topics(uuid: str) -> dict[str, list[str]]:
    """Return what a device may use: the canonical topics, and those of deployed agents."""
    roots = (f"agent/{uuid}/#", f"sensor/{uuid}/#", f"state/{uuid}/#", f"iot/device/{uuid}/#")
    return {"publish": list(roots), "subscribe": [*roots, f"device/{uuid}/config/#"]}
