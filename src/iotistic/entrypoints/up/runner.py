"""The order in which an installation starts, and what holds it together while it runs.

Invariants:
- `endpoints.json` exists only while everything it names was ready once and stopping has not begun;
- the simulator starts after it, because it finds the broker and the authority there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import iotistic
from iotistic.entrypoints.installation import Endpoints
from iotistic.entrypoints.up import memory, try_out
from iotistic.entrypoints.up.engines import Mosquitto, Postgres
from iotistic.entrypoints.up.observer import Observer
from iotistic.entrypoints.up.owner import Login, ensure_owner
from iotistic.entrypoints.up.parts import OwnProcess
from iotistic.entrypoints.up.ports import LOOPBACK, choose
from iotistic.entrypoints.up.processes import Processes, local_host
from iotistic.entrypoints.up.progress import Progress
from iotistic.entrypoints.up.settings import UpSettings
from iotistic.entrypoints.up.supervisor import Supervisor
from iotistic.kernel.files import secret_file
from iotistic.kernel.migrations import runner as migrations
from iotistic.kernel.mosquitto.config import AccountListener
from iotistic.kernel.mosquitto.server import BrokerTls, MosquittoServer
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import open_connection
from iotistic.pki.identities import ensure_broker_certificate

_MIGRATIONS = Path(iotistic.__file__).parent / "migrations"
_SERVICE_USER = "iotistic"
_NAMES = {
    "api": "the API",
    "pki": "the certificate authority",
    "mqtt": "the broker",
    "mqtt_account": "the broker, for accounts,",
}


@dataclass
class Runner:
    """Starts one installation under `supervisor`, step by step."""

    settings: UpSettings
    supervisor: Supervisor
    progress: Progress
    first_run: bool = field(init=False)
    login: Login | None = field(default=None, init=False)
    """How the owner logs in; only in the run that made it."""
    _health: dict[str, str] = field(default_factory=dict[str, str], init=False)
    _own_broker: Mosquitto | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.home = self.settings.home
        self.first_run = not self.home.api_token.exists()
        self.token = secret_file(self.home.api_token, prefix="iot_")
        self._past = memory.recall(self.home)
        self.ports = choose(self.settings, self._past.ports)

    async def start(self) -> Endpoints:
        """Start everything and return where it listens. Raises the error of the step that failed."""
        self._announce_ports()
        base = {"IOTISTIC_HOME": str(self.home.path), "API_TOKEN_FILE": str(self.home.api_token)}
        base |= self._broker_access()
        base |= await self._database()
        processes = Processes(self.settings, self.ports, base)
        await self._keepers(processes)
        if not self.settings.mqtt_broker_url:
            await self._broker()
        await self._ingest(processes)
        await self._observer()
        endpoints = self._endpoints()
        endpoints.write(self.home)
        if self.settings.agent:
            with self.progress.step("agent"):
                await self._start_observed(processes.agent())
            await self._take_agent_in(endpoints.api)
            endpoints = self._endpoints()
            endpoints.write(self.home)
        if self.settings.simulate:
            with self.progress.step(f"simulator ({self.settings.simulate} F2 controllers)"):
                await self.supervisor.start(processes.simulator())
        self._remember(workers=self.settings.workers)
        return endpoints

    def _announce_ports(self) -> None:
        for name, choice in self.ports.items():
            if choice.moved and name in _NAMES:
                self.progress.warn(
                    f"port {choice.wanted} is taken by another program; {_NAMES[name]} uses {choice.port}"
                )

    async def _database(self) -> Mapping[str, str]:
        if self.settings.database_url:
            environment: dict[str, str] = {}
            dsn = self.settings.dsn
        else:
            with self.progress.step("PostgreSQL"):
                engine = Postgres(self.home, self.progress.note)
                await self.supervisor.start(engine)
            dsn = engine.dsn
            environment = {
                "DATABASE_URL": dsn.url,
                "DATABASE_PASSWORD_FILE": str(self.home.secrets / "postgres-password"),
            }
        with self.progress.step("database schema"):
            await self._migrate(dsn)
        return environment

    async def _migrate(self, dsn: Dsn) -> None:
        connection = await open_connection(dsn, application_name="iotistic-up")
        try:
            await migrations.migrate(connection, _MIGRATIONS)
        finally:
            await connection.close()
        self.login = await ensure_owner(dsn)

    async def _take_agent_in(self, api: str) -> None:
        """Make the agent a device of the fleet. It works without, so an installation starts all the same."""
        device_api = f"http://{LOOPBACK}:{self.ports['device_api'].port}"
        try:
            with self.progress.step("agent's place in the fleet"):
                await try_out.ensure_enrolled(api, self.token, device_api)
        except try_out.NotTakenIn as exc:
            self.progress.warn(exc.message)

    def _broker_access(self) -> Mapping[str, str]:
        """Return how our services reach the broker, own or foreign, before it runs."""
        if self.settings.mqtt_broker_url:
            return {}
        password = self.home.secrets / "mqtt-service-password"
        secret_file(password)
        return {
            "MQTT_SERVICE_HOST": LOOPBACK,
            "MQTT_SERVICE_PORT": str(self.ports["mqtt_service"].port),
            "MQTT_SERVICE_USERNAME": _SERVICE_USER,
            "MQTT_SERVICE_PASSWORD_FILE": str(password),
        }

    async def _keepers(self, processes: Processes) -> None:
        with self.progress.step("certificate authority and maintenance"):
            await self._start_observed(processes.pki(), processes.maintenance())

    async def _broker(self) -> None:
        with self.progress.step("broker"):
            identity = ensure_broker_certificate(
                self.home, self.settings, listen_addresses=[self.settings.listen_address]
            )
            server = MosquittoServer(
                self.home,
                tls=BrokerTls(
                    ca=self.home.ca_certificate,
                    certificate=identity.certificate,
                    key=identity.key,
                    crl=identity.crl,
                ),
                device_host=self.settings.listen_address,
                device_port=self.ports["mqtt"].port,
                service_port=self.ports["mqtt_service"].port,
                accounts=AccountListener(
                    host=self.settings.listen_address, port=self.ports["mqtt_account"].port
                ),
                debug_lines=self.settings.broker_debug_lines,
            )
            self._own_broker = Mosquitto(self.home, server)
            await self.supervisor.start(self._own_broker)

    async def _ingest(self, processes: Processes) -> None:
        count = self.settings.workers
        # Remembered before they start: a worker that ever subscribed must be retired one day.
        self._remember(workers=max(count, self._past.workers))
        with self.progress.step(
            "API, control plane and ingest"
            if count == 1
            else f"API, control plane and {count} ingest workers"
        ):
            broker = self._own_broker
            on_ready = broker.save if broker else None
            workers = [processes.ingest(worker, on_ready=on_ready) for worker in range(count)]
            workers.append(processes.backlog(on_ready=on_ready))
            await self._start_observed(processes.api(), processes.control(), *workers)
            if broker is not None:
                broker.subscribers += [worker.ready for worker in workers]
        for worker in range(count, self._past.workers):
            with self.progress.step(f"ingest: retiring worker {worker}, storing what waits for it"):
                retirement = processes.retirement(worker)
                await retirement.start()
                await retirement.finish()

    async def _observer(self) -> None:
        observer = Observer(self.home, self.ports["up"].port, self.supervisor.states)
        await self.supervisor.start(observer)
        self._health[observer.name] = observer.health_url

    async def _start_observed(self, *parts: OwnProcess) -> None:
        await self.supervisor.start(*parts)
        self._health |= {part.name: part.health_url for part in parts if part.health_url}

    def _endpoints(self) -> Endpoints:
        host = local_host(self.settings.listen_address)
        return Endpoints(
            home=str(self.home.path),
            api=f"http://{LOOPBACK}:{self.ports['api'].port}",
            mqtt=self.settings.mqtt_broker_url or f"mqtts://{host}:{self.ports['mqtt'].port}",
            pki=f"https://{host}:{self.ports['pki'].port}",
            ca=str(self.home.ca_certificate),
            health=self._health,
        )

    def _remember(self, *, workers: int) -> None:
        numbers = {**self._past.ports, **{name: choice.port for name, choice in self.ports.items()}}
        self._past = replace(self._past, ports=numbers, workers=workers)
        memory.remember(self.home, self._past)
