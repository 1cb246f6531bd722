"""Follows the logs of every container there is, through restarts of containers, engines and the agent.

Invariants
- A container has one reader at a time. It reads while the container is up, and once more what a container
  printed that has ended, or ended and started again, between two looks.
- Positions are kept on disk seldom, to spare the card: after a power cut the lines of the last while are read
  again, with the ids that they had.
- Nothing older than the ring keeps is read, however long the agent was away.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast

import structlog

from iotistic.agent.engines.errors import ContainerNotFound, StepRefused
from iotistic.agent.logs.entry import LogEntry
from iotistic.agent.logs.position import Position
from iotistic.agent.logs.reader import Prints, Reader
from iotistic.kernel.errors import IotisticError, Unavailable
from iotistic.planning.model import Container, Status

log = structlog.get_logger()

_NAME = "log_positions"
_FIRST_S, _MOST_S = 0.5, 15.0
_MOST_POSITIONS = 256
_ABSENT_LOOKS = 5


class Memory(Protocol):
    """Where positions outlive the agent."""

    async def load(self) -> Mapping[str, Any]:
        """Return all values by name."""
        ...

    async def put(self, name: str, value: Any) -> None:
        """Keep a value."""
        ...


class LogCollector:
    """`containers` gives what there is now; `take` gets every line. Times in seconds since 1970."""

    def __init__(
        self,
        engine: Prints,
        containers: Callable[[], Iterable[Container]],
        take: Callable[[LogEntry], None],
        clock: Callable[[], float],
        *,
        memory: Memory | None = None,
        most_age_s: float = 3600.0,
        look_every_s: float = 1.0,
        keep_every_s: float = 30.0,
        lines_per_s: float = 2000.0,
    ) -> None:
        """`lines_per_s` is how fast one container is read at most: a line costs 30 µs, on a Raspberry Pi 3 some 200."""
        self._engine, self._containers, self._take, self._clock = engine, containers, take, clock
        self._memory, self._most_age_s = memory, most_age_s
        self._look_every_s, self._keep_every_s, self._lines_per_s = look_every_s, keep_every_s, lines_per_s
        self._seen: dict[str, Container] = {}
        self._absent: dict[str, int] = {}
        self._readers: dict[str, Reader] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._read_out: dict[str, float] = {}
        """When the run began that was read to its end, by container."""
        self._positions: dict[str, Any] = {}
        self._kept_at = 0.0
        self._woken = asyncio.Event()

    def look(self) -> None:
        """Look at once: containers have come or gone, and one may be removed soon."""
        self._woken.set()

    @property
    def followed(self) -> frozenset[str]:
        """Ids of the containers that are read now."""
        return frozenset(self._tasks)

    async def run(self) -> None:
        """Follow until cancelled."""
        await self._regain()
        try:
            while True:
                self._look()
                await self._keep_now_and_then()
                self._woken.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._look_every_s):
                        await self._woken.wait()
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._keep()

    def _look(self) -> None:
        self._seen = {one.id: one for one in self._containers()}
        for one in self._seen.values():
            if one.id not in self._tasks and self._has_more(one):
                self._follow(one.id)
        for container_id in [known for known in self._readers if known not in self._seen]:
            self._miss(container_id)
        for container_id in [known for known in self._absent if known in self._seen]:
            del self._absent[container_id]

    def _has_more(self, one: Container) -> bool:
        if one.status is Status.CREATED or self._read_out.get(one.id) == float("inf"):
            return False
        return one.is_up or self._read_out.get(one.id) != one.started_at

    def _miss(self, container_id: str) -> None:
        """Let go of a container that is gone, after the time that its last lines may take."""
        looks = self._absent[container_id] = self._absent.get(container_id, 0) + 1
        if looks < _ABSENT_LOOKS:
            return
        if (task := self._tasks.get(container_id)) is not None:
            task.cancel()
            return
        for known in (self._readers, self._read_out, self._absent, self._positions):
            known.pop(container_id, None)

    def _follow(self, container_id: str) -> None:
        if container_id not in self._readers:
            position = Position.from_written(self._positions.get(container_id))
            self._readers[container_id] = Reader(position, self._take, self._lines_per_s)
        task = asyncio.create_task(self._read(container_id))
        self._tasks[container_id] = task
        task.add_done_callback(lambda task: self._ended(container_id, task))

    def _ended(self, container_id: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(container_id, None)
        if not task.cancelled() and (exc := task.exception()) is not None:
            self._read_out[container_id] = float("inf")
            log.error("logs.reader_failed", container_id=container_id, exc_info=exc)

    async def _read(self, container_id: str) -> None:
        """Read run after run, until the container has ended and everybody knows."""
        reader, pause_s = self._readers[container_id], _FIRST_S
        while (one := self._seen.get(container_id)) is not None and self._has_more(one):
            before, now = reader.count, self._clock()
            try:
                await reader.read(self._engine, one, now=now, oldest=now - self._most_age_s)
                self._read_out[container_id] = one.started_at
            except ContainerNotFound:
                self._read_out[container_id] = one.started_at
            except Unavailable:
                pass  # the reconciler has said so
            except (StepRefused, IotisticError) as exc:
                log.warning("logs.unreadable", service=one.name, code=exc.code, reason=exc.message)
                self._read_out[container_id] = float("inf")
            pause_s = _FIRST_S if reader.count > before else min(pause_s * 2, _MOST_S)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311  jitter, not a secret

    async def _regain(self) -> None:
        if self._memory is not None:
            with contextlib.suppress(Unavailable):
                kept: object = (await self._memory.load()).get(_NAME)
                found = cast("dict[str, Any]", kept) if isinstance(kept, dict) else {}
                read = {known: Position.from_written(value) for known, value in found.items()}
                self._positions = {known: one.written() for known, one in read.items() if one.at}

    async def _keep_now_and_then(self) -> None:
        if self._clock() - self._kept_at >= self._keep_every_s or self._clock() < self._kept_at:
            self._kept_at = self._clock()
            await self._keep()

    async def _keep(self) -> None:
        """Keep what changed; of containers that were never seen again only the youngest."""
        if self._memory is None:
            return
        positions = self._positions | {
            container_id: reader.position.written()
            for container_id, reader in self._readers.items()
            if reader.position.at
        }
        youngest = sorted(positions, key=lambda known: positions[known][0], reverse=True)[:_MOST_POSITIONS]
        positions = {container_id: positions[container_id] for container_id in sorted(youngest)}
        if positions != self._positions:
            with contextlib.suppress(Unavailable):
                await self._memory.put(_NAME, positions)
                self._positions = positions
