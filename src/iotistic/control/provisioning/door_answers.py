"""What devices are answered when they become known, as its description has it; `answering` makes the answers."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field
from pydantic.alias_generators import to_camel

from iotistic.kernel.web.describing import Absent, Answer

_PEM = "PEM."


class _Camel(Answer, alias_generator=to_camel):
    pass


class EnvelopeKey(_Camel):
    """The cloud's public key; `success` answers a device that told its own."""

    api_public_key: str = Field(description=_PEM)
    key_id: str
    success: Literal[True] | Absent = None


class BrokerConfig(_Camel):
    """How a device connects to its broker; times in the units of MQTT libraries: seconds, then milliseconds."""

    protocol: Literal["mqtt", "mqtts"]
    host: str
    port: int
    use_tls: bool
    client_id_prefix: str
    keep_alive: int
    clean_session: bool
    reconnect_period: int
    connect_timeout: int
    verify_certificate: bool
    ca_cert: str | Absent = Field(None, description=_PEM)
    client_cert: str | Absent = Field(None, description=_PEM)


class BrokerTopics(Answer):
    """What a device may use."""

    publish: list[str]
    subscribe: list[str]


class TlsConfig(_Camel):
    """What devices check the API against."""

    ca_cert: str = Field(description=_PEM)
    verify_certificate: bool


class ApiAccess(_Camel):
    """Where devices reach the API; empty is where they registered."""

    endpoint: str | Absent = None
    device_api_key: str | Absent = None
    tls_config: TlsConfig | Absent = None


class RegisteredDevice(_Camel):
    """A device as the cloud knows it; texts that it did not give are empty."""

    device_id: str = Field(description="Its number, as a text.")
    uuid: UUID
    device_name: str
    device_type: str
    application_id: str
    fleet_id: str


class BrokerAccess(_Camel):
    """How a device reaches its broker."""

    broker_url: str
    username: str
    password: str
    broker_config: BrokerConfig
    topics: BrokerTopics


class Registration(_Camel):
    """What a device is given; whatever there is nothing of is left out."""

    device: RegisteredDevice
    api: ApiAccess | Absent = None
    certificate: str | Absent = Field(None, description=_PEM)
    vpn: dict[str, Any] | Absent = None
    mqtt: BrokerAccess
    challenge: str | Absent = None
    expires_at: datetime | Absent = Field(None, description="When the challenge is too old.")


class DeployedBrokerAccess(_Camel):
    """How a device reaches its broker, in the words of deployed agents."""

    username: str
    password: str
    broker: str = Field(description="A URL.")
    broker_config: BrokerConfig
    topics: BrokerTopics


class DeployedRegistration(_Camel):
    """What a device is given, in the words of deployed agents."""

    id: int
    uuid: UUID
    device_name: str
    device_type: str
    application_id: str | None
    fleet_id: str
    created_at: datetime
    mqtt: DeployedBrokerAccess
    api: ApiAccess | Absent = None
    vpn: dict[str, Any] | Absent = None


class DeviceChallenge(_Camel):
    """Something to sign."""

    challenge: str
    expires_at: datetime | Absent = None


class ProvenDevice(_Camel):
    """A device that showed its keys."""

    id: int
    uuid: UUID
    device_name: str


class KeysProven(Answer):
    """That the device has the keys that it registered."""

    status: Literal["ok"]
    success: Literal[True]
    device: ProvenDevice


class DeviceCertificate(_Camel):
    """A certificate (PEM), and what the broker's is checked against when that changed."""

    certificate: str
    ca_cert: str | Absent = None
