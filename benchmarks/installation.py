"""A throwaway installation: PostgreSQL, Mosquitto and ingest workers in a temporary home.

    with installation(workers=1) as site:
        site.broker_port, site.pids, site.scalar("SELECT count(*) FROM decoded_data")

Everything in it is the product's own: its supervisors, its migrations, its worker process. The home is
removed at the end, and the kernel ends the children should this process be killed.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import iotistic
from benchmarks.certificates import BenchAuthority
from iotistic.kernel.files import secret_file
from iotistic.kernel.home import Home
from iotistic.kernel.migrations import runner as migrations
from iotistic.kernel.mosquitto.server import BrokerTls, MosquittoServer
from iotistic.kernel.postgres.pool import open_connection
from iotistic.kernel.postgres.server import PostgresServer
from iotistic.kernel.process import die_with_parent, pick_port

T = TypeVar("T")
_MIGRATIONS = Path(iotistic.__file__).parent / "migrations"
_READY_WITHIN_S = 60.0
_STOP_WITHIN_S = 20.0
_LOG_STEP_MIB = 16
_LOG_STEP = """
SELECT count(pg_logical_emit_message(false, 'bench', repeat('x', 1048576))) FROM generate_series(1, 16)
"""


class InstallationFailed(RuntimeError):  # noqa: N818 - named like the product's errors
    """A process of the throwaway installation did not start, or ended by itself."""


class Child:
    """One process of the product, with its log file and its health port."""

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self._log = log
        self.health_port = int(environment["METRICS_PORT"])
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "iotistic", *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent(),  # noqa: PLW1509 - this process has no threads yet that hold locks
            )
        self.pid = self._process.pid

    def wait_ready(self, url: str) -> None:
        """Wait until `url` answers 200."""
        deadline = time.monotonic() + _READY_WITHIN_S
        while not answers(url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise InstallationFailed(f"{self.name} is not ready:\n{self.log_tail()}")
            time.sleep(0.05)

    def log_tail(self) -> str:
        """Return the end of its log."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-3000:]

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ask it to stop; kill it when it does not."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()


class Installation:
    """The engines and processes of one benchmark; made by `installation`."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.home = Home(folder)
        self.home.create()
        self.authority = BenchAuthority(folder / "authority")
        self._stack = stack
        self._loop = stack.enter_context(asyncio.Runner())
        self.pids: dict[str, int] = {}
        self.workers: list[Child] = []

    def start_engines(self) -> None:
        """Start PostgreSQL with the product's schema, and Mosquitto."""
        self._postgres = PostgresServer(self.home, preferred_port=0)
        self._stack.callback(self._run_stop, self._postgres)
        self.dsn = self.run(self._postgres.start())
        self.run(self._migrate())
        own = self.authority.issue("localhost")
        tls = BrokerTls(ca=self.authority.certificate, certificate=own, key=own, crl=self.authority.crl)
        self._broker = MosquittoServer(
            self.home, tls=tls, device_port=pick_port(0), service_port=pick_port(0)
        )
        self._stack.callback(self._run_stop, self._broker)
        self.endpoints = self.run(self._broker.start())
        self.pids |= {"postgres": self._postgres.pid or 0, "broker": self._broker.process.pid}

    def start_worker(self, number: int = 0) -> Child:
        """Start one ingest worker and wait until it is ready."""
        child = self._start(f"ingest-{number}", ["ingest", "--worker", str(number)], {})
        child.wait_ready(f"http://127.0.0.1:{child.health_port}/health/ready")
        self.workers.append(child)
        self.pids[child.name] = child.pid
        return child

    def start_api(self, **environment: str) -> str:
        """Start the API, with further settings, and return its base URL; its token is in `home.api_token`."""
        secret_file(self.home.api_token, prefix="iot_")
        port = pick_port(0)
        own = {"API_HOST": "127.0.0.1", "API_PORT": str(port)}
        child = self._start("api", ["api"], own | environment)
        child.wait_ready(f"http://127.0.0.1:{port}/health/ready")
        self.pids["api"] = child.pid
        return f"http://127.0.0.1:{port}"

    def start_stage(self, kind: str, **environment: str) -> Child:
        """Start a connector, a processor or a sink and wait until it is ready."""
        child = self._start(kind, [kind], environment)
        child.wait_ready(f"http://127.0.0.1:{child.health_port}/health/ready")
        return child

    def start_maintenance(self, **environment: str) -> None:
        """Start the maintenance process."""
        child = self._start("maintenance", ["maintenance"], environment)
        child.wait_ready(f"http://127.0.0.1:{child.health_port}/health/ready")
        self.pids["maintenance"] = child.pid

    def run(self, work: Awaitable[T]) -> T:
        """Run a coroutine in the installation's loop."""

        async def await_it() -> T:
            return await work

        return self._loop.run(await_it())

    def execute(self, *statements: str) -> None:
        """Run statements one by one, each in its own transaction."""
        self.run(self._execute(statements))

    def use_log(self, mib: int) -> None:
        """Leave files for so much of PostgreSQL's log behind, as an installation that ran for a while has them.

        A file that is new is filled with zeros and synced first, while every commit waits.
        """
        self.execute(*[_LOG_STEP] * -(-mib // _LOG_STEP_MIB), "CHECKPOINT")

    def scalar(self, query: str) -> object:
        """Return the first value of the first row."""
        return self.run(self._scalar(query))

    def environment(self) -> dict[str, str]:
        """Return what `up` passes to its children."""
        secrets = self.home.secrets
        return {
            **os.environ,
            "IOTISTIC_HOME": str(self.home.path),
            "DATABASE_URL": self._postgres.near.url,
            "DATABASE_PASSWORD_FILE": str(secrets / "postgres-password"),
            "MQTT_SERVICE_HOST": self.endpoints.service_host,
            "MQTT_SERVICE_PORT": str(self.endpoints.service_port),
            "MQTT_SERVICE_USERNAME": self.endpoints.service_username,
            "MQTT_SERVICE_PASSWORD_FILE": str(self.endpoints.service_password_file),
            "API_TOKEN_FILE": str(self.home.api_token),
            "METRICS_PORT": str(pick_port(0)),
        }

    def _start(self, name: str, arguments: list[str], extra: dict[str, str]) -> Child:
        child = Child(name, arguments, self.environment() | extra, self.home.logs / f"{name}.log")
        self._stack.callback(child.stop)
        return child

    def _run_stop(self, engine: PostgresServer | MosquittoServer) -> None:
        self.run(engine.stop())

    async def _migrate(self) -> None:
        connection = await open_connection(self.dsn, application_name="benchmark")
        try:
            await migrations.migrate(connection, _MIGRATIONS)
            await connection.execute(
                "SELECT ensure_partitions(ARRAY(SELECT current_date + n FROM generate_series(-2, 2) AS n))"
            )
        finally:
            await connection.close()

    async def _execute(self, statements: tuple[str, ...]) -> None:
        connection = await open_connection(self.dsn, application_name="benchmark")
        try:
            for statement in statements:
                await connection.execute(statement, timeout=600)
        finally:
            await connection.close()

    async def _scalar(self, query: str) -> object:
        connection = await open_connection(self.dsn, application_name="benchmark")
        try:
            return await connection.fetchval(query, timeout=600)
        finally:
            await connection.close()


@contextmanager
def installation(*, workers: int = 1) -> Iterator[Installation]:
    """Bring up an installation with that many ingest workers; remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="iotistic-bench-") as folder, ExitStack() as stack:
        Path(folder).chmod(0o711)  # the engines' account walks through it
        site = Installation(Path(folder) / "home", stack)
        site.start_engines()
        for number in range(workers):
            site.start_worker(number)
        yield site


def answers(url: str) -> bool:
    """Say whether a URL of ours answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own loopback address
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False
