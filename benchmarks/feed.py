"""Watches what a worker commits, over the same live feed that the API listens to.

A frame holds the time of the commit and the time that each reading bears, which the publisher set to
the instant the message was due; their difference is the latency from publish to commit.
"""

import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from iotistic.telemetry.live.frames import FrameReader, LostFrame, ReadingsFrame
from iotistic.telemetry.live.server import socket_path
from iotistic.telemetry.live.sockets import connected_socket

_BIN_US = 100
_BINS = 600_000  # a minute; what is later counts as a minute
_CONNECT_WITHIN_S = 20.0


class CommitWatch:
    """Counts committed rows and their latency in a thread, from `__enter__` to `__exit__`."""

    def __init__(self, run_folder: Path, worker: str = "0") -> None:
        self._path = socket_path(run_folder, worker)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._closing = False
        self.reset()

    def reset(self) -> None:
        """Begin to count anew."""
        with self._lock:
            self.rows = 0
            self.lost_rows = 0
            self.last_commit_us = 0
            self._latency = np.zeros(_BINS, np.int64)

    def __enter__(self) -> Self:
        deadline = time.monotonic() + _CONNECT_WITHIN_S
        while True:
            try:
                self._socket = connected_socket(self._path)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self._socket.setblocking(True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def wait_for(self, rows: int, within_s: float) -> bool:
        """Wait until that many rows are committed (those the feed lost included); False when time is up."""
        deadline = time.monotonic() + within_s
        while self.rows + self.lost_rows < rows:
            if time.monotonic() > deadline or not self._thread.is_alive():
                return False
            time.sleep(0.02)
        return True

    def latency_ms(self, percent: float) -> float:
        """Return a percentile of the latency from publish to commit, exact to 0.1 ms."""
        with self._lock:
            total = np.cumsum(self._latency)
        if not total[-1]:
            return float("nan")
        return float(np.searchsorted(total, total[-1] * percent / 100) + 1) * _BIN_US / 1000

    def _watch(self) -> None:
        frames = FrameReader()
        while octets := self._receive():
            for frame in frames.feed(octets):
                if isinstance(frame, ReadingsFrame):
                    self._count(frame)
                elif isinstance(frame, LostFrame):
                    self.lost_rows += frame.rows

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(1 << 20)
        except OSError:
            if self._closing:
                return b""
            raise

    def _count(self, frame: ReadingsFrame) -> None:
        late = (frame.committed_at_us - frame.timestamps) // _BIN_US
        counts = np.bincount(np.clip(late, 0, _BINS - 1))
        with self._lock:
            self._latency[: len(counts)] += counts
            self.rows += len(frame)
            self.last_commit_us = frame.committed_at_us
