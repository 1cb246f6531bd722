"""Devices for fault runs: they remember what they published, so that the database can be compared with it.

They number what they publish, keep it until the ledger confirms it, and send it again when the ledger asks.
They speak as F2 controllers do, under a certificate each. Times are unique among all of them, so that a time
names a message.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

from iotistic.contracts.delivery import (
    ResendAnswer,
    ResendRequest,
    encode,
    parse_confirmation,
    parse_request,
    parse_stamp_data,
    reply_topic,
    stamp_data,
)
from iotistic.contracts.f2 import command_filter
from iotistic.contracts.mac import Mac
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.mqtt.lean import Backoff, LeanClient
from iotistic.kernel.mqtt.lean_link import LinkOptions
from iotistic.kernel.mqtt.outbox import Outgoing
from iotistic.kernel.mqtt.packets import Publish
from iotistic.kernel.mqtt.reasons import is_failure
from iotistic.kernel.mqtt.tls import TlsIdentities
from iotistic.simulation.f2.fleet import controller_mac

_HELD = 1_000_000
_TICK_S = 0.02
_LONGEST_BACKOFF_S = 5.0


class Clock:
    """Microseconds since the epoch, never the same twice."""

    def __init__(self) -> None:
        self._last_us = 0

    def now_us(self) -> int:
        """Return a time later than all before."""
        self._last_us = max(self._last_us + 1, time.time_ns() // 1000)
        return self._last_us


@dataclass(frozen=True)
class Kind:
    """A shape of message: where it goes, what it says, and how many readings that is."""

    topic: str
    payload: str
    readings: int


# Three ways to be read: a sensor's own reading, two readings in one message, a state.
KINDS = (
    Kind("tele/f2-{mac}/sensor-mode/J3/sensor-1", '{{"timestamp":{us},"value":{n},"sensor_id":"level"}}', 1),
    Kind("stat/f2-{mac}/access-control-mode/J1/door-sensors", '{{"timestamp":{us},"door-sensor-1":true,"door-sensor-2":false}}', 2),
    Kind("stat/f2-{mac}/access-control-mode/J1/strike-1", '{{"timestamp":{us},"status":true}}', 1),
)  # fmt: skip


class Device:
    """One controller. `published` holds the time of message number n at place n - 1."""

    def __init__(self, number: int, address: tuple[str, int], identity: bytes, tls: TlsIdentities) -> None:
        self.mac: Mac = controller_mac(number)
        self.published: list[int] = []
        self.refused = self.asked = self.resent = 0
        self._epoch = time.time_ns() // 1_000_000
        self._kept: dict[int, tuple[bytes, bytes]] = {}
        self._waiting: set[int] = set()
        host, port = address
        options = LinkOptions(host, port, self.mac, subscriptions=((command_filter(self.mac), 1),))
        backoff = Backoff(longest_s=_LONGEST_BACKOFF_S)
        self.client = LeanClient(
            options, self, tls=tls, identity=identity, outbox_limit=_HELD, backoff=backoff
        )

    @property
    def source(self) -> str:
        """What the ledger calls it."""
        return f"mac:{self.mac}"

    def publish(self, at_us: int) -> None:
        """Publish the next message, or promise to when there is no connection."""
        kind = KINDS[len(self.published) % len(KINDS)]
        self.published.append(at_us)
        number = len(self.published)
        topic = kind.topic.format(mac=self.mac).encode()
        self._kept[number] = topic, kind.payload.format(us=at_us, n=number).encode()
        self._send(number)

    def expected(self) -> Iterator[tuple[int, int]]:
        """Yield the time of each message and how many readings it holds."""
        for place, at_us in enumerate(self.published):
            yield at_us, KINDS[place % len(KINDS)].readings

    def _send(self, number: int) -> None:
        self._waiting.add(number)
        stamp = stamp_data(self._epoch, number)
        if not self.client.publish(*self._kept[number], correlation=stamp):
            raise RuntimeError("the outbox is full")

    def _answer(self, asked: ResendRequest) -> ResendAnswer:
        """Send again what is asked for and not under way already."""
        wanted = {number for first, last in asked.ranges for number in range(first, last + 1)}
        held = sorted(wanted & self._kept.keys())
        for number in held:
            if number not in self._waiting:
                self._send(number)
                self.resent += 1
        gone = sorted(wanted - self._kept.keys())
        return ResendAnswer(asked.epoch, [(one, one) for one in held], [(one, one) for one in gone])

    def online(self, client: LeanClient) -> None:
        """Nothing to do: the client sends what waits."""

    def offline(self, client: LeanClient, cause: IotisticError, *, lost: bool) -> None:
        """It comes back by itself."""

    def settled(self, _client: LeanClient, message: Outgoing, reason: int) -> None:
        """Note an acknowledgement. One that says that nobody subscribes is taken for what it is worth."""
        stamp = parse_stamp_data(message.correlation)
        if stamp is not None:
            self._waiting.discard(stamp[1])
        self.refused += is_failure(reason)

    def message(self, _client: LeanClient, message: Publish) -> None:
        """Send again what is asked for; forget what is confirmed."""
        verb = message.topic.rpartition(b"/")[2]
        if verb == b"receipt":
            told = parse_confirmation(message.payload)
            missing = {number for first, last in told.missing for number in range(first, last + 1)}
            for number in [one for one in self._kept if one <= told.sent and one not in missing]:
                del self._kept[number]
        elif verb == b"resend":
            self.asked += 1
            answer = self._answer(parse_request(message.payload))
            self.client.publish(reply_topic(self.mac).encode(), encode(answer))


class Load:
    """Devices that publish evenly, `rate` messages a second in all, whether they are connected or not."""

    def __init__(self, devices: list[Device], *, rate: float) -> None:
        self.devices = devices
        self.rate = rate
        self._clock = Clock()
        self._ending = asyncio.Event()

    @property
    def messages(self) -> int:
        """How many were published."""
        return sum(len(device.published) for device in self.devices)

    def readings(self) -> dict[int, int]:
        """Return how many readings each time stands for."""
        return {at_us: count for device in self.devices for at_us, count in device.expected()}

    async def run(self) -> None:
        """Publish until `finish`."""
        loop = asyncio.get_running_loop()
        began, count = loop.time(), 0
        for device in self.devices:
            device.client.start()
        while not self._ending.is_set():
            due = int((loop.time() - began) * self.rate)
            while count < due:
                self.devices[count % len(self.devices)].publish(self._clock.now_us())
                count += 1
            await asyncio.sleep(_TICK_S)

    def end(self) -> None:
        """Publish nothing new."""
        self._ending.set()

    @property
    def unacknowledged(self) -> int:
        """What the broker has not answered for."""
        return sum(device.client.unacknowledged for device in self.devices)
