"""Keys and certificates of simulated devices: one file for all of them, readable by this user only.

A key is kept before its certificate is asked for. When the answer is lost, the same key is sent again,
and the authority gives the same certificate.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from iotistic.contracts.mac import Mac
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.files import PRIVATE

_SCHEMA = """
CREATE TABLE IF NOT EXISTS credentials (
    authority   TEXT NOT NULL,
    mac         TEXT NOT NULL,
    private_key BLOB NOT NULL,
    certificate BLOB,
    expires_at  REAL,
    PRIMARY KEY (authority, mac)
) WITHOUT ROWID
"""


class CredentialsUnreadable(Unavailable):
    """The file with the credentials of simulated devices cannot be used."""

    code = "simulator.credentials_unreadable"


@dataclass(frozen=True, slots=True)
class Credential:
    """A device's private key (PEM), and its certificate (PEM) once it has one that is valid."""

    private_key: bytes
    certificate: bytes | None = None

    @property
    def identity(self) -> bytes:
        """Key and certificate in one piece, as TLS takes them."""
        return self.private_key + (self.certificate or b"")


class CredentialStore:
    """Credentials under one authority, which is named by its certificate's fingerprint."""

    def __init__(self, folder: Path, *, authority: str) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / "credentials.sqlite"
        path.touch(mode=PRIVATE)
        path.chmod(PRIVATE)
        self._authority = authority
        self._db = sqlite3.connect(path, timeout=10)
        try:
            with self._db:
                self._db.execute(_SCHEMA)
        except sqlite3.DatabaseError as exc:
            self._db.close()
            raise CredentialsUnreadable(
                f"{path} cannot be used: {exc}", hint="remove the file; devices then enrol again"
            ) from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._db.close()

    def load(self, macs: Iterable[Mac], *, now: datetime) -> dict[Mac, Credential]:
        """Return what is kept for `macs`; a certificate that has expired is left out together with its key."""
        wanted = set(macs)
        rows = self._db.execute(
            "SELECT mac, private_key, certificate FROM credentials"
            " WHERE authority = ? AND (expires_at IS NULL OR expires_at > ?)",
            (self._authority, now.timestamp()),
        )
        return {Mac(mac): Credential(key, certificate) for mac, key, certificate in rows if mac in wanted}

    def keep_keys(self, keys: Mapping[Mac, bytes]) -> None:
        """Keep new private keys, whose certificates are still to come."""
        with self._db:
            self._db.executemany(
                "INSERT OR REPLACE INTO credentials (authority, mac, private_key) VALUES (?, ?, ?)",
                [(self._authority, mac, key) for mac, key in keys.items()],
            )

    def keep_certificates(self, certificates: Iterable[tuple[Mac, bytes, datetime]]) -> None:
        """Keep certificates (PEM) with the times at which they expire."""
        with self._db:
            self._db.executemany(
                "UPDATE credentials SET certificate = ?, expires_at = ? WHERE authority = ? AND mac = ?",
                [(pem, expires.timestamp(), self._authority, mac) for mac, pem, expires in certificates],
            )
