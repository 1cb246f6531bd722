"""Gathers what sensors say into batches, and puts each into the outbox as one letter.

    publish -> lines of a sensor -> (12 lines, 60 s, or 128 KB) -> letter -> outbox

Promises
- What `publish` took is in the outbox after at most `within_s`, in order; `flush` and `close` put it there at
  once. Until then it is in memory: a power cut costs at most the batches that are open.
- Nothing is replaced while a write is under way: a letter leaves the line of waiting ones after it is kept,
  and what comes meanwhile stands behind it. A caller that is cancelled takes no write back.
- While the disk takes no writes, letters wait; past `most_bytes` of a sensor its oldest go, and are counted.
- A reading without a value is not sent (the ingest would take it for a damaged one), and is counted.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from iotistic.agent.sensors.reading import Reading, check_name, dump, iso, line
from iotistic.agent.store.outbox_rows import Letter
from iotistic.kernel.errors import Invalid, Unavailable

log = structlog.get_logger()

_LINE_READINGS = 100
_AGAIN_S = 5.0
_CLOSE_WITHIN_S = 5.0
_FORBIDDEN = frozenset("/+#")


class SensorInvalid(Invalid):
    """The name of the sensor cannot be part of a topic."""

    code = "sensor.name_invalid"


@dataclass(frozen=True, slots=True)
class Gathering:
    """When a batch is full."""

    messages: int = 12
    within_s: float = 60.0
    most_bytes: int = 128 * 1024


@dataclass(eq=False)
class _Sensor:
    """What one sensor said: lines of the open batch, and batches that wait for the disk."""

    lines: list[str] = field(default_factory=list[str])
    size: int = 0
    since: float = 0.0
    waiting: int = 0
    """Bytes of its letters that wait to be written."""


@dataclass
class Counts:
    """What became of readings since the start."""

    readings: int = 0
    letters: int = 0
    without_value: int = 0
    dropped_letters: int = 0


class Publisher:
    """`append` is the outbox's; `clock` gives seconds since 1970. One for each device.

    `heard` gets all readings that are published, at once; it is to be quick and to raise nothing.
    """

    def __init__(
        self,
        append: Callable[[Iterable[Letter]], Awaitable[object]],
        device_uuid: str,
        clock: Callable[[], float],
        gathering: Gathering | None = None,
        *,
        heard: Callable[[str, Sequence[Reading]], None] = lambda _sensor, _readings: None,
    ) -> None:
        self._heard = heard
        self._append, self._uuid, self._clock = append, device_uuid, clock
        self._gathering = gathering or Gathering()
        self._sensors: dict[str, _Sensor] = {}
        self._letters: deque[tuple[_Sensor, Letter]] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._opened = asyncio.Event()
        self._fault = ""
        self.counts = Counts()

    async def publish(self, sensor: str, readings: Sequence[Reading]) -> None:
        """Take what a sensor said in one poll. Raises SensorInvalid and ReadingInvalid; never because of the disk."""
        if _FORBIDDEN & set(sensor):
            raise SensorInvalid(f"{sensor!r} has one of the characters / + #")
        check_name("sensor", sensor)
        self._heard(sensor, readings)
        told = [one for one in readings if one.value is not None]
        self.counts.readings += len(told)
        self.counts.without_value += len(readings) - len(told)
        for start in range(0, len(told), _LINE_READINGS):
            self._add(sensor, line(told[start : start + _LINE_READINGS]))
        if self._letters:
            await self._write()

    async def run(self) -> None:
        """Close batches that have waited long enough, until cancelled; then put what is left into the outbox."""
        try:
            while True:
                self._opened.clear()
                await self._rest()
                self._close_due()
                await self._write()
        finally:
            await self.close()

    async def flush(self) -> None:
        """Put everything into the outbox now."""
        for name in list(self._sensors):
            self._close_batch(name)
        await self._write()

    async def close(self) -> None:
        """Put everything into the outbox, as far as the disk takes it within a few seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                await self.flush()
        if self._letters:
            log.error(
                "sensors.lost", letters=len(self._letters), reason=self._fault or "the disk is too slow"
            )

    def _add(self, name: str, text: str) -> None:
        size = len(text.encode())
        sensor = self._sensors.setdefault(name, _Sensor())
        if sensor.lines and sensor.size + size > self._gathering.most_bytes // 2:
            self._close_batch(name)
        if not sensor.lines:
            sensor.since = self._clock()
            self._opened.set()
        sensor.lines.append(text)
        sensor.size += size
        if len(sensor.lines) >= self._gathering.messages:
            self._close_batch(name)

    def _close_batch(self, name: str) -> None:
        sensor = self._sensors[name]
        if not sensor.lines:
            return
        batch = {"sensor": name, "timestamp": iso(self._clock()), "messages": sensor.lines}
        letter = Letter(f"iot/device/{self._uuid}/sensor/{name}", dump(batch).encode())
        sensor.lines, sensor.size = [], 0
        sensor.waiting += len(letter.payload)
        self._letters.append((sensor, letter))
        if sensor.waiting > self._gathering.most_bytes:
            self._make_room(sensor)

    def _make_room(self, sensor: _Sensor) -> None:
        """Let the oldest letters of a sensor go, all but the last; those that are being written are not here."""
        for one in [one for one in self._letters if one[0] is sensor][:-1]:
            if sensor.waiting <= self._gathering.most_bytes:
                break
            self._letters.remove(one)
            sensor.waiting -= len(one[1].payload)
            self._drop(one[1], self._fault or "the disk is too slow")

    def _drop(self, letter: Letter, reason: str) -> None:
        count = self.counts.dropped_letters = self.counts.dropped_letters + 1
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th ...: a disk may take no writes for months
            log.warning("sensors.letter_dropped", topic=letter.topic, reason=reason, dropped=count)

    def _close_due(self) -> None:
        for name, sensor in self._sensors.items():
            if sensor.lines and self._due_in(sensor) <= 0:
                self._close_batch(name)

    def _due_in(self, sensor: _Sensor) -> float:
        now = self._clock()
        sensor.since = min(sensor.since, now)  # a clock that was set back makes nobody wait
        return sensor.since + self._gathering.within_s - now

    async def _rest(self) -> None:
        """Wait until a batch is due, or a disk that took no writes is asked again."""
        due = [self._due_in(one) for one in self._sensors.values() if one.lines]
        if self._letters:
            due.append(_AGAIN_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(due)) if due else None):
                await self._opened.wait()

    async def _write(self) -> None:
        """Put waiting letters into the outbox; many callers share one write."""
        while self._letters:
            if self._writing is None or self._writing.done():
                self._writing = asyncio.create_task(self._write_all())
            await asyncio.shield(self._writing)
            if self._fault:
                return

    async def _write_all(self) -> None:
        while self._letters:
            taken = self._take()
            try:
                await self._append([letter for _, letter in taken])
            except Unavailable as exc:
                self._put_back(taken)
                self._note(exc.message)
                return
            except Invalid as exc:  # all are kept, or none: the others shall not suffer for one
                self._put_back(taken[1:])
                await self._write_alone(taken[0], exc)
            except BaseException:
                self._put_back(taken)
                raise
            else:
                self.counts.letters += len(taken)
            self._note("")

    async def _write_alone(self, first: tuple[_Sensor, Letter], exc: Invalid) -> None:
        try:
            await self._append([first[1]])
        except Unavailable:
            self._put_back([first])
        except Invalid:
            self._drop(first[1], exc.message)
        else:
            self.counts.letters += 1

    def _take(self) -> list[tuple[_Sensor, Letter]]:
        taken = list(self._letters)
        self._letters.clear()
        for sensor, letter in taken:
            sensor.waiting -= len(letter.payload)
        return taken

    def _put_back(self, taken: list[tuple[_Sensor, Letter]]) -> None:
        self._letters.extendleft(reversed(taken))
        for sensor, letter in taken:
            sensor.waiting += len(letter.payload)

    def _note(self, fault: str) -> None:
        if fault and not self._fault:
            log.warning("sensors.not_kept", reason=fault)
        elif self._fault and not fault:
            log.info("sensors.kept_again")
        self._fault = fault
