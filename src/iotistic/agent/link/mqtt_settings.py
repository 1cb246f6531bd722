"""What can be set about the agent's broker."""

from pathlib import Path

from iotistic.agent.link.broker import KEEP_ALIVE_S, OwnBroker
from iotistic.kernel.settings import Settings, SettingsInvalid
from iotistic.kernel.settings_words import Field, SecretStr


class MqttLinkSettings(Settings):
    """The agent's broker. What provisioning brought comes first."""

    mqtt_broker: str = ""
    """Broker of a device that was given none by provisioning: `mqtts://host[:port]`, `mqtt://host[:port]` (in the
    clear), or a host alone (in the clear)."""
    mqtt_username: str = ""
    """User name at that broker."""
    mqtt_password: SecretStr = SecretStr("")
    """Password at that broker; better given as a file."""
    mqtt_ca_file: Path | None = None
    """CA certificates (PEM) that that broker's certificate is checked against; the system's own when not set."""
    mqtt_verify_certificate: bool = True
    """Whether that broker's certificate is checked. Without it anybody on the way can read and write along."""
    mqtt_keep_alive_s: int = Field(default=KEEP_ALIVE_S, ge=10, le=65_535)
    """Seconds of silence after which the connection is pinged, unless provisioning says otherwise. Short ones cost
    data: each ping is about 200 bytes on a mobile network."""
    mqtt_reconnect_spread_s: float = Field(default=30.0, ge=0, le=3600)
    """Seconds over which a fleet spreads its return after an outage; each device has its own moment."""

    def own_broker(self) -> OwnBroker:
        """Return the broker that was set. Raises SettingsInvalid when its CA cannot be read."""
        try:
            ca_pem = self.mqtt_ca_file.read_text("ascii") if self.mqtt_ca_file else ""
        except (OSError, ValueError) as exc:
            raise SettingsInvalid(f"MQTT_CA_FILE cannot be read: {exc}") from exc
        return OwnBroker(
            self.mqtt_broker,
            self.mqtt_username,
            self.mqtt_password.get_secret_value(),
            ca_pem,
            self.mqtt_verify_certificate,
            self.mqtt_keep_alive_s,
        )
