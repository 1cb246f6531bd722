"""Modbus RTU replies: hex text to frames, checksums, and the values that a template reads out of them.

Frames of one length are one numpy matrix, so a batch costs a few array operations however many it holds.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from iotistic.contracts.modbus import CRC_TABLE
from iotistic.telemetry.model import Bytes2D, Floats

MIN_FRAME_BYTES = 5  # address, function, count or exception code, two bytes of checksum
MAX_FRAME_BYTES = 256
_EXCEPTION = 0x80
_COUNTED_READS = (1, 2, 3, 4)
_HEX = re.compile(r"[0-9A-Fa-f\s]*")


class Encoding(StrEnum):
    """How a datapoint's bytes are a number."""

    INT8 = "Int8"
    UINT8 = "Uint8"
    INT16 = "Int16"
    UINT16 = "Uint16"
    INT32 = "Int32"
    UINT32 = "Uint32"
    FLOAT32 = "Float32"


_TYPES = {
    Encoding.INT8: "i1",
    Encoding.UINT8: "u1",
    Encoding.INT16: "i2",
    Encoding.UINT16: "u2",
    Encoding.INT32: "i4",
    Encoding.UINT32: "u4",
    Encoding.FLOAT32: "f4",
}


@dataclass(frozen=True, slots=True)
class FrameField:
    """One datapoint of a template. `offset` counts from the frame's address byte; both in bytes."""

    datapoint_id: int
    label: str
    offset: int
    length: int
    encoding: Encoding
    little_endian: bool = False
    decimals: int = 0

    @property
    def end(self) -> int:
        """The first byte behind the field."""
        return self.offset + self.length

    def extract(self, frames: Bytes2D) -> Floats:
        """Return the field of each frame; `frames` has shape (n, length) and reaches `end`."""
        order = "<" if self.little_endian else ">"
        octets = np.ascontiguousarray(frames[:, self.offset : self.end])
        numbers = octets.view(order + _TYPES[self.encoding]).ravel().astype(np.float64)
        return numbers / 10.0**self.decimals if self.decimals else numbers


_CRC_TABLE = np.array(CRC_TABLE, np.uint16)


def crc_is_right(frames: Bytes2D) -> npt.NDArray[np.bool_]:
    """Tell for each frame whether its last two bytes are the Modbus CRC-16 of the rest, low byte first."""
    crc = np.full(len(frames), 0xFFFF, np.uint16)
    for column in frames[:, :-2].T:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ column) & 0xFF]
    return crc == (frames[:, -2] | frames[:, -1].astype(np.uint16) << 8)


def parse_hex(text: str) -> bytes | None:
    """Return the bytes of hex text, with or without spaces; None when it is not hex."""
    try:
        return bytes.fromhex(text) if _HEX.fullmatch(text) else None
    except ValueError:
        return None


def frame_fault(frame: bytes) -> tuple[str, str] | None:
    """Say what is wrong with a frame whose checksum is right: (reason code, detail), or None."""
    if frame[1] & _EXCEPTION:
        return "decode.modbus_exception", f"the sensor answered with exception {frame[2]}"
    if frame[1] in _COUNTED_READS and frame[2] != len(frame) - MIN_FRAME_BYTES:
        return "decode.frame_length", f"the frame says {frame[2]} data bytes and holds {len(frame) - 5}"
    return None
