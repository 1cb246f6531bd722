"""Settings of the certificate authority."""

from pathlib import Path

from pydantic import Field, SecretStr

from iotistic.kernel.mosquitto.settings import BrokerFolderSettings
from iotistic.kernel.settings import Settings


class AuthoritySettings(Settings):
    """The authority's key and the life of what it issues; the parent process needs these too."""

    ca_cn: str = Field(default="IoT_CA", min_length=1, max_length=64)
    """Common name of the authority that is made on the first run."""
    ca_expiry: int = Field(default=3650, ge=1, le=36500)
    """Days that the authority's own certificate is valid."""
    broker_cn: str = Field(default="mqtt-broker", min_length=1, max_length=64)
    """Common name of the broker's certificate."""
    broker_expiry: int = Field(default=3650, ge=1, le=36500)
    """Days that certificates of the broker and of the authority's own HTTPS are valid."""
    device_expiry: int = Field(default=365, ge=1, le=36500)
    """Days that a device's certificate is valid."""
    ca_key: Path | None = None
    """File with the private key (PEM) of an existing authority; with CA_CERT, nothing is made."""
    ca_cert: Path | None = None
    """File with the certificate (PEM) of an existing authority."""
    ca_passphrase: SecretStr | None = None
    """Passphrase of CA_KEY when that is encrypted; the authority made here keeps its own in a file."""
    mqtt_broker_host: str | None = None
    """A further name or address that devices reach the broker under; goes into its certificate."""


class PkiSettings(AuthoritySettings, BrokerFolderSettings):
    """The authority's HTTP face."""

    pki_host: str = "127.0.0.1"
    """Address that HTTPS listens on."""
    pki_port: int = Field(default=8080, ge=0, le=65535)
    """Port that HTTPS listens on; 0 takes a free one."""
    api_token: SecretStr
    """The operator token: may do everything here."""
