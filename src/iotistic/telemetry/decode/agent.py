"""Batches that agents publish: `{sensor, timestamp, messages: [...]}`, or one bare reading.

A line of `messages` is an object or JSON text; it is one reading or `{timestamp, readings: [...]}`. A
reading without a time of its own takes its line's, then the batch's. Each reading is a series of its
own, `<sensor>/<deviceName>/<registerName>`, so that two that share a time do not displace each other.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from iotistic.telemetry.decode.columns import Scalar
from iotistic.telemetry.decode.shapes import AgentBatch, AgentReading
from iotistic.telemetry.decode.timestamps import Stamp

_line_decoder = msgspec.json.Decoder(AgentReading)


class FlatReading(NamedTuple):
    """One reading of a batch; `label` is relative to the topic's device."""

    label: str
    stamp: Stamp
    value: Scalar
    nudge_us: int = 0
    """Microseconds added to a time that is the batch's, so that equal names keep apart."""


def flatten(batch: AgentBatch, *, label: str) -> tuple[list[FlatReading], list[str]]:
    """Return the readings of a batch and what was wrong with lines that gave none."""
    if batch.messages is None:
        name = label if batch.sensor_id is None else f"{label}/{batch.sensor_id}"
        return [FlatReading(name, batch.timestamp, batch.value)], []
    base = batch.sensor or label
    readings: list[FlatReading] = []
    faults: list[str] = []
    inherited: Counter[str] = Counter()
    for number, line in enumerate(batch.messages):
        try:
            parsed = _line_decoder.decode(line) if isinstance(line, str) else line
        except (msgspec.DecodeError, RecursionError) as exc:
            faults.append(f"line {number}: {exc}")
            continue
        for name, own, value in _flatten_line(parsed, base):
            if own is None:
                # Without any time each reading gets one of its own, later on.
                nudge_us = 0 if batch.timestamp is None else inherited[name]
                readings.append(FlatReading(name, batch.timestamp, value, nudge_us))
                inherited[name] += 1
            else:
                readings.append(FlatReading(name, own, value))
    return readings, faults


def _flatten_line(line: AgentReading, base: str) -> Iterator[tuple[str, Stamp, Scalar]]:
    if line.readings is None:
        names = (base, line.device_name, line.register_name or line.name)
        yield "/".join(name for name in names if name), line.timestamp, line.value
        return
    for reading in line.readings:
        names = (base, reading.device_name or line.device_name, reading.register_name or reading.name)
        own = line.timestamp if reading.timestamp is None else reading.timestamp
        yield "/".join(name for name in names if name), own, reading.value
