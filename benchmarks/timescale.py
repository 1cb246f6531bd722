"""PostgreSQL 17 with TimescaleDB (Apache edition) in a temporary folder, for benchmarks and tests.

The programs are Debian's, unpacked by scripts/timescale.sh and kept for the next run. The server listens on
loopback with passwords (scram) under an account without rights, and dies with the process that started it.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pydantic import SecretStr

from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.tuning import configuration, memory_bytes
from iotistic.kernel.process import Account, die_with_parent, pick_port, service_account

_ROOT = Path(__file__).parents[1]
_PROGRAMS = Path("usr/lib/postgresql/17/bin")
_USER = "iotistic"
_READY_WITHIN_S = 30.0
_FETCH_WITHIN_S = 600.0
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
_SETTINGS = """
shared_preload_libraries = 'timescaledb'
dynamic_shared_memory_type = 'mmap'
# It asks a server on the Internet for its newest version otherwise.
timescaledb.telemetry_level = off
# Its scheduler stays connected to every database, which then can be neither copied nor dropped. The Apache
# edition has no job that we need.
timescaledb.max_background_workers = 0
"""


class TimescaleMissing(RuntimeError):  # noqa: N818 - named like the product's errors
    """TimescaleDB could not be had, or does not start."""


def programs() -> Path:
    """Return the folder of `postgres` and `initdb`, which are fetched when they are not there yet."""
    # An account without rights can walk to the first, and root's files are seldom readable to it elsewhere.
    cache = Path("/var/cache/iotistic") if os.geteuid() == 0 else _ROOT / ".tools"
    folder = cache / "timescale"
    done = subprocess.run(
        ["sh", _ROOT / "scripts/timescale.sh", folder],
        capture_output=True,
        text=True,
        check=False,
        timeout=_FETCH_WITHIN_S,
    )
    if done.returncode != 0:
        raise TimescaleMissing(done.stderr.strip())
    return folder / _PROGRAMS


class TimescaleServer:
    """One server with an empty cluster; everything of it is gone after `stop`."""

    def __init__(self) -> None:
        self._account: Account | None = service_account()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the postmaster; 0 before `start`."""
        return self._process.pid if self._process else 0

    def start(self) -> Dsn:
        """Return the address of the server's database `postgres`, for a superuser. Raises TimescaleMissing."""
        found = programs()
        self._folder = Path(tempfile.mkdtemp(prefix="iotistic-timescale-"))
        self._own(self._folder)
        password = SecretStr(secrets.token_urlsafe(24))
        self._make_cluster(found, password)
        port = pick_port(0)
        self._configure(port)
        self._process = self._spawn([found / "postgres", "-D", self._folder / "data"])
        self._wait_until_ready()
        return Dsn.of(user=_USER, host="127.0.0.1", port=port, database="postgres", password=password)

    def stop(self) -> None:
        """Stop the server and remove its folder."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(10)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _make_cluster(self, found: Path, password: SecretStr) -> None:
        password_file = self._folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(password.get_secret_value() + "\n", encoding="utf-8")
        self._own(password_file)
        options = [
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            f"--username={_USER}",
        ]
        options += [f"--pwfile={password_file}", f"--pgdata={self._folder / 'data'}"]
        if self._spawn([found / "initdb", *options]).wait(60) != 0:
            raise TimescaleMissing(f"initdb failed:\n{self._log.read_text(encoding='utf-8')}")
        password_file.unlink()

    def _configure(self, port: int) -> None:
        text = configuration(port=port, sockets=None, memory=memory_bytes(), shared_memory=0, lz4=True)
        (self._folder / "data/postgresql.conf").write_text(text + _SETTINGS, encoding="utf-8")

    @property
    def _log(self) -> Path:
        return self._folder / "postgres.log"

    def _own(self, path: Path) -> None:
        if self._account:
            os.chown(path, *self._account.owner)

    def _spawn(self, command: list[Path | str]) -> subprocess.Popen[bytes]:
        account = self._account
        with self._log.open("ab") as output:
            return subprocess.Popen(
                command,
                env=_ENVIRONMENT,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent(signal.SIGINT),  # noqa: PLW1509 - started before any thread
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )

    def _wait_until_ready(self) -> None:
        status = self._folder / "data/postmaster.pid"
        deadline = time.monotonic() + _READY_WITHIN_S
        while not (status.exists() and status.read_text(encoding="utf-8").rstrip().endswith("ready")):
            if time.monotonic() > deadline or (self._process and self._process.poll() is not None):
                raise TimescaleMissing(f"it does not start:\n{self._log.read_text(encoding='utf-8')}")
            time.sleep(0.02)


def main() -> None:
    """Fetch the programs, unless the tests are told to use another server."""
    if "TIMESCALE_TEST_URL" not in os.environ:
        sys.stdout.write(f"{programs()}\n")


if __name__ == "__main__":
    main()
