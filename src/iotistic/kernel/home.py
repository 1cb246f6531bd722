"""`IOTISTIC_HOME`: the one folder that holds all state of an installation.

    secrets/      api-token, engine passwords, passphrases    (folder 700, files 600)
    pki/          CA, broker certificate, CRL
    engines/      PostgreSQL and Mosquitto: binaries, configuration, data (see `engines_folder`)
    run/          endpoints.json of the running installation, sockets, locks
    logs/         one file per process
    simulator/    credentials of simulated devices

Removing the folder starts over.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from iotistic.kernel.errors import Invalid
from iotistic.kernel.settings import Settings


class HomeUnusable(Invalid):
    """The folder of the installation cannot be made."""

    code = "home.unusable"


def default_home() -> Path:
    """Return the XDG state folder of this user."""
    # expanduser() leaves the ~ of a user without a home folder (an unknown id in a container).
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111
    return Path(state) / "iotistic"


class HomeSettings(Settings):
    """Where the installation keeps its state."""

    iotistic_home: Path = default_home()
    """Folder with all state of the installation; removing it starts over."""

    @property
    def home(self) -> "Home":
        """The layout below the folder."""
        path = self.iotistic_home
        if str(path).startswith("~"):
            try:
                path = path.expanduser()
            except RuntimeError as exc:
                raise HomeUnusable(
                    "this user has no home folder", hint="set IOTISTIC_HOME to a folder that you can write to"
                ) from exc
        return Home(path.absolute())


@dataclass(frozen=True)
class Home:
    """Paths below one installation's folder."""

    path: Path

    def create(self) -> None:
        """Make the folders; secrets and run files are for this user only. Raises HomeUnusable."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o711)
            for private in (self.secrets, self.pki, self.run, self.logs, self.simulator):
                private.mkdir(exist_ok=True, mode=0o700)
        except OSError as exc:
            raise HomeUnusable(
                f"{exc.filename or self.path}: {exc.strerror}",
                hint="set IOTISTIC_HOME to a folder that you can write to",
            ) from exc

    @property
    def secrets(self) -> Path:
        """Folder of generated secrets, mode 700."""
        return self.path / "secrets"

    @property
    def api_token(self) -> Path:
        """The operator token: bearer token of the API and enrolment token of the certificate authority."""
        return self.secrets / "api-token"

    @property
    def ledger_key(self) -> Path:
        """The key that receipts of the delivery ledger are signed with; its public key ends in `.pub`."""
        return self.secrets / "ledger.key"

    @property
    def pki(self) -> Path:
        """Folder of the certificate authority, mode 700."""
        return self.path / "pki"

    @property
    def ca_certificate(self) -> Path:
        """The CA certificate (PEM) that every client trusts."""
        return self.pki / "ca.crt"

    @property
    def engines(self) -> Path:
        """Folder of PostgreSQL's and Mosquitto's binaries, configuration and data."""
        return self.path / "engines"

    @property
    def run(self) -> Path:
        """Folder of sockets, locks and `endpoints.json`, mode 700."""
        return self.path / "run"

    @property
    def endpoints(self) -> Path:
        """JSON file with the addresses of the running installation; absent when it does not run."""
        return self.run / "endpoints.json"

    @property
    def logs(self) -> Path:
        """Folder with one log file per process."""
        return self.path / "logs"

    @property
    def simulator(self) -> Path:
        """Folder with the credentials of simulated devices."""
        return self.path / "simulator"
