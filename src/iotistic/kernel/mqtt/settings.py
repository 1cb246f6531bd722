"""How services reach the broker: the installation's own listener, or a broker named by URL."""

import ssl
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator

from iotistic.kernel.settings import Settings

_PLAIN, _TLS = "mqtt", "mqtts"
_DEFAULT_PORTS = {_PLAIN: 1883, _TLS: 8883}


class MqttSettings(Settings):
    """The service side of the broker."""

    mqtt_service_host: str = "127.0.0.1"
    """Host of the broker's listener for services."""
    mqtt_service_port: int = 1883
    """Port of the broker's listener for services."""
    mqtt_service_username: str = "iotistic"
    """User name of services at the broker."""
    mqtt_service_password: SecretStr = SecretStr("")
    """Password of services at the broker; usually given as a file."""
    mqtt_broker_url: str | None = None
    """A broker elsewhere, `mqtt://host:port` or `mqtts://host:port`; replaces host and port. User name and
    password are not taken from the URL, because URLs end up in logs and process lists."""
    mqtt_ca_file: Path | None = None
    """CA certificates (PEM) that an `mqtts://` broker's certificate is checked against; the system's own when
    not set."""

    @field_validator("mqtt_broker_url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise ValueError("expected mqtt://host[:port] or mqtts://host[:port]")
        if parts.username or parts.password:
            raise ValueError(
                "user name and password belong in MQTT_SERVICE_USERNAME and MQTT_SERVICE_PASSWORD_FILE"
            )
        if parts.port == 0:
            raise ValueError("port 0 cannot be connected to")
        return url

    @property
    def mqtt_address(self) -> tuple[str, int]:
        """Host and port to connect to."""
        if self.mqtt_broker_url is None:
            return self.mqtt_service_host, self.mqtt_service_port
        parts = urlsplit(self.mqtt_broker_url)
        return parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]

    def mqtt_tls(self) -> ssl.SSLContext | None:
        """Return the TLS context of an `mqtts://` broker, None for plain connections."""
        if self.mqtt_broker_url is None or urlsplit(self.mqtt_broker_url).scheme == _PLAIN:
            return None
        return ssl.create_default_context(cafile=self.mqtt_ca_file)
