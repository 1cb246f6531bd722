"""Processed records as the sink reads them: columns for the database.

Anybody may write to a topic, so a record is believed no further than its types and bounds; one that breaks
them is a fault of its own and costs no other one anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from iotistic.telemetry.decode.timestamps import to_microseconds
from iotistic.telemetry.model import Deliveries, EventRow, Int64s, Rows

_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_FIRST_US, _LAST_US = 946_684_800_000_000, 4_102_444_800_000_000  # the years 2000 to 2099
_Id = Annotated[int, Meta(ge=1, le=2**31 - 1)]
_Number = Annotated[int, Meta(ge=-1, le=2**53 - 1)]
_Text = Annotated[str, Meta(max_length=1023)]


class Reading(msgspec.Struct, gc=False):
    """What is read of a processed record."""

    deviceid: _Id
    datapointid: _Id
    timestamp: str | int | float
    value: float | None = None
    text: _Text | None = None
    received_at: Annotated[int, Meta(ge=0, lt=_LAST_US)] = 0
    epoch: _Number = -1
    sequence: _Number = -1
    source: str | None = None


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """What records hold; `faults` are (index, what is wrong) of those that could not be read.

    `row_records` and `event_records` are the indices of the records that rows and events were read from.
    """

    rows: Rows
    events: list[EventRow]
    deliveries: Deliveries | None
    received_us: int
    faults: list[tuple[int, str]]
    row_records: Sequence[int]
    event_records: Sequence[int]


_decoder = msgspec.json.Decoder(Reading)


def decode_readings(values: Sequence[bytes | None], *, read_us: int) -> ReadBatch:
    """Read records. `read_us` stands in where none of them says when it was received."""
    decode = _decoder.decode
    faults: list[tuple[int, str]] = []
    try:
        found = [decode(value) for value in values]  # type: ignore[arg-type]  # None is no JSON, and raises
    except (*_BROKEN, TypeError):
        found, faults = _decode_singly(values)
    times = to_microseconds([one.timestamp for one in found]) if found else np.zeros(0, np.int64)
    texts = [one.text for one in found]
    if faults or not _all_numbers(found, times, texts):
        return _sort_out(found, times, faults, read_us)
    rows, received_us = _rows(found, times), _received(found, read_us)
    return ReadBatch(rows, [], _deliveries(found), received_us, [], range(len(found)), ())


def _all_numbers(found: list[Reading], times: Int64s, texts: list[str | None]) -> bool:
    timely = bool(((times >= _FIRST_US) & (times < _LAST_US)).all())
    return timely and texts.count(None) == len(texts) and None not in [one.value for one in found]


def _sort_out(found: list[Reading], times: Int64s, faults: list[tuple[int, str]], read_us: int) -> ReadBatch:
    """Part numbers from texts, and leave out what cannot be stored."""
    broken = {place for place, _ in faults}
    places = [place for place in range(len(found) + len(faults)) if place not in broken]
    good: list[int] = []
    for index, one in enumerate(found):
        fault = _fault(one, int(times[index]))
        if fault is None:
            good.append(index)
        else:
            faults.append((places[index], fault))
    numbers = [index for index in good if found[index].text is None]
    texts = [index for index in good if found[index].text is not None]
    events = [
        EventRow(found[i].deviceid, found[i].datapointid, int(times[i]), found[i].text or "") for i in texts
    ]
    rows = _rows([found[i] for i in numbers], times[np.array(numbers, np.int64)])
    kept = [found[i] for i in good]
    return ReadBatch(
        rows,
        events,
        _deliveries(kept),
        _received(kept, read_us),
        sorted(faults),
        [places[index] for index in numbers],
        [places[index] for index in texts],
    )


def _fault(one: Reading, time_us: int) -> str | None:
    if not _FIRST_US <= time_us < _LAST_US:
        return "the timestamp cannot be read, or is not between the years 2000 and 2099"
    if (one.value is None) == (one.text is None):
        return "a reading has either a value or a text"
    return "a text may not hold the character NUL" if one.text and "\0" in one.text else None


def _decode_singly(values: Sequence[bytes | None]) -> tuple[list[Reading], list[tuple[int, str]]]:
    found: list[Reading] = []
    faults: list[tuple[int, str]] = []
    for place, value in enumerate(values):
        try:
            found.append(_decoder.decode(value or b""))
        except _BROKEN as exc:
            faults.append((place, str(exc)))
    return found, faults


def _rows(found: list[Reading], times: Int64s) -> Rows:
    return Rows(
        np.array([one.deviceid for one in found], np.int32),
        np.array([one.datapointid for one in found], np.int32),
        times,
        np.array([one.value for one in found], np.float64),
    )


def _deliveries(found: list[Reading]) -> Deliveries | None:
    stamped = [one for one in found if one.source is not None and one.sequence > 0 and one.epoch >= 0]
    if not stamped:
        return None
    return Deliveries(
        [one.source or "" for one in stamped],
        np.array([one.epoch for one in stamped], np.int64),
        np.array([one.sequence for one in stamped], np.int64),
    )


def _received(found: list[Reading], read_us: int) -> int:
    return found[0].received_at if found and found[0].received_at else read_us
