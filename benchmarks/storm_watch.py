"""Writes down when every reading was committed, from the feeds of both lanes' workers."""

import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from iotistic.telemetry.live.frames import FrameReader, LostFrame, ReadingsFrame
from iotistic.telemetry.live.server import socket_path
from iotistic.telemetry.live.sockets import connected_socket

Int64s = npt.NDArray[np.int64]


class Committed(NamedTuple):
    """Readings in the order of their commit: when that was, the time they bear (microseconds), their device."""

    at_us: Int64s
    time_us: Int64s
    device: Int64s

    def where(self, wanted: npt.NDArray[np.bool_]) -> "Committed":
        """Return some of them."""
        return Committed(self.at_us[wanted], self.time_us[wanted], self.device[wanted])

    @property
    def delay_ms(self) -> npt.NDArray[np.float64]:
        """From the time that a reading bears to its commit."""
        return (self.at_us - self.time_us) / 1000


class StormWatch:
    """Listens to workers from `__enter__` to `__exit__`."""

    def __init__(self, run_folder: Path, workers: tuple[str, ...]) -> None:
        self._paths = [socket_path(run_folder, worker) for worker in workers]
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._frames: list[ReadingsFrame] = []
        self.lost_rows = 0

    def __enter__(self) -> Self:
        for path in self._paths:
            one = connected_socket(path)
            one.setblocking(True)
            self._sockets.append(one)
            self._threads.append(threading.Thread(target=self._listen, args=(one,), daemon=True))
            self._threads[-1].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._sockets:
            one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()

    def _listen(self, feed: socket.socket) -> None:
        frames = FrameReader()
        while octets := feed.recv(1 << 20):
            for frame in frames.feed(octets):
                with self._lock:
                    if isinstance(frame, ReadingsFrame):
                        self._frames.append(frame)
                    elif isinstance(frame, LostFrame):
                        self.lost_rows += frame.rows

    def committed(self) -> Committed:
        """Return what was committed since the last call."""
        with self._lock:
            frames, self._frames = self._frames, []
        frames.sort(key=lambda frame: frame.committed_at_us)
        empty = np.zeros(0, np.int64)
        return Committed(
            np.concatenate([empty, *(np.full(len(one), one.committed_at_us) for one in frames)]),
            np.concatenate([empty, *(one.timestamps for one in frames)]),
            np.concatenate([empty, *(one.device_ids.astype(np.int64) for one in frames)]),
        )
