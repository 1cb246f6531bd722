"""Paths of the broker's files."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BrokerFiles:
    """Paths of the broker's files below its engine folder."""

    folder: Path

    @property
    def config(self) -> Path:
        """mosquitto.conf."""
        return self.folder / "mosquitto.conf"

    @property
    def passwords(self) -> Path:
        """Password file of the services."""
        return self.folder / "passwords"

    @property
    def acl(self) -> Path:
        """Access rules."""
        return self.folder / "access.acl"

    @property
    def ca(self) -> Path:
        """Certificate authority that device certificates are checked against (PEM)."""
        return self.folder / "ca.crt"

    @property
    def certificate(self) -> Path:
        """The broker's own certificate (PEM)."""
        return self.folder / "broker.crt"

    @property
    def key(self) -> Path:
        """The broker's private key (PEM)."""
        return self.folder / "broker.key"

    @property
    def crl(self) -> Path:
        """Certificate revocation list that the broker starts with (PEM)."""
        return self.folder / "revoked.crl"

    @property
    def revoked(self) -> Path:
        """Folder of the revocation lists that came after the start."""
        return self.folder / "revoked"

    @property
    def put_off(self) -> Path:
        """Clients whose return needs a restart (JSON)."""
        return self.folder / "put-off.json"

    @property
    def openssl(self) -> Path:
        """OpenSSL's configuration."""
        return self.folder / "openssl.cnf"

    @property
    def data(self) -> Path:
        """Folder of the persistence file."""
        return self.folder / "data"

    @property
    def pid(self) -> Path:
        """File with the process id of the running broker."""
        return self.folder / "mosquitto.pid"
