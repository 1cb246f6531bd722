"""The judgement: a condition, what is known of a series, and a batch of it give what changed. Pure.

    readings --> signals: breach, hold or clear --> latch: pending, firing --> transitions
    silence ------------------------------------------------------------/

Time comes from the data; `until_us` says up to when all data is there, which only silence needs. So the same
series cut into any batches gives the same transitions, and what is live is what a backtest finds.
"""

import itertools
from dataclasses import dataclass
from enum import StrEnum

import msgspec
import numpy as np
import numpy.typing as npt

from iotistic.control.alerts.conditions import (
    Anomaly,
    DeviceOffline,
    NoData,
    RateOfChange,
    ReportedValue,
    ServiceNotRunning,
    Threshold,
)
from iotistic.control.alerts.signals import BREACH, HOLD, Signal, limits, rate, unusual

Times = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

NEVER = -(2**62)
SECOND_US = 1_000_000

NumericCondition = (
    Threshold | RateOfChange | NoData | Anomaly | DeviceOffline | ServiceNotRunning | ReportedValue
)


class Phase(StrEnum):
    """What the evaluator believes of a subject."""

    CLEAR = "clear"
    PENDING = "pending"
    FIRING = "firing"


class Change(StrEnum):
    """What happened to an alert."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"
    CANCELLED = "cancelled"
    """What was pending did not last."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A change at a time of the data (microseconds), and since when the condition has held."""

    change: Change
    at_us: int
    since_us: int
    value: float | None = None


class SeriesState(msgspec.Struct, frozen=True, array_like=True):
    """What is known of one subject; `write` and `read` keep it."""

    phase: Phase = Phase.CLEAR
    since_us: int = 0
    last_us: int = NEVER
    """Time of the last reading judged."""
    memory: bytes = b""
    """What the signal carries on, in a form of its own."""

    def write(self) -> bytes:
        """Return it as bytes."""
        return _encoder.encode(self)

    @classmethod
    def read(cls, data: bytes) -> "SeriesState":
        """Return what was written. Raises ValueError."""
        return _decoder.decode(data)

    @property
    def is_of_note(self) -> bool:
        """Whether it says more than that nothing happened; `last_us` alone is found again in the table."""
        return self.phase is not Phase.CLEAR or bool(self.memory)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(SeriesState)


@dataclass(frozen=True, slots=True)
class Batch:
    """Readings of one series, their times ascending."""

    times_us: Times
    values: Values

    def after(self, last_us: int) -> "Batch":
        """Return the part after a time."""
        start = int(np.searchsorted(self.times_us, last_us, side="right"))
        return self if start == 0 else Batch(self.times_us[start:], self.values[start:])


def evaluate(
    condition: NumericCondition, for_s: float, state: SeriesState, batch: Batch, until_us: int
) -> tuple[SeriesState, list[Transition]]:
    """Judge a batch; return what is known now and what changed, in the order of time.

    `batch` holds no reading after `until_us`; readings that are not after the last one judged are skipped.
    """
    fresh = batch.after(state.last_us)
    match condition:
        case NoData() | DeviceOffline():
            return _judge_silence(round(condition.after_s * SECOND_US), state, fresh.times_us, until_us)
        case Threshold() | ReportedValue():
            signal = limits(fresh.values, condition.above, condition.below, condition.hysteresis)
        case ServiceNotRunning():
            signal = limits(fresh.values, 0.5, None, 0.0)
        case RateOfChange():
            signal = rate(condition, state.memory, fresh.times_us, fresh.values)
        case Anomaly():
            signal = unusual(condition, state.memory, fresh.times_us, fresh.values)
    return _latch(round(for_s * SECOND_US), state, fresh.times_us, signal)


def _latch(
    for_us: int, state: SeriesState, times: Times, signal: Signal
) -> tuple[SeriesState, list[Transition]]:
    """Turn levels into transitions: a breach lasts until it is clear, and fires once it has lasted."""
    rows = len(times)
    if rows == 0:
        return state, []
    held = state.phase is not Phase.CLEAR
    on = _carried_on(signal.levels, first=held)
    edges = np.flatnonzero(np.diff(on, prepend=held)).tolist()
    phase, since = state.phase, state.since_us
    found: list[Transition] = []

    def ripen(start: int, end: int) -> Phase:
        """Let what is pending fire at the first reading of a stretch at which it has lasted long enough."""
        place = start + int(np.searchsorted(times[start:end], since + for_us))
        if place == end:
            return Phase.PENDING
        found.append(Transition(Change.FIRING, int(times[place]), since, float(signal.shown[place])))
        return Phase.FIRING

    if phase is Phase.PENDING:
        phase = ripen(0, edges[0] if edges else rows)
    for start, end in itertools.pairwise([*edges, rows]):
        at = int(times[start])
        if on[start]:
            since = at
            if for_us:
                found.append(Transition(Change.PENDING, at, at, float(signal.shown[start])))
            phase = ripen(start, end)
        else:
            over = Change.RESOLVED if phase is Phase.FIRING else Change.CANCELLED
            found.append(Transition(over, at, since, float(signal.shown[start])))
            phase = Phase.CLEAR
    since = since if phase is not Phase.CLEAR else 0
    return SeriesState(phase, since, int(times[-1]), signal.memory), found


def _carried_on(levels: npt.NDArray[np.int8], *, first: bool) -> Flags:
    """Return for each reading whether the condition holds, where HOLD leaves it as it was before."""
    decided = np.where(levels != HOLD, np.arange(len(levels)), -1)
    place = np.maximum.accumulate(decided)
    return np.where(place >= 0, levels[place] == BREACH, first)


def _judge_silence(
    after_us: int, state: SeriesState, times: Times, until_us: int
) -> tuple[SeriesState, list[Transition]]:
    """Find the gaps between readings, and the one that is still open."""
    found: list[Transition] = []
    phase, since, last = state.phase, state.since_us, state.last_us
    if phase is Phase.FIRING and len(times):
        found.append(Transition(Change.RESOLVED, int(times[0]), since))
        phase, last, times = Phase.CLEAR, int(times[0]), times[1:]
    if len(times):
        known = times if last == NEVER else np.concatenate(([last], times))
        for place in np.flatnonzero(np.diff(known) > after_us).tolist():
            silent_since = int(known[place])
            found.append(Transition(Change.FIRING, silent_since + after_us, silent_since))
            found.append(Transition(Change.RESOLVED, int(known[place + 1]), silent_since))
        last = int(times[-1])
    if phase is Phase.CLEAR and last != NEVER and until_us - last > after_us:
        found.append(Transition(Change.FIRING, last + after_us, last))
        phase, since = Phase.FIRING, last
    return SeriesState(phase, since if phase is Phase.FIRING else 0, last), found
