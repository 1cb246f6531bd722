r"""The whole pipeline as processes, every one of which can be killed, and is started again.

    devices --TLS--> Mosquitto --> connector --> Kafka --> 2 processors --> Kafka --> 2 sinks --> PostgreSQL
                                                        \__ Redis __/          maintenance (the ledger)

All children are started from the loop's own thread: the kernel ends a child with the thread that made it.
"""

import asyncio
import contextlib
import itertools
import json
import os
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import iotistic
from benchmarks.certificates import BenchAuthority
from benchmarks.fault_devices import Device
from benchmarks.installation import Child, answers
from benchmarks.kafka_cluster import KafkaCluster
from benchmarks.redis_server import RedisServer
from iotistic.kernel.files import secret_file
from iotistic.kernel.home import Home
from iotistic.kernel.migrations import runner as migrations
from iotistic.kernel.mosquitto.server import BrokerTls, MosquittoServer
from iotistic.kernel.mqtt.tls import TlsIdentities
from iotistic.kernel.postgres.pool import open_connection
from iotistic.kernel.postgres.server import PostgresServer
from iotistic.kernel.process import pick_port
from iotistic.simulation.f2.fleet import controller_mac

VICTIMS = ("connector", "processor", "sink", "kafka", "redis", "postgres", "mosquitto")
GROUPS = ("processor", "sink")
_ALONE = ("maintenance", "api")
_MIGRATIONS = Path(iotistic.__file__).parent / "migrations"
_READY_WITHIN_S = 60.0


@dataclass(frozen=True)
class SiteOptions:
    """What matters for the time to heal."""

    brokers: int = 1
    """Kafka brokers; three have three copies of everything."""
    session_s: float = 3.0
    """Seconds until the members of a group miss one that was killed."""
    watermark_s: float = 1.0
    """Seconds until a message is missed and its device asked for it."""
    fold_s: float = 0.2
    confirm_s: float = 2.0

    def environment(self) -> dict[str, str]:
        """Return it as settings of the processes."""
        return {
            "KAFKA_REPLICATION_FACTOR": str(self.brokers),
            "KAFKA_SESSION_TIMEOUT_S": str(self.session_s),
            "LEDGER_WATERMARK_S": str(self.watermark_s),
            "LEDGER_FOLD_S": str(self.fold_s),
            "LEDGER_CONFIRM_S": str(self.confirm_s),
        }


class FaultSite:
    """The engines and stages of one run; made by `fault_site`."""

    def __init__(self, folder: Path, options: SiteOptions) -> None:
        self.home = Home(folder / "home")
        self.home.create()
        self.options = options
        self.authority = BenchAuthority(folder / "authority")
        self.kafka = KafkaCluster(folder / "kafka", nodes=options.brokers)
        self.redis = RedisServer(folder)
        self.members: dict[str, list[Child]] = {}
        self._postgres = PostgresServer(self.home, preferred_port=0)
        own = self.authority.issue("localhost")
        tls = BrokerTls(ca=self.authority.certificate, certificate=own, key=own, crl=self.authority.crl)
        self._broker = MosquittoServer(
            self.home, tls=tls, device_port=pick_port(0), service_port=pick_port(0)
        )
        self._numbers, self._starts = itertools.count(), itertools.count()
        self._restarting: dict[str, asyncio.Task[object]] = {}

    async def start(self, stack: AsyncExitStack) -> None:
        """Start everything and wait until it is ready."""
        stack.callback(self._end_children)
        stack.push_async_callback(self._postgres.stop)
        self.dsn = await self._postgres.start()
        await self._migrate()
        stack.push_async_callback(self._broker.stop)
        await self._broker.start()
        self.redis.start()
        stack.callback(self.redis.stop)
        stack.callback(self.kafka.stop)
        self.kafka.start()
        for kind in ("connector", *GROUPS, *GROUPS, "maintenance"):
            self.join(kind)
        for child in itertools.chain.from_iterable(self.members.values()):
            await self._ready(child, f"http://127.0.0.1:{child.health_port}/health/ready")
        # As the product's supervisor does: a session is on disk before anything can befall the broker.
        self._broker.save()

    def devices(self, count: int) -> list[Device]:
        """Return controllers with a certificate each."""
        tls = TlsIdentities(self.authority.certificate)
        address = "localhost", self._broker.config.devices.port
        identities = (self.authority.issue(controller_mac(number)).read_bytes() for number in range(count))
        return [Device(number, address, identity, tls) for number, identity in enumerate(identities)]

    def join(self, kind: str) -> Child:
        """Start one more process of a kind."""
        child = self._start(kind, f"{kind}-{next(self._numbers)}")
        self.members.setdefault(kind, []).append(child)
        return child

    def replace(self, kind: str, child: Child) -> None:
        """Kill one process without warning and start another of its name."""
        child.kill()
        members = self.members[kind]
        members[members.index(child)] = self._start(kind, child.name)

    def _start(self, kind: str, name: str, **extra: str) -> Child:
        words = [kind] if kind in _ALONE else [kind, "--worker", name.rpartition("-")[2]]
        log = self.home.logs / f"{name}.{next(self._starts)}.log"
        return Child(name, words, self._environment() | extra, log)

    async def _ready(self, child: Child, url: str) -> None:
        async with asyncio.timeout(_READY_WITHIN_S):
            while not await asyncio.to_thread(answers, url):
                if child.status is not None:
                    raise RuntimeError(f"{child.name} has ended:\n{child.log_tail()}")
                await asyncio.sleep(0.05)

    async def kill(self, victim: str, place: int = 0) -> None:
        """Kill one of `VICTIMS` without warning, and begin to start it again."""
        if victim in self._restarting:
            await self._restarting.pop(victim)
        match victim:
            case "kafka":
                self.kafka.nodes[place].kill()
                self.kafka.nodes[place].start()
            case "redis":
                self.redis.kill()
                self.redis.launch()
            case "postgres":
                self._kill_engine(victim, self._postgres)
            case "mosquitto":
                self._kill_engine(victim, self._broker)
            case _:
                self.replace(victim, self.members[victim][place])

    def _kill_engine(self, name: str, engine: PostgresServer | MosquittoServer) -> None:
        child = engine.process
        if child is None:
            raise RuntimeError(f"{name} does not run")
        child.kill()

        async def start_again() -> None:
            await child.wait()
            await engine.start()

        self._restarting[name] = asyncio.create_task(start_again())

    async def restarted(self) -> None:
        """Wait until no engine is being started."""
        while self._restarting:
            await self._restarting.popitem()[1]

    async def ledger(self) -> tuple[dict[str, int], str]:
        """Return the ledger's sums, and its table as `iotistic ledger` prints it."""
        port = pick_port(0)
        token = secret_file(self.home.api_token, prefix="iot_")
        child = self._start("api", "api", API_HOST="127.0.0.1", API_PORT=str(port))
        url = f"http://127.0.0.1:{port}"
        try:
            await self._ready(child, f"{url}/health/ready")
            access = {"IOTISTIC_API_URL": url, "IOTISTIC_API_TOKEN": token, "COLUMNS": "200"}
            told = json.loads(await _ledger_command("--json", **access))
            return told["totals"], await _ledger_command(**access)
        finally:
            child.stop()

    def last_words(self) -> str:
        """Return the ends of all logs, for whoever must find out what went wrong."""
        tails = [
            f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}"
            for path in self.home.logs.glob("*")
        ]
        return "\n".join(tails + [node.log for node in self.kafka.nodes])

    async def _migrate(self) -> None:
        connection = await open_connection(self.dsn, application_name="faults")
        try:
            await migrations.migrate(connection, _MIGRATIONS)
        finally:
            await connection.close()

    def _environment(self) -> dict[str, str]:
        secrets, endpoints = self.home.secrets, self._broker.endpoints
        redis = self.redis.settings()
        return {
            **os.environ,
            **self.options.environment(),
            "IOTISTIC_HOME": str(self.home.path),
            "DATABASE_URL": self._postgres.near.url,
            "DATABASE_PASSWORD_FILE": str(secrets / "postgres-password"),
            "MQTT_SERVICE_HOST": endpoints.service_host,
            "MQTT_SERVICE_PORT": str(endpoints.service_port),
            "MQTT_SERVICE_USERNAME": endpoints.service_username,
            "MQTT_SERVICE_PASSWORD_FILE": str(endpoints.service_password_file),
            "API_TOKEN_FILE": str(self.home.api_token),
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.servers,
            "REDIS_URL": self.redis.url,
            "REDIS_PASSWORD": redis.redis_password.get_secret_value() if redis.redis_password else "",
            "LOG_FORMAT": "json",
            "METRICS_PORT": str(pick_port(0)),
        }

    def _end_children(self) -> None:
        for child in itertools.chain.from_iterable(self.members.values()):
            child.kill()


async def _ledger_command(*words: str, **environment: str) -> str:
    asked = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "iotistic", "ledger", *words),
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await asked.communicate()
    return printed.decode()


@contextlib.asynccontextmanager
async def fault_site(options: SiteOptions | None = None) -> AsyncGenerator[FaultSite]:
    """Bring up the pipeline in a temporary folder; remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="iotistic-faults-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101, S103  the engines' account walks through it
        site = FaultSite(Path(folder), options or SiteOptions())
        async with AsyncExitStack() as stack:
            await site.start(stack)
            try:
                yield site
            finally:
                await site.restarted()
