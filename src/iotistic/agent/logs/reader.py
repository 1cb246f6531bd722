"""Reads the lines of one container into the hub."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Protocol

from iotistic.agent.engines.port import LogLine
from iotistic.agent.logs.entry import LogEntry, Source, SourceType
from iotistic.agent.logs.level import LevelGuesser
from iotistic.agent.logs.position import Position
from iotistic.planning.model import Container

_BREATH_LINES = 100
_OF_ID = 12


class Prints(Protocol):
    """The part of an engine that is needed here."""

    def logs(self, container_id: str, *, since: float = 0.0, follow: bool = True) -> AsyncIterator[LogLine]:
        """Yield what a container printed (see Engine.logs)."""
        ...


class Reader:
    """Of one container, through all of its runs."""

    def __init__(self, position: Position, take: Callable[[LogEntry], None], lines_per_s: float) -> None:
        self.position, self._take, self._lines_per_s = position, take, lines_per_s
        self._guesser = LevelGuesser()
        self._at, self._ordinal = -1, 0
        self.count = 0
        """Lines that were read."""

    async def read(self, engine: Prints, one: Container, *, now: float, oldest: float) -> None:
        """Read until the container ends. Raises what the engine raises."""
        self._at = -1
        lines = engine.logs(one.id, since=self.position.resume(now, oldest))
        breath = _Breath(self._lines_per_s)
        try:
            async for line in lines:
                entry = self._entry(one, line)
                if self.position.read(line):
                    self.count += 1
                    self._take(entry)
                    await breath.draw()
        finally:
            if isinstance(lines, AsyncGenerator):
                await lines.aclose()

    def _entry(self, one: Container, line: LogLine) -> LogEntry:
        """Return a line as everybody knows it; also for one that was read before, since lines of a moment are numbered."""
        at = int(line.at * 1_000_000)
        self._ordinal = self._ordinal + 1 if at == self._at else 0
        self._at = at
        text = line.text.replace("\0", "\ufffd")  # databases take no such character
        return LogEntry(
            id=f"{one.id[:_OF_ID]}-{at:x}-{self._ordinal}",
            message=text,
            timestamp=at // 1000,
            level=self._guesser.guess(text, is_stderr=line.is_stderr),
            source=Source(SourceType.CONTAINER, one.name),
            service_id=one.key.service_id,
            service_name=one.name,
            container_id=one.id,
            is_stderr=line.is_stderr,
        )


class _Breath:
    """Lets others work between lines, and a container that never stops printing take no more than its part."""

    def __init__(self, lines_per_s: float) -> None:
        self._lines, self._lines_per_s = 0, lines_per_s
        self._began = time.monotonic()

    async def draw(self) -> None:
        self._lines += 1
        if self._lines >= _BREATH_LINES:
            ahead_s = self._lines / self._lines_per_s - (time.monotonic() - self._began)
            self._lines = 0
            await asyncio.sleep(max(ahead_s, 0.0))
            self._began = time.monotonic()
