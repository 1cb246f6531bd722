"""A line to a broker that does as it is told, for tests of what stands above it."""

import asyncio
from dataclasses import dataclass, field

from iotistic.agent.link.errors import MqttPublishRefused, MqttUnheard, MqttUnsendable
from iotistic.contracts.stamps import parse_stamp_data

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
FAULTS = {"refuse": MqttPublishRefused, "unheard": MqttUnheard, "unsendable": MqttUnsendable}


@dataclass
class Sent:
    topic: str
    payload: bytes
    stamp: tuple[int, int] | None
    answer: asyncio.Future = field(repr=False)


class Line:
    """Keeps what was sent until the test answers; what the broker took stands in `arrived`, each time it came."""

    def __init__(self, *, is_online=True):
        self.is_online = is_online
        self.watchers, self.handlers = [], {}
        self.waiting: list[Sent] = []
        self.arrived: list[Sent] = []
        self.most_waiting = 0

    def watch(self, watcher):
        self.watchers.append(watcher)

    def on(self, topic_filter, handler):
        self.handlers[topic_filter] = handler

    def send(self, topic, payload, purpose, *, qos=1, correlation=b""):
        answer = asyncio.get_running_loop().create_future()
        self.waiting.append(Sent(topic, payload, parse_stamp_data(correlation), answer))
        self.most_waiting = max(self.most_waiting, len(self.waiting))
        return answer

    def go(self, *, online):
        self.is_online = online
        for watcher in self.watchers:
            watcher(online)

    def hear(self, verb, document):
        self.handlers[f"iot/device/{UUID}/ledger/{verb}"]("", document)

    def take(self, count=1, *, acknowledge=True):
        """Let the broker take messages; without an acknowledgement they stay with us as well."""
        for one in self.waiting[:count]:
            self.arrived.append(one)
            if acknowledge and not one.answer.done():
                one.answer.set_result(None)
        if acknowledge:
            del self.waiting[:count]

    def fail(self, how, *, topic=None):
        """Let the broker refuse the oldest message, or all that wait of a topic."""
        chosen = [one for one in self.waiting if topic in (None, one.topic)]
        for one in chosen if topic else chosen[:1]:
            self.waiting.remove(one)
            if not one.answer.done():
                one.answer.set_exception(FAULTS[how]())
