"""What `iotistic up` can be told, by option or by environment."""

from pydantic import Field

from iotistic.kernel.home import HomeSettings
from iotistic.kernel.logging import LogSettings
from iotistic.kernel.mosquitto.settings import BrokerLogSettings
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.kernel.postgres.pool import DatabaseSettings
from iotistic.pki.settings import AuthoritySettings


class UpSettings(
    HomeSettings, LogSettings, DatabaseSettings, MqttSettings, BrokerLogSettings, AuthoritySettings
):
    """The composition of one machine's installation; DATABASE_URL and MQTT_BROKER_URL replace our engines."""

    api_port: int = Field(default=3002, ge=0, le=65535)
    """Preferred TCP port of the API; a free one is chosen, and said, when it is taken."""
    pki_port: int = Field(default=8080, ge=0, le=65535)
    """Preferred TCP port of the certificate authority (HTTPS)."""
    mqtt_port: int = Field(default=8883, ge=0, le=65535)
    """Preferred TCP port of the broker (TLS with client certificates)."""
    mqtt_account_port: int = Field(default=8884, ge=0, le=65535)
    """Preferred TCP port of the broker for MQTT users and agents without a certificate (TLS, name and password)."""
    listen_address: str = "127.0.0.1"
    """Address the broker and the certificate authority bind; the API stays on loopback."""
    workers: int = Field(default=1, ge=1, le=64)
    """Ingest processes; each takes a share of the stream. One core keeps up with most brokers."""
    simulate: int = Field(default=0, ge=0, le=10_000)
    """F2 controllers to simulate; 0 for none."""
    agent: bool = False
    """Whether an agent of this machine runs too, with an app to try: on Docker if there is one, else simulated."""
    device_api_port: int = Field(default=48484, ge=0, le=65535)
    """Preferred TCP port of that agent's device API, on loopback."""
    plain: bool = False
    """One JSON line on standard output when ready, then log lines on standard error; for programs."""
