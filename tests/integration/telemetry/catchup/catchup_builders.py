"""Devices with a backlog, the processes that take it, and looks into what was stored."""

import asyncio
import collections
import math
import os
import sys
import time

import httpx2

from iotistic.contracts.backlog import Ask, ask_topic, encode, parse_grant
from iotistic.contracts.delivery import stamp_properties
from iotistic.kernel.mqtt.lean import LeanClient
from iotistic.kernel.mqtt.lean_link import LinkOptions
from iotistic.kernel.process import pick_port

EPOCH = 7
UNANSWERED_S = 1.0
STARTED_US = time.time_ns() // 1000
COMMANDS = (("cmnd/+/backlog", 1),)
QUICK = {"CATCHUP_CHUNK": "50", "CATCHUP_LEASE_S": "3"}
ALL_STORED = "SELECT count(*) FROM decoded_data"
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
        self.refusals = []
        self.granted = collections.Counter()
        self.grants = []
        self._under_way = collections.Counter()
        self._ask_at = dict.fromkeys(macs, 0.0)
        self._asking = asyncio.create_task(self._keep_asking())
        self.vanished = set()

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
        self.grants.append(mac)
        self._ask_at[mac] = math.inf
        kept = self.kept[mac]
        for _ in range(min(answer.grant, len(kept))):
            self._under_way[mac] += 1
            self.publish(mac, kept.popleft())

    def publish(self, mac, number, prefix="backlog/"):
        topic = f"{prefix}tele/f2-{mac}/sensor-mode/J1/sensor-1"
        body = b'{"value": %d, "timestamp": %d}' % (number, STARTED_US + number)
        assert self.client.publish(topic.encode(), body, user_properties=stamp_properties(EPOCH, number))

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

    async def metric(self, name):
        async with httpx2.AsyncClient() as client:
            text = (await client.get(f"http://127.0.0.1:{self.port}/metrics")).text
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def environment(broker, database, folder, **settings):
    access = broker.server.access
    return {
        **os.environ,
        **database.environment(),
        "IOTISTIC_HOME": str(folder / "home"),
        "LOG_FORMAT": "json",
        "MQTT_SERVICE_HOST": access.host,
        "MQTT_SERVICE_PORT": str(access.port),
        "MQTT_SERVICE_USERNAME": access.username,
        "MQTT_SERVICE_PASSWORD": access.password,
        **QUICK,
        **settings,
    }


async def eventually(condition, *, within_s=40.0, explain=lambda: ""):
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"did not happen in {within_s} s {explain()}"
        await asyncio.sleep(0.05)


async def ledger(pool):
    """Add up what sinks noted; return senders, messages sent, and messages stored."""
    while await pool.fetchval("SELECT ledger_fold(50)"):
        pass
    row = await pool.fetchrow(LEDGER)
    return row["senders"], row["sent"], row["stored"]
