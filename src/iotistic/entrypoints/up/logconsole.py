"""Shows the log lines of all processes on standard error, without ever waiting for whoever reads it.

A reader that stops reading fills the pipe, and a supervisor that waits for it would supervise nothing.
A thread of its own writes; when it falls behind, lines are dropped from the console and counted. They
stand in the files all the same.
"""

import asyncio
import os
import queue
import sys
import threading
from pathlib import Path

from iotistic.entrypoints.up.follow import Follower

_EVERY_S = 0.25
_QUEUED_LINES = 5000


class LogConsole:
    """Follows `logs/*.log` from the moment it is made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._followers = {path: Follower(path) for path in folder.glob("*.log")}
        self._lines: queue.Queue[str] = queue.Queue(_QUEUED_LINES)
        self._dropped = 0
        self._writer = threading.Thread(target=self._write, name="log-console", daemon=True)

    async def run(self) -> None:
        """Show lines until cancelled, those of a stop included."""
        self._writer.start()
        while True:
            self.show_new()
            await asyncio.sleep(_EVERY_S)

    def show_new(self) -> None:
        """Queue the lines that were added since the last call."""
        for path in sorted(self._folder.glob("*.log")):
            if path not in self._followers:
                self._followers[path] = Follower(path, from_start=True)
            for line in self._followers[path].lines():
                self._put(f"{path.stem:<12} | {line}\n")

    def _put(self, line: str) -> None:
        try:
            if self._dropped:
                self._lines.put_nowait(f"{'up':<12} | {self._dropped} lines not shown; see {self._folder}\n")
                self._dropped = 0
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            try:
                os.write(sys.stderr.fileno(), line.encode(errors="replace"))
            except OSError:
                return
