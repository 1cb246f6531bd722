"""The broker's folder, with every file that it reads written as its account can read it."""

import os
from dataclasses import dataclass
from pathlib import Path

from iotistic.kernel.files import PRIVATE, write_atomic
from iotistic.kernel.mosquitto.accounts import AccountFiles
from iotistic.kernel.mosquitto.config import OPENSSL, BrokerConfig, BrokerFiles
from iotistic.kernel.mosquitto.handshake import ServiceAccess
from iotistic.kernel.mosquitto.passwords import password_line
from iotistic.kernel.mosquitto.put_off import PutOffClients
from iotistic.kernel.mosquitto.revocations import RevocationFolder


@dataclass(frozen=True, kw_only=True)
class BrokerTls:
    """PEM files of the certificate authority's side; the broker gets copies that its account can read."""

    ca: Path
    certificate: Path
    key: Path
    crl: Path


class BrokerFolder:
    """Files of one broker; `owner` is the (uid, gid) of its account, None when that is ours."""

    def __init__(self, files: BrokerFiles, *, owner: tuple[int, int] | None) -> None:
        self._files = files
        self._owner = owner
        self.revoked = RevocationFolder(files.revoked, owner=owner)
        self.put_off = PutOffClients(files.put_off, owner=owner)
        self.accounts = AccountFiles(files.folder, owner=owner)

    def write(self, config: BrokerConfig, tls: BrokerTls, access: ServiceAccess) -> None:
        """Write configuration, password, ACL and TLS files, for a broker that does not run.

        Lists that came while one ran are cleared before the first one is copied: whoever adds one meanwhile
        has written the source before, or finds the folder empty.
        """
        files = self._files
        self._make_folders()
        self.revoked.clear()
        self.put_off.clear()
        passwords, acl = self.accounts.wanted
        self._write(files.passwords, password_line(access.username, access.password) + passwords)
        self._write(files.acl, config.render_acl() + acl)
        for source, copy in (
            (tls.ca, files.ca),
            (tls.certificate, files.certificate),
            (tls.key, files.key),
            (tls.crl, files.crl),
        ):
            # A list that lies in its place already is another process's to replace, at any time.
            if source != copy:
                self._write(copy, source.read_bytes())
        self._write(files.openssl, OPENSSL)
        self._write(files.config, config.render())
        self.accounts.started_with(passwords, acl)

    def _make_folders(self) -> None:
        for folder in (self._files.data, self._files.revoked):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)
            if self._owner is not None:
                os.chown(folder, *self._owner)

    def _write(self, path: Path, content: bytes | str) -> None:
        write_atomic(path, content, mode=PRIVATE, owner=self._owner)
