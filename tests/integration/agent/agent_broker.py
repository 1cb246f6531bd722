"""A broker with the rights of agents, each known by the uuid in its certificate, and links that connect to it."""

import asyncio
import contextlib
import json
from dataclasses import dataclass, replace

from broker_fixtures import eventually, start_broker

from iotistic.agent.link.broker import BrokerAddress, client_id
from iotistic.agent.link.connecting import Surroundings
from iotistic.agent.link.mqtt import MqttLink
from iotistic.kernel.mqtt.lean_model import Backoff

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
TOPIC = f"iot/device/{UUID}/sensor/plc"
PATTERNS = (
    "pattern write iot/device/%u/sensor/+",
    "pattern write iot/device/%u/state",
    "pattern write iot/device/%u/agent/status",
    "pattern write iot/device/%u/jobs/#",
    "pattern write iot/device/%u/ledger/resend/accepted",
    "pattern read iot/device/%u/state/notify",
    "pattern read iot/device/%u/agent/update",
    "pattern read iot/device/%u/jobs/#",
    "pattern read iot/device/%u/ledger/#",
    "pattern read device/%u/config/#",
)
HASTY = {"spread_s": 0.0, "backoff": Backoff(base_s=0.02, longest_s=0.1)}


async def until(met, *, within_s=20.0):
    async with asyncio.timeout(within_s):
        while not (value := met()):  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.01)
    return value


def address(broker, *, cn=UUID, **changes):
    """Return where an agent connects, by mutual TLS."""
    credential = broker.authority.issue(cn)
    return replace(
        BrokerAddress(
            "localhost",
            broker.server.endpoints.device_port,
            client_id(cn),
            ca_pem=broker.authority.certificate.read_text(),
            identity_pem=credential.key.read_text() + credential.certificate.read_text(),
        ),
        **changes,
    )


@dataclass
class Place:
    """A broker, and where agents think that it is; None is nowhere."""

    broker: object
    address: BrokerAddress | None

    async def kill(self):
        self.broker.server.process.kill()
        await self.broker.server.process.wait()

    @contextlib.asynccontextmanager
    async def link(self, **around):
        link = MqttLink(lambda: self.address, around=Surroundings(**(HASTY | around)))
        task = asyncio.create_task(link.run())
        try:
            yield link
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def online(self, **around):
        async with self.link(**around) as link:
            await until(lambda: link.is_online)
            yield link

    def listener(self, topic_filter, name="listener"):
        """Return a client whose session outlives the broker, also one that is killed."""
        client = self.broker.service(name, clean_start=False, session_expiry_s=3600)
        assert client.subscribe(topic_filter) == (1,)
        kept = self.broker.server.config.files.data / "mosquitto.db"
        kept.unlink(missing_ok=True)
        self.broker.server.save()
        eventually(kept.exists)
        return client

    def say(self, topic, document, *, retain=False):
        payload = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.broker.service("cloud").publish(topic, payload, retain=retain)


@contextlib.asynccontextmanager
async def agent_place(folder, **limits):
    broker = await start_broker(folder, patterns=PATTERNS, **limits)
    try:
        with broker.closing:
            yield Place(broker, address(broker))
    finally:
        await broker.server.stop()
