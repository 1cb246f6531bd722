"""The live feed's wire format between ingest workers and API processes, over a local unix socket.

    u32 length (of what follows) | u8 kind | body            everything little endian

    readings  i64 committed_at_us | u32 n | timestamps i64[n] | device_ids i32[n]
              | datapoint_ids i32[n] | values f64[n]
    events    JSON `EventsFrame`: text readings
    stats     JSON `StatsFrame`: a worker's running totals, once a second
    lost      u64: rows that this consumer did not get since the frame before

A batch crosses as arrays, so that a consumer can filter 50,000 rows a second before it makes the first
Python object. Times are microseconds since the epoch.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

from iotistic.kernel.errors import Invalid

MAX_FRAME_BYTES = 64 * 1024 * 1024
_HEADER = struct.Struct("<IB")
_READINGS = struct.Struct("<qI")
_LOST = struct.Struct("<Q")
_ROW_BYTES = 8 + 4 + 4 + 8


class FrameInvalid(Invalid):
    """The live feed's peer sent bytes that are no frame."""

    code = "live.frame_invalid"


class Kind(IntEnum):
    """What a frame carries."""

    READINGS = 1
    EVENTS = 2
    STATS = 3
    LOST = 4


@dataclass(frozen=True, eq=False)
class ReadingsFrame:
    """One committed batch: four arrays of the same length."""

    committed_at_us: int
    timestamps: NDArray[np.int64]
    device_ids: NDArray[np.int32]
    datapoint_ids: NDArray[np.int32]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.timestamps)


class LiveEvent(msgspec.Struct, frozen=True):
    """A text reading, such as a card shown to a reader."""

    timestamp_us: int
    device_id: int
    datapoint_id: int
    value: str


class EventsFrame(msgspec.Struct, frozen=True):
    """The text readings of one committed batch."""

    committed_at_us: int
    events: list[LiveEvent]


class StatsFrame(msgspec.Struct, frozen=True):
    """A worker's totals since it started; fields that a reader does not know are ignored."""

    worker: str
    at_us: int = 0
    started_at_us: int = 0
    messages_total: int = 0
    rows_total: int = 0
    events_total: int = 0
    dead_letters_total: int = 0
    unacknowledged: int = 0


@dataclass(frozen=True)
class LostFrame:
    """Rows that the worker dropped because this consumer was slow."""

    rows: int


Frame = ReadingsFrame | EventsFrame | StatsFrame | LostFrame

_events_decoder = msgspec.json.Decoder(EventsFrame)
_stats_decoder = msgspec.json.Decoder(StatsFrame)


def encode_readings(
    committed_at_us: int,
    timestamps: NDArray[np.int64],
    device_ids: NDArray[np.int32],
    datapoint_ids: NDArray[np.int32],
    values: NDArray[np.float64],
) -> bytes:
    """Return one frame with a batch of n rows; arrays of other widths are converted."""
    rows = len(timestamps)
    if not rows == len(device_ids) == len(datapoint_ids) == len(values):
        raise ValueError("a batch's arrays have one length")
    return _frame(
        Kind.READINGS,
        _READINGS.pack(committed_at_us, rows),
        np.ascontiguousarray(timestamps, "<i8").tobytes(),
        np.ascontiguousarray(device_ids, "<i4").tobytes(),
        np.ascontiguousarray(datapoint_ids, "<i4").tobytes(),
        np.ascontiguousarray(values, "<f8").tobytes(),
    )


def encode_events(frame: EventsFrame) -> bytes:
    """Return one frame with text readings."""
    return _frame(Kind.EVENTS, msgspec.json.encode(frame))


def encode_stats(frame: StatsFrame) -> bytes:
    """Return one frame with a worker's totals."""
    return _frame(Kind.STATS, msgspec.json.encode(frame))


def encode_lost(rows: int) -> bytes:
    """Return one frame that tells a consumer how many rows it did not get."""
    return _frame(Kind.LOST, _LOST.pack(rows))


def rows_in(frame: bytes) -> int:
    """Return how many readings and text readings an encoded frame carries."""
    length, kind = _HEADER.unpack_from(frame)
    if kind == Kind.READINGS and length >= 1 + _READINGS.size:
        return int(_READINGS.unpack_from(frame, _HEADER.size)[1])
    if kind == Kind.EVENTS:  # rare and short
        return len(_events_decoder.decode(frame[_HEADER.size :]).events)
    return 0


class FrameReader:
    """Cuts frames out of a byte stream, whatever pieces it arrives in."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames completed by `data`; raise FrameInvalid once the stream makes no sense."""
        self._pending += data
        frames: list[Frame] = []
        start = 0
        while len(self._pending) - start >= _HEADER.size:
            length, kind = _HEADER.unpack_from(self._pending, start)
            if not 1 <= length <= MAX_FRAME_BYTES:
                raise FrameInvalid(f"a frame's length is 1 to {MAX_FRAME_BYTES} bytes", given=length)
            end = start + 4 + length
            if end > len(self._pending):
                break
            frame = _decode(kind, bytes(memoryview(self._pending)[start + _HEADER.size : end]))
            if frame is not None:
                frames.append(frame)
            start = end
        del self._pending[:start]
        return frames


def _frame(kind: Kind, *parts: bytes) -> bytes:
    length = 1 + sum(map(len, parts))
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"a frame holds at most {MAX_FRAME_BYTES} bytes")
    return b"".join((_HEADER.pack(length, kind), *parts))


def _decode(kind: int, body: bytes) -> Frame | None:
    """Decode one body; a kind of a newer release is skipped."""
    try:
        match kind:
            case Kind.READINGS:
                return _decode_readings(body)
            case Kind.EVENTS:
                return _events_decoder.decode(body)
            case Kind.STATS:
                return _stats_decoder.decode(body)
            case Kind.LOST:
                return LostFrame(int(_LOST.unpack(body)[0]))
            case _:
                return None
    except (msgspec.MsgspecError, struct.error) as exc:
        raise FrameInvalid(f"a frame of kind {kind} cannot be decoded") from exc


def _decode_readings(body: bytes) -> ReadingsFrame:
    committed_at_us, rows = _READINGS.unpack_from(body)
    if len(body) != _READINGS.size + rows * _ROW_BYTES:
        raise FrameInvalid("a batch's length does not match its number of rows", rows=rows, bytes=len(body))
    at = _READINGS.size
    return ReadingsFrame(
        committed_at_us=committed_at_us,
        timestamps=np.frombuffer(body, "<i8", rows, at),
        device_ids=np.frombuffer(body, "<i4", rows, at + 8 * rows),
        datapoint_ids=np.frombuffer(body, "<i4", rows, at + 12 * rows),
        values=np.frombuffer(body, "<f8", rows, at + 16 * rows),
    )
