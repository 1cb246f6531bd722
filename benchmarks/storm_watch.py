"""Writes down when every live reading was committed, from the feed that a worker has for those who watch."""

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
    """Listens to a worker from `__enter__` to `__exit__`."""

    def __init__(self, run_folder: Path, worker: str) -> None:
        self._path = socket_path(run_folder, worker)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._lock = threading.Lock()
        self._frames: list[ReadingsFrame] = []
        self.lost_rows = 0

    def __enter__(self) -> Self:
        self._socket = connected_socket(self._path)
        self._socket.setblocking(True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        frames = FrameReader()
        while octets := self._socket.recv(1 << 20):
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
