"""Mosquitto as our child: its files written, its process started, its readiness proved, its end ours.

    files (atomic) -> spawn under the service account -> CONNECT/CONNACK on the service listener -> ready

It is started already switched to the account, so it never needs root. SIGTERM makes it save; that is also
what it gets when we die. It never gets SIGHUP (docs/decisions/0003): what it has to read again, it reads at
a start, for which `ask_restart` ends it; whoever keeps it starts it again.
"""

import asyncio
import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from iotistic.kernel.engines import engine_folder
from iotistic.kernel.errors import Conflict, Unavailable
from iotistic.kernel.files import secret_file
from iotistic.kernel.home import Home
from iotistic.kernel.mosquitto.config import (
    AccountListener,
    BrokerConfig,
    BrokerFiles,
    BrokerLimits,
    DeviceListener,
    ServiceListener,
)
from iotistic.kernel.mosquitto.folder import BrokerFolder, BrokerTls
from iotistic.kernel.mosquitto.handshake import ServiceAccess, visit
from iotistic.kernel.mosquitto.install import find_mosquitto
from iotistic.kernel.mosquitto.log import BrokerLog
from iotistic.kernel.mqtt.errors import BrokerUnavailable
from iotistic.kernel.process import Account, raise_file_limit, service_account, spawn, stop

ENGINE = "mosquitto"
_log = structlog.get_logger()
_PROBE_INTERVAL_S = 0.05
_SAVE_WITHIN_S = 60.0


class BrokerPortTaken(Conflict):
    """Another program listens on a port that the broker needs."""

    code = "broker.port_taken"


class BrokerNotStarted(Unavailable):
    """Mosquitto did not start."""

    code = "broker.not_started"


@dataclass(frozen=True, kw_only=True)
class BrokerEndpoints:
    """Where a running broker listens."""

    device_host: str
    device_port: int
    service_host: str
    service_port: int
    service_username: str
    service_password_file: Path


class MosquittoServer:
    """One managed broker. Ports are the caller's choice; a taken one raises BrokerPortTaken."""

    def __init__(
        self,
        home: Home,
        *,
        tls: BrokerTls,
        device_port: int,
        service_port: int,
        device_host: str = "127.0.0.1",
        service_host: str = "127.0.0.1",
        password_file: Path | None = None,
        accounts: AccountListener | None = None,
        limits: BrokerLimits | None = None,
        debug_lines: bool = False,
    ) -> None:
        self._account: Account | None = service_account()
        self._password_file = password_file or home.secrets / "mqtt-service-password"
        self._tls = tls
        self._restart_asked = False
        self._log: BrokerLog | None = None
        self._process: asyncio.subprocess.Process | None = None
        self.config = BrokerConfig(
            files=BrokerFiles(engine_folder(home, ENGINE, self._account)),
            devices=DeviceListener(host=device_host, port=device_port),
            services=ServiceListener(host=service_host, port=service_port),
            accounts=accounts,
            limits=limits or BrokerLimits(),
            debug_lines=debug_lines,
        )
        self._folder = BrokerFolder(self.config.files, owner=self._account.owner if self._account else None)

    @property
    def restart_asked(self) -> bool:
        """Whether the broker was ended, or is about to end, to be started again; others may ask as well."""
        return self._restart_asked or self._folder.accounts.is_restart_asked

    @property
    def restart_wished(self) -> bool:
        """Whether another process asks for a start, and the last one is over."""
        return self._folder.accounts.is_restart_asked and self._folder.accounts.is_ready

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The running child. Raises BrokerNotStarted before `start`."""
        if self._process is None:
            raise BrokerNotStarted
        return self._process

    @property
    def endpoints(self) -> BrokerEndpoints:
        """Where the broker listens, and where the service password lies."""
        return BrokerEndpoints(
            device_host=self.config.devices.host,
            device_port=self.config.devices.port,
            service_host=self.config.services.host,
            service_port=self.config.services.port,
            service_username=self.config.services.username,
            service_password_file=self._password_file,
        )

    @property
    def access(self) -> ServiceAccess:
        """How a service reaches the broker, password included."""
        services = self.config.services
        return ServiceAccess(
            services.host, services.port, services.username, secret_file(self._password_file)
        )

    async def start(self, *, within_s: float = 30) -> BrokerEndpoints:
        """Start the broker and return once it accepts our services.

        Raises BrokerMissing, BrokerPortTaken, or BrokerNotStarted with the broker's last words.
        """
        binary = find_mosquitto()
        for listener in (self.config.devices, self.config.services, self.config.accounts):
            if listener is not None:
                _require_free(listener.host, listener.port)
        self._restart_asked = False
        self._folder.write(self.config, self._tls, self.access)
        raise_file_limit()
        reading, writing = os.pipe()
        try:
            self._process = await spawn(
                [binary, "-c", self.config.files.config],
                account=self._account,
                env=os.environ | {"OPENSSL_CONF": str(self.config.files.openssl)},
                cwd=self.config.files.folder,
                stderr=writing,
                death_signal=signal.SIGTERM,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._log = BrokerLog(reading, config=self.config, on_device=self._admitted)
        self._log.start()
        await self._ready(within_s)
        self._folder.accounts.note_ready()
        return self.endpoints

    async def stop(self) -> None:
        """Stop the broker; it saves sessions, queued and retained messages first."""
        if self._process is not None:
            await stop(self._process, within_s=_SAVE_WITHIN_S)
        if self._log is not None:
            await asyncio.to_thread(self._log.join)

    def ask_restart(self, reason: str) -> None:
        """Let the broker save and end; whoever waits for its end starts it again, with all files made anew.

        This is how it takes over another password, other rules or certificates. Any thread may call it.
        """
        self._restart_asked = True
        _log.warning("broker.restart_asked", reason=reason)
        self._signal(signal.SIGTERM)

    def save(self) -> None:
        """Let the broker save now, so that a session made a moment ago outlives `kill -9`."""
        self._signal(signal.SIGUSR1)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def _admitted(self, client: str) -> None:
        """Start anew when a device that was put off has resumed its TLS session, or lists are too many."""
        if self._restart_asked:
            return
        if client in self._folder.put_off:
            self.ask_restart(f"{client} was put off and is back")
        elif self._folder.revoked.full:
            self.ask_restart("many revocation lists have gathered")

    async def _ready(self, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while not await self._answers():
            if self.process.returncode is not None or time.monotonic() > deadline:
                await self.stop()
                words = self._log.last_lines() if self._log else []
                raise BrokerNotStarted(
                    "Mosquitto did not start: " + (words[-1] if words else "it said nothing"),
                    status=self.process.returncode,
                    last_words=words,
                )
            await asyncio.sleep(_PROBE_INTERVAL_S)

    async def _answers(self) -> bool:
        try:
            await visit(self.access, client_id="iotistic-readiness")
        except BrokerUnavailable:
            return False
        return True


def _require_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            raise BrokerPortTaken(
                f"{host}:{port} cannot be bound: {exc.strerror}",
                hint="free the port or choose another one",
                host=host,
                port=port,
            ) from exc
