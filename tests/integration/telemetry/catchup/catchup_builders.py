"""Devices with a backlog, the processes that take it, and looks into what was stored."""

import asyncio
import collections
import contextlib
import math
import os
import sys
import time
from urllib.parse import urlsplit

import httpx2

from iotistic.contracts.backlog import Ask, ask_topic, encode, parse_grant
from iotistic.contracts.delivery import stamp_data
from iotistic.kernel.mqtt.lean import LeanClient
from iotistic.kernel.mqtt.lean_link import LinkOptions
from iotistic.kernel.process import pick_port

EPOCH = 7
UNANSWERED_S = 1.0
STARTED_US = time.time_ns() // 1000
COMMANDS = (("cmnd/+/backlog", 1),)
# A machine that is busy with other tests must not count as one where live readings suffer.
QUICK = {"CATCHUP_CHUNK": "50", "CATCHUP_LEASE_S": "3", "CATCHUP_LIVE_DELAY_S": "5"}
LEDGER = (
    "SELECT count(*)::int AS senders, sum(highest)::int AS sent, sum(stored)::int AS stored"
    " FROM ledger_epochs WHERE source LIKE 'mac:%'"
)


class Devices:
    """Devices that keep the numbers 1 to `each`, behind one connection with full rights.

    They do as the contract says, only less patiently: they ask again after a tenth of what they are told.
    """

    def __init__(self, broker, macs, each):
        access = broker.server.access
        options = LinkOptions(
            access.host,
            access.port,
            client_id=f"devices-{macs[0]}",
            username=access.username,
            password=access.password,
            subscriptions=COMMANDS,
            window=1000,
        )
        self.client = LeanClient(options, self, outbox_limit=1_000_000)
        self.kept = {mac: collections.deque(range(1, each + 1)) for mac in macs}
        self._numbers = dict.fromkeys(macs, each + 1)
        self.refusals = []
        self.granted = collections.Counter()
        self.grants = []
        self._under_way = collections.Counter()
        self._ask_at = dict.fromkeys(macs, 0.0)
        self._asking = asyncio.create_task(self._keep_asking())
        self.vanished = set()

    @property
    def sizes(self):
        """How much was granted at a time."""
        return {size for _, size in self.grants}

    @property
    def reasons(self):
        return {refusal.reason.partition(":")[0] for refusal in self.refusals}

    @property
    def done(self):
        return not any(self.kept.values()) and not self.client.unacknowledged

    async def stop(self):
        self._asking.cancel()
        await self.client.stop(within_s=1)

    async def _keep_asking(self):
        while True:
            await asyncio.sleep(0.05)
            for mac, at in self._ask_at.items():
                if at < time.monotonic() and self.client.is_online and mac not in self.vanished:
                    self.ask(mac)

    def online(self, client):
        """They ask all the time."""

    def offline(self, client, cause, *, lost):
        """It comes back by itself."""

    def keep(self, mac, count):
        """Let a device have been away for so many messages more."""
        first = self._numbers[mac]
        self._numbers[mac] += count
        self.kept[mac].extend(range(first, first + count))
        self._ask_at[mac] = 0.0

    def ask(self, mac):
        waiting = len(self.kept[mac])
        self._ask_at[mac] = time.monotonic() + UNANSWERED_S if waiting else math.inf
        self.client.publish(ask_topic(mac).encode(), encode(Ask(waiting)))

    def message(self, client, message):
        mac, answer = message.topic.decode()[8:20], parse_grant(message.payload)
        if mac not in self.kept or mac in self.vanished:
            return
        if not answer.grant:
            self.refusals.append(answer)
            self._ask_at[mac] = time.monotonic() + answer.retry_after_s / 10
            return
        self.granted[mac] += answer.grant
        self.grants.append((mac, answer.grant))
        self._ask_at[mac] = math.inf
        kept = self.kept[mac]
        for _ in range(min(answer.grant, len(kept))):
            self.publish(mac, kept.popleft())

    def publish(self, mac, number, prefix="backlog/"):
        self._under_way[mac] += bool(prefix)
        topic = f"{prefix}tele/f2-{mac}/sensor-mode/J1/sensor-1"
        body = b'{"value": %d, "timestamp": %d}' % (number, STARTED_US + number)
        assert self.client.publish(topic.encode(), body, correlation=stamp_data(EPOCH, number))

    def settled(self, client, message, reason):
        assert reason < 0x80
        topic = message.topic.decode()
        if topic.startswith("backlog/"):
            mac = topic[16:28]
            self._under_way[mac] -= 1
            if not self._under_way[mac]:
                self.ask(mac)


class Process:
    """One of our processes, started and started again in one environment."""

    def __init__(self, environment, folder, *words, **settings):
        self._words, self._log = words, folder / f"{'-'.join(words)}-{settings.get('LANE', '')}.log"
        self._environment = environment | settings
        self.port = pick_port(0)
        self.child = None

    async def start(self):
        with self._log.open("ab") as log:
            self.child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "iotistic", *self._words),
                env=self._environment | {"METRICS_PORT": str(self.port)},
                stdout=log,
                stderr=log,
            )

    async def kill(self):
        if self.child is not None and self.child.returncode is None:
            self.child.kill()
            await self.child.wait()

    @property
    def log(self):
        return self._log.read_text()

    def tell(self):
        """Say what it said last: a test that failed shows it."""
        print(f"--- {self._log.stem}\n{self.log[-3000:] if self._log.exists() else 'not started'}")  # noqa: T201

    async def metric(self, name):
        """Return a figure; nothing while the process does not answer."""
        try:
            async with httpx2.AsyncClient(verify=False) as client:
                text = (await client.get(f"http://127.0.0.1:{self.port}/metrics")).text
        except httpx2.TransportError:
            return 0.0
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


class DatabaseGate:
    """The way to the database, which can be closed."""

    def __init__(self, database):
        self.beyond = urlsplit(database.url)
        self._server = None
        self._writers = set()
        self.port = pick_port(0)

    async def open(self):
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", self.port)

    async def close(self):
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    @contextlib.asynccontextmanager
    async def closed(self):
        await self.close()
        try:
            yield
        finally:
            await self.open()

    async def _pass_on(self, reader, writer):
        beyond, onward = await asyncio.open_connection(self.beyond.hostname, self.beyond.port)
        self._writers |= {writer, onward}
        try:
            await asyncio.gather(_pour(reader, onward), _pour(beyond, writer))
        finally:
            self._writers -= {writer, onward}


async def _pour(reader, writer):
    with contextlib.suppress(OSError):
        while octets := await reader.read(65_536):
            writer.write(octets)
            await writer.drain()
    writer.close()


def environment(broker, database, gate, folder, **settings):
    access = broker.server.access
    way = database.environment()
    way["DATABASE_URL"] = way["DATABASE_URL"].replace(f":{gate.beyond.port}/", f":{gate.port}/")
    return {
        **os.environ,
        **way,
        "IOTISTIC_HOME": str(folder / "home"),
        "LOG_FORMAT": "json",
        "MQTT_SERVICE_HOST": access.host,
        "MQTT_SERVICE_PORT": str(access.port),
        "MQTT_SERVICE_USERNAME": access.username,
        "MQTT_SERVICE_PASSWORD": access.password,
        **QUICK,
        **settings,
    }


async def eventually(condition, *, within_s=80.0, explain=lambda: ""):
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"did not happen in {within_s} s {explain()}"
        await asyncio.sleep(0.05)


async def rows(pool, at_least):
    """Tell whether so many readings are stored."""
    return await pool.fetchval("SELECT count(*) FROM decoded_data") >= at_least


async def ledger(pool):
    """Add up what sinks noted; return senders, messages sent, and messages stored."""
    while await pool.fetchval("SELECT ledger_fold(50)"):
        pass
    row = await pool.fetchrow(LEDGER)
    return row["senders"], row["sent"], row["stored"]
