"""A simulated device's MQTT connection, as real devices have it: targets are announced, reports go that way."""

import asyncio
import json
from dataclasses import dataclass, field

from iotistic.agent.link.announcements import Announcements, Concerned
from iotistic.agent.link.broker import OwnBroker, find_broker
from iotistic.agent.link.connecting import Surroundings
from iotistic.agent.link.mqtt import MqttLink
from iotistic.agent.store.device import Identity
from iotistic.kernel.mqtt.lean_model import Backoff


@dataclass(frozen=True)
class MqttPlan:
    """Which agents have a connection, and their patience in seconds: unless told otherwise, that of real devices."""

    every: int = 1
    """Every how manyth agent has one."""
    poll_every_s: float = 1800.0
    """Between two polls while targets are announced."""
    spread_s: float = 30.0
    """Over which agents spread their return to a broker that was away."""
    asks_within_s: float = 60.0
    """After a connection came or went, the target is asked for."""
    backoff: Backoff = field(default_factory=lambda: Backoff(base_s=1.0, longest_s=60.0))


class MqttLine:
    """One agent's, by the certificate that it was given."""

    def __init__(self, plan: MqttPlan, identity: Identity, concerned: Concerned) -> None:
        around = Surroundings(spread_s=plan.spread_s, backoff=plan.backoff)
        self.link = MqttLink(lambda: find_broker(identity, OwnBroker()), None, around)
        self._announcements = Announcements(self.link, identity.uuid, concerned, spread_s=plan.asks_within_s)
        self.heard, self.taken = 0, 0
        """Targets that were announced, and of these the ones that came into force afterwards."""
        self._newest = ""
        self.link.on(f"iot/device/{identity.uuid}/state/notify", self._hear)

    def declared(self, etag: str) -> None:
        """Note that a target came into force."""
        if etag and etag == self._newest:
            self.taken += 1
            self._newest = ""

    async def run(self) -> None:
        """Stay connected until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.link.run())
            tasks.create_task(self._announcements.run())

    def _hear(self, _topic: str, payload: bytes) -> None:
        etag = json.loads(payload).get("etag", "")
        if etag != self._newest:
            self._newest = etag
            self.heard += 1
