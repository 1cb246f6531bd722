"""Sends what waits in the outbox, in order, and notes what the broker has.

    outbox.waiting -> under way (at most a window) -> PUBACK -> outbox.sent
          ^---- refused, unheard: its topic is put off, others go on ----'

Promises:
- A message leaves with the stamp that the outbox gave it, however often it is sent.
- It is noted as sent after its PUBACK, never before; what was under way when the process ended is sent again.
- One topic that the broker refuses holds up no other.

What no broker can ever take (too large, a topic that is none) is noted as sent too, so that it is in nobody's
way: it stays on the disk, and is tried once more when the ledger asks for it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Protocol

import structlog

from iotistic.agent.link.budget import Purpose
from iotistic.agent.link.errors import MqttPublishRefused, MqttUnheard, MqttUnsendable
from iotistic.agent.link.refusals import Refusals
from iotistic.agent.store.outbox import Outbox
from iotistic.agent.store.outbox_rows import Message, Stamp
from iotistic.contracts.stamps import stamp_data
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

WINDOW = 32
LOOK_EVERY_S = 60.0
_MOST_BYTES_UNDER_WAY = 2**20
_READ_AT_ONCE = 16
_PAUSE_S = 5.0
_SHORTEST_REST_S = 1.0


class Line(Protocol):
    """What is needed of a link."""

    @property
    def is_online(self) -> bool:
        """Whether there is a connection."""
        ...

    def watch(self, watcher: Callable[[bool], None]) -> None:
        """Let `watcher` hear of connections that come and go."""
        ...

    def send(
        self,
        topic: str,
        payload: bytes,
        purpose: Purpose,
        *,
        qos: int = 1,
        correlation: bytes = b"",
    ) -> asyncio.Future[None]:
        """Send; the answer is set once the broker has it. It is kept over lost connections until then."""
        ...


class Sender:
    """Of one device. `clock` is monotonic, `chance` between 0 and 1; `progress` hears when messages were sent."""

    def __init__(
        self,
        outbox: Outbox,
        link: Line,
        clock: Callable[[], float],
        chance: Callable[[], float],
        *,
        window: int = WINDOW,
        look_every_s: float = LOOK_EVERY_S,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._outbox, self._link = outbox, link
        self._clock, self._chance = clock, chance
        self._window, self._look_every_s = window, look_every_s
        self._under_way: dict[Stamp, int] = {}
        self._answered: list[Stamp] = []
        self._refusals = Refusals()
        self._cursor: Stamp | None = None
        self._resume: Stamp | None = None
        self._rescan_at: float | None = None
        self._retried_at = -1.0
        self._woken = asyncio.Event()
        self._progress = progress
        link.watch(lambda _online: self.wake())
        outbox.appended = self.wake

    @property
    def put_off(self) -> int:
        """Topics that the broker takes nothing on now."""
        return len(self._refusals)

    def wake(self) -> None:
        """Look now: there may be something to send."""
        self._woken.set()

    async def run(self) -> None:
        """Send until cancelled."""
        is_said = False
        while True:
            self._woken.clear()
            try:
                await self._note_answered()
                await self._fill()
            except IotisticError as exc:
                if not is_said:  # a disk that takes no writes may do so for months
                    log.warning("outbox.not_dispatched", code=exc.code, reason=exc.message)
                is_said = True
                await asyncio.sleep(_PAUSE_S)
                continue
            is_said = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rest_s()):
                    await self._woken.wait()

    async def _note_answered(self) -> None:
        """Note what the broker has, all of it in one transaction."""
        stamps = list(self._answered)
        if not stamps:
            return
        await self._outbox.sent(stamps)
        del self._answered[: len(stamps)]
        for stamp in stamps:
            self._under_way.pop(stamp, None)
        self._progress()

    async def _fill(self) -> None:
        """Send until the window is full or nothing waits."""
        self._rescan()
        while self._link.is_online and (room := self._room()):
            messages = await self._outbox.waiting(min(room, _READ_AT_ONCE), after=self._cursor)
            if not messages:
                return
            for message in messages:
                if not self._room():
                    return
                self._cursor = message.stamp
                if message.stamp not in self._under_way:
                    self._send(message)
            self._go_on()

    def _room(self) -> int:
        if sum(self._under_way.values()) >= _MOST_BYTES_UNDER_WAY:
            return 0
        return max(0, self._window - len(self._under_way))

    def _rest_s(self) -> float:
        """Return how long to wait when nothing happens."""
        due = [at for at in (self._rescan_at, self._refusals.next_at) if at is not None]
        until_due = max(_SHORTEST_REST_S, min(due, default=float("inf")) - self._clock())
        return min(self._look_every_s, until_due)

    def _rescan(self) -> None:
        """Begin anew at the oldest when something that was passed over may go."""
        now, retry_at = self._clock(), self._refusals.next_at
        if self._rescan_at is not None and self._rescan_at <= now:
            self._rescan_at = self._resume = self._cursor = None
        elif retry_at is not None and self._retried_at < retry_at <= now:
            self._retried_at, self._resume, self._cursor = retry_at, self._resume or self._cursor, None

    def _go_on(self) -> None:
        """Go on where a search for messages to try again began, once there is one for each topic."""
        retry_at = self._refusals.next_at
        if (
            self._resume is None
            or self._cursor is None
            or (retry_at is not None and retry_at <= self._clock())
        ):
            return
        self._cursor, self._resume = max(self._cursor, self._resume), None

    def _send(self, message: Message) -> None:
        if not self._refusals.may_send(message.topic, self._clock()):
            return
        self._under_way[message.stamp] = len(message.payload)
        stamp = stamp_data(*message.stamp)
        answer = self._link.send(message.topic, message.payload, Purpose.TELEMETRY, correlation=stamp)
        answer.add_done_callback(partial(self._hear, message.stamp, message.topic))

    def _hear(self, stamp: Stamp, topic: str, answer: asyncio.Future[None]) -> None:
        """Take the broker's answer for a message."""
        now = self._clock()
        fault = None if answer.cancelled() else answer.exception()
        if isinstance(fault, MqttPublishRefused | MqttUnheard):
            self._under_way.pop(stamp, None)
            if self._refusals.refused(topic, now, self._chance()):
                log.warning("outbox.topic_put_off", topic=topic, code=fault.code, reason=fault.message)
        elif isinstance(fault, MqttUnsendable):
            log.error("outbox.message_unsendable", topic=topic, code=fault.code, reason=fault.message)
            self._answered.append(stamp)
        elif answer.cancelled() or fault is not None:
            self._under_way.pop(stamp, None)
            self._rescan_at = now + _PAUSE_S
        else:
            self._answered.append(stamp)
            if self._refusals.accepted(topic):
                log.info("outbox.topic_resumed", topic=topic)
                self._rescan_at = now
        self.wake()
