"""PUBLISH packets by the hundred thousand, assembled by numpy.

All packets of a stream have one width: topics of equal length, numbers of fixed width. A stream keeps
one template row per series; a chunk copies the rows it needs and writes packet id, time and reading
into fixed columns. Every message has its own microsecond, so every row it becomes has its own key.

    32 | remaining length | topic | packet id | (MQTT 5: 00) | payload
"""

import struct
import time
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from iotistic.contracts.modbus import build_frame, format_frame
from iotistic.contracts.stamps import stamp_data
from iotistic.kernel.mqtt.fields import Property, binary_property, user_properties

Bytes2D = npt.NDArray[np.uint8]
Kind = Literal["json", "json-tele", "modbus"]
Stamp = Literal["", "data", "properties", "pair", "json", "other"]

_READINGS = 4096
_DIGITS3 = np.frombuffer(b"".join(b"%03d" % n for n in range(1000)), np.uint8).reshape(1000, 3)
_DIGITS4 = {
    blank: np.frombuffer(
        b"".join((b"%d" % n if n else b"").rjust(4, blank) for n in range(10_000)), np.uint8
    ).reshape(10_000, 4)
    for blank in (b"0", b" ")
}
_FIELDS: dict[Stamp, bytes] = {"json": b',"epoch":%b,"seq":%b', "other": b',"epoca":%b,"sex":%b'}
_SECOND_US = 1_000_000
_ID_MARK = b"\xff\xff"
_TIME_MARK = b"#" * 26  # YYYY-MM-DDTHH:MM:SS.ffffff
_SEQUENCE_MARK = b"~" * 6
_BINARY_MARK = b"~" * 4


@dataclass
class MessageStream:
    """An endless stream of QoS 1 PUBLISH packets over `series` topics.

    `kind`: `json` (one JSON reading on sensor/<device>/<label>), `json-tele` (the same on F2 topics) or
    `modbus` (an F2 frame of three datapoints with a valid CRC). `padding` makes a JSON payload larger;
    `family` replaces the first topic level of `json`. `stamp` numbers each device's messages from 1, in an
    epoch that is given or began with the stream; there are then as many series to each device. `data` is
    correlation data, `properties` one user property, `pair` two, `json` two fields, and `other` fields of the same size with other names.
    """

    kind: Kind = "json"
    series: int = 1000
    devices: int = 100
    first_device: int = 0
    protocol: int = 4
    family: str = "sensor"
    padding: int = 0
    seed: int = 7
    stamp: Stamp = ""
    epoch: int = 0
    position: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.stamp and self.series % self.devices:
            raise ValueError("stamped devices have equally many series")
        self._epoch = b"%d" % (self.epoch or time.time_ns() // 1_000_000)
        self.topics = [self._topic(number) for number in range(self.series)]
        readings = modbus_readings(self.seed) if self.kind == "modbus" else decimal_readings(self.seed)
        self._readings = np.frombuffer(b"".join(readings), np.uint8).reshape(len(readings), -1)
        packets = [self._packet(topic, readings[0]) for topic in self.topics]
        if len({len(packet) for packet in packets}) != 1:
            raise ValueError("topics of one stream must have equal length")
        self._table = np.frombuffer(b"".join(packets), np.uint8).reshape(self.series, -1)
        first = packets[0]
        self._id_at = first.index(_ID_MARK)
        self._time_at = first.index(_TIME_MARK)
        self._reading_at = first.index(readings[0], self._time_at)
        # From the right: an epoch may end in the bytes of the mark.
        mark = _BINARY_MARK if self.stamp == "data" else _SEQUENCE_MARK
        self._sequence_at = first.rindex(mark) if self.stamp else 0

    @property
    def width(self) -> int:
        """Bytes of one packet."""
        return int(self._table.shape[1])

    def device_name(self, device: int) -> str:
        """Return the topic's device: an F2 name, or a plain one."""
        number = self.first_device + device
        return f"d{number:05d}" if self.kind == "json" else f"f2-02b0{number:08x}"

    def _topic(self, number: int) -> bytes:
        device, label = number % self.devices, number // self.devices
        name = self.device_name(device)
        if self.kind == "json":
            return f"{self.family}/{name}/t{label:03d}".encode()
        connector, sensor = divmod(label, 6)
        return f"tele/{name}/sensor-mode/J{connector % 4 + 1}/sensor-{sensor + 1}".encode()

    def _packet(self, topic: bytes, reading: bytes) -> bytes:
        if self.kind == "modbus":
            payload = b'{"timestamp": "%b", "data": "%b"}' % (_TIME_MARK, reading)
        else:
            sensor = b"s-" + topic[-3:]
            payload = b'{"timestamp":"%bZ","value":%b,"unit":"C","sensor_id":"%b"}' % (
                _TIME_MARK,
                reading,
                sensor,
            )
            payload += b" " * self.padding
        if self.stamp in _FIELDS:
            fields = _FIELDS[self.stamp] % (self._epoch, _SEQUENCE_MARK)
            payload = payload[:-1] + fields + b"}"
        body = struct.pack(">H", len(topic)) + topic + _ID_MARK + self._properties() + payload
        return b"\x32" + remaining_length(len(body)) + body

    def _properties(self) -> bytes:
        if self.protocol != 5:
            return b""
        epoch, sequence = self._epoch.decode(), _SEQUENCE_MARK.decode()
        match self.stamp:
            case "data":
                # A number of four bytes, which is written into each packet.
                stamp = stamp_data(int(epoch), 2**32 - 1)[: -len(_BINARY_MARK)] + _BINARY_MARK
                pairs = binary_property(Property.CORRELATION_DATA, stamp)
            case "properties":
                pairs = user_properties((("seq", f"{epoch}:{sequence}"),))
            case "pair":
                pairs = user_properties((("epoch", epoch), ("seq", sequence)))
            case _:
                return b"\0"
        return remaining_length(len(pairs)) + pairs

    def chunk(self, packet_ids: npt.NDArray[np.int64], times_us: npt.NDArray[np.int64]) -> memoryview:
        """Assemble the next packets, one for each id and time (microseconds since the epoch)."""
        count = len(packet_ids)
        numbers = np.arange(self.position, self.position + count)
        self.position += count
        rows = self._table[numbers % self.series]
        rows[:, self._id_at] = packet_ids >> 8
        rows[:, self._id_at + 1] = packet_ids & 255
        write_times(
            rows[:, self._time_at : self._time_at + 26], times_us, "T" if self.kind != "modbus" else " "
        )
        picked = self._readings[(numbers * 2654435761 >> 7) % len(self._readings)]
        rows[:, self._reading_at : self._reading_at + picked.shape[1]] = picked
        if self.stamp:
            self._write_sequences(rows, numbers // self.devices + 1)
        return memoryview(rows).cast("B")

    def _write_sequences(self, rows: Bytes2D, sequences: npt.NDArray[np.int64]) -> None:
        if self.stamp == "data":
            octets = sequences.astype(">u4").view(np.uint8).reshape(-1, len(_BINARY_MARK))
            rows[:, self._sequence_at : self._sequence_at + len(_BINARY_MARK)] = octets
            return
        columns = rows[:, self._sequence_at : self._sequence_at + len(_SEQUENCE_MARK)]
        write_number(columns, sequences, blank=b" " if self.stamp in _FIELDS else b"0")


def write_times(columns: Bytes2D, times_us: npt.NDArray[np.int64], separator: str) -> None:
    """Write `YYYY-MM-DD<separator>HH:MM:SS.ffffff` (UTC) into 26 columns."""
    seconds, micros = np.divmod(times_us, _SECOND_US)
    pattern = f"%Y-%m-%d{separator}%H:%M:%S."
    for second in np.unique(seconds):
        text = time.strftime(pattern, time.gmtime(int(second))).encode()
        columns[seconds == second, :20] = np.frombuffer(text, np.uint8)
    columns[:, 20:23] = _DIGITS3[micros // 1000]
    columns[:, 23:26] = _DIGITS3[micros % 1000]


def write_number(columns: Bytes2D, numbers: npt.NDArray[np.int64], *, blank: bytes) -> None:
    """Write decimal numbers of up to six digits into six columns, to the right, `blank` in front."""
    high, low = np.divmod(numbers, 10_000)
    columns[:, :2] = _DIGITS4[blank][high, 2:]
    columns[:, 2:] = _DIGITS4[b"0"][low]
    if blank != b"0" and not high.all():
        columns[high == 0, 2:] = _DIGITS4[blank][low[high == 0]]


def decimal_readings(seed: int) -> list[bytes]:
    """Return readings of one width, such as 21.53."""
    values = np.random.default_rng(seed).integers(1000, 9999, _READINGS)
    return [b"%d.%02d" % divmod(int(value), 100) for value in values]


def modbus_readings(seed: int) -> list[bytes]:
    """Return answers of a climate sensor in hex: temperature, humidity, CO2, six more bytes, CRC."""
    values = np.random.default_rng(seed).integers(0, 5000, (_READINGS, 3))
    return [format_frame(build_frame(struct.pack(">6H", *map(int, row), 0, 0, 0))).encode() for row in values]


def remaining_length(length: int) -> bytes:
    """Encode MQTT's variable length integer."""
    encoded = bytearray()
    while True:
        length, low = divmod(length, 128)
        encoded.append(low | (0x80 if length else 0))
        if not length:
            return bytes(encoded)
