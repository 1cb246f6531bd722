"""Modbus RTU replies as F2 sensors forward them: hex bytes with spaces, `01 03 0C .. .. CRC-low CRC-high`."""

from iotistic.kernel.errors import Invalid

READ_HOLDING_REGISTERS = 0x03
HEADER_BYTES = 3  # address, function, count of data bytes
CRC_BYTES = 2
_POLYNOMIAL = 0xA001
_INITIAL = 0xFFFF
_MAX_DATA_BYTES = 250


class FrameInvalid(Invalid):
    """A sensor's data is a Modbus RTU reply in hex: address, function, byte count, data bytes, CRC."""

    code = "modbus.frame_invalid"


def _table() -> tuple[int, ...]:
    entries: list[int] = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ _POLYNOMIAL if crc & 1 else crc >> 1
        entries.append(crc)
    return tuple(entries)


CRC_TABLE = _table()


def crc16(data: bytes) -> int:
    """Return the CRC-16/MODBUS of `data`; it stands in a frame with its low byte first."""
    crc = _INITIAL
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc


def build_frame(data: bytes, *, address: int = 1, function: int = READ_HOLDING_REGISTERS) -> bytes:
    """Return a reply with `data` (250 bytes at most) and its CRC."""
    if len(data) > _MAX_DATA_BYTES:
        raise FrameInvalid(f"a reply holds at most {_MAX_DATA_BYTES} data bytes")
    body = bytes([address, function, len(data)]) + data
    return body + crc16(body).to_bytes(2, "little")


def format_frame(frame: bytes) -> str:
    """Return `frame` as devices print it: upper-case hex bytes with spaces."""
    return frame.hex(" ").upper()


def parse_frame(text: str) -> bytes:
    """Return the frame in `text`, CRC included; raise FrameInvalid when length or CRC contradict it."""
    try:
        frame = bytes.fromhex(text)
    except ValueError as exc:
        raise FrameInvalid("the data is not hex bytes") from exc
    if len(frame) < HEADER_BYTES + CRC_BYTES or len(frame) != HEADER_BYTES + frame[2] + CRC_BYTES:
        raise FrameInvalid("the frame's length contradicts its byte count", length=len(frame))
    if crc16(frame[:-CRC_BYTES]) != int.from_bytes(frame[-CRC_BYTES:], "little"):
        raise FrameInvalid("the frame's CRC is wrong")
    return frame
