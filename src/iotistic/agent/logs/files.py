"""Lines on the device's own disk, one JSON object each, if somebody wants them there.

They are written seldom, many at once, in a thread; a disk that is full costs lines, which are counted, and
nothing else. The youngest file is `device.log`, older ones `device.log.1` and so forth.
"""

import asyncio
import os
from pathlib import Path

import structlog

from iotistic.agent.logs.entry import LogEntry

log = structlog.get_logger()

_NAME = "device.log"
_MOST_HELD = 1 << 20


class LogFiles:
    """`folder` is made if it is not there. `max_bytes` of each file, of which `kept` older ones stay."""

    def __init__(
        self, folder: Path, *, max_bytes: int = 5_000_000, kept: int = 3, every_s: float = 5.0
    ) -> None:
        self._folder, self._max_bytes, self._kept, self._every_s = folder, max_bytes, kept, every_s
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._is_failing = False
        self.is_enabled = True
        """Whether lines are taken; may be changed at any time, as the cloud wishes."""
        self.lost = 0
        """Lines that are in no file."""

    @property
    def path(self) -> Path:
        """The youngest file."""
        return self._folder / _NAME

    def take(self, entry: LogEntry) -> None:
        """Take a line; a listener of the hub."""
        if not self.is_enabled:
            return
        line = entry.written()
        if self._held_bytes + len(line) > _MOST_HELD:
            self.lost += 1
            return
        self._held.append(line)
        self._held_bytes += len(line)

    async def run(self) -> None:
        """Write until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(self._every_s)
                await self._write()
        finally:
            self._put(self._taken())

    async def _write(self) -> None:
        if self._held:
            await asyncio.to_thread(self._put, self._taken())

    def _taken(self) -> list[bytes]:
        taken, self._held, self._held_bytes = self._held, [], 0
        return taken

    def _put(self, lines: list[bytes]) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for part in _parts(lines, self._max_bytes):
                self._append(part)
        except OSError as exc:
            self.lost += len(lines)
            if not self._is_failing:
                log.warning("logs.not_kept", path=str(self.path), reason=str(exc))
            self._is_failing = True
        else:
            self._is_failing = False

    def _append(self, content: bytes) -> None:
        if self.path.exists() and self.path.stat().st_size + len(content) > self._max_bytes:
            for number in range(self._kept - 1, 0, -1):
                _move(self._numbered(number), self._numbered(number + 1))
            _move(self.path, self._numbered(1))
        with os.fdopen(os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "wb") as file:
            file.write(content)

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{_NAME}.{number}")


def _move(path: Path, to: Path) -> None:
    if path.exists():
        path.replace(to)


def _parts(lines: list[bytes], most: int) -> list[bytes]:
    """Return lines in parts that fit into a file, one by one if a line alone does not."""
    parts: list[bytearray] = []
    for line in lines:
        if not parts or len(parts[-1]) + len(line) > most:
            parts.append(bytearray())
        parts[-1] += line
    return [bytes(part) for part in parts]
