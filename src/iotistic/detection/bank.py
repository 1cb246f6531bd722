"""Many streams of one tick, stepped together: the same arithmetic as `Detector`, over columns of one array.

A column is exactly the list of numbers of one detector (`Detector.to_list`), so streams move between the
two without loss; what a step does to a column is bit for bit what `Detector.update` does.
"""

import numpy as np
import numpy.typing as npt

from iotistic.detection.constants import (
    DAY_S,
    DEFAULTS,
    FULL_SCORE,
    LARGEST,
    RESOLUTION,
    STEADY_LIMIT,
    Constants,
)
from iotistic.detection.detector import SCALARS, Detector
from iotistic.detection.gauges import FAR, FIELDS, LIMITS, NORMAL_MAD

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

_ROWS = {name: row for row, name in enumerate((*SCALARS, *FIELDS))}


class Bank:
    """A number of streams with the same constants; row numbers of streams are places in every array."""

    def __init__(self, streams: int, constants: Constants = DEFAULTS) -> None:
        self.constants = constants
        fresh = np.array(Detector(constants).to_list(), dtype=np.float64)
        self.numbers: Floats = np.repeat(fresh[:, None], streams, axis=1)
        self._width_s = np.array([DAY_S / slots for slots in constants.slots])[:, None]
        sizes = [3 + 2 * slots for slots in constants.slots]
        judges = 2 + len(constants.slots)
        self._first_extreme = len(_ROWS)
        first = self._first_extreme + judges * (2 + 2 * len(constants.caps))
        self._profile_rows: Places = first + np.cumsum([0, *sizes[:-1]], dtype=np.int64)
        self._slots: Places = np.array(constants.slots, dtype=np.int64)[:, None]
        self._caps = np.array(constants.caps)[None, :, None]

    @property
    def streams(self) -> int:
        """Number of streams."""
        return self.numbers.shape[1]

    @property
    def learning(self) -> Flags:
        """Which streams are still in their warm-up."""
        return self.numbers[self._first_extreme] <= self.constants.warm_up

    def put(self, stream: int, detector: Detector) -> None:
        """Let a stream go on from a detector's state."""
        self.numbers[:, stream] = detector.to_list()

    def detector(self, stream: int) -> Detector:
        """Return a detector that goes on as this stream would; for saving, and for describing an event."""
        one = Detector(self.constants)
        one.from_list(self.numbers[:, stream].tolist())
        return one

    def step(
        self, t: float | Floats, values: npt.ArrayLike, forecasts: npt.ArrayLike | None = None
    ) -> tuple[Floats, Floats]:
        """Take one value of every stream in (NaN: none came); return alert scores and raw scores.

        `t`: one time for all, or one for each. `forecasts`: NaN where there is none.
        """
        given = np.asarray(values, dtype=np.float64)
        said = np.full(given.shape, np.nan) if forecasts is None else np.asarray(forecasts, dtype=np.float64)
        times = np.broadcast_to(np.asarray(t, dtype=np.float64), given.shape)
        came = np.abs(given) < LARGEST
        if came.all():
            return self._step(self.numbers, times, given, said)
        some = np.flatnonzero(came)
        part = self.numbers[:, some]
        alerts, raws = np.zeros(given.shape), self._of(self.numbers, "raw").copy()
        alerts[some], raws[some] = self._step(part, times[some], given[some], said[some])
        self.numbers[:, some] = part
        return alerts, raws

    @staticmethod
    def _of(state: Floats, name: str) -> Floats:
        return state[_ROWS[name]]

    def _step(self, state: Floats, t: Floats, value: Floats, forecast: Floats) -> tuple[Floats, Floats]:
        known_time = np.abs(t) < LARGEST
        second = np.where(known_time, np.where(known_time, t, 0.0) % DAY_S % DAY_S, self._of(state, "second"))
        seen = self._of(state, "seen")
        state[_ROWS["second"]] = second
        state[_ROWS["origin"]] = np.where(seen == 0, value, self._of(state, "origin"))
        x = value - self._of(state, "origin")
        peak = np.maximum(np.maximum(self._of(state, "peak"), np.abs(value)), np.abs(x))
        state[_ROWS["peak"]] = peak
        floor = peak * RESOLUTION
        score, residual = self._judge(state, x, floor, forecast)
        state[_ROWS["value"]], state[_ROWS["expected"]] = value, value - residual
        steady = self._gauge(state, residual, np.where(seen > 0, x - self._of(state, "last"), 0.0), floor)
        self._learn(state, x)
        agreement = np.zeros_like(x)
        for name, limit in LIMITS.items():
            if name == "error" and not self.constants.forecast_weight:
                continue
            agreement = np.maximum(agreement, self._of(state, name) / limit)
        agreement = np.minimum(agreement, 1.0)
        return self._scores(state, score * (agreement * agreement), steady)

    def _judge(self, state: Floats, x: Floats, floor: Floats, forecast: Floats) -> tuple[Floats, Floats]:
        residuals, known = self._profiles(state, x)
        told = np.abs(forecast) < LARGEST
        error = x - (np.where(told, forecast, 0.0) - self._of(state, "origin"))
        self._forecast(state, error, told, floor)
        inputs = np.vstack((x[None], error[None], residuals))
        weight = self.constants.forecast_weight
        judging = told if weight else np.zeros_like(told)
        active = np.vstack((np.ones_like(told)[None], judging[None], known))
        scores, ripe = self._extremes(state, inputs, active, floor)
        usual = x - self._of(state, "level")
        total, both, judges = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
        for row in range(len(residuals)):
            both = both + np.where(known[row], residuals[row], usual)
        for row in range(2, len(inputs)):
            total = total + np.where(active[row], scores[row], 0.0)
            judges = judges + (active[row] & ripe[row])
        total = total + np.where(active[1], weight * scores[1], 0.0)
        judges = judges + weight * (active[1] & ripe[1])
        caps = len(self.constants.caps)
        mean = total / (np.where(judges > 0, judges, 1.0) * caps)
        return np.where(judges > 0, mean, scores[0] / caps), both / len(residuals)

    def _profiles(self, state: Floats, x: Floats) -> tuple[Floats, Flags]:
        """Return residuals and which are known, both (profiles, streams); learn the slots that ended."""
        top = self._profile_rows
        now = (self._of(state, "second") / self._width_s).astype(np.int64)
        slot, total, count = state[top], state[top + 1], state[top + 2]
        changed = slot != now
        which, stream = np.nonzero(changed & (count > 0))
        level_at = top[which] + 3 + slot[which, stream].astype(np.int64)
        visits_at = level_at + self._slots[which, 0]
        visits = state[visits_at, stream] + 1
        level = state[level_at, stream]
        share = np.maximum(1.0 / visits, self.constants.profile_gain)
        mean = total[which, stream] / count[which, stream]
        state[level_at, stream] = level + share * (mean - level)
        state[visits_at, stream] = visits
        state[top] = now
        state[top + 1] = np.where(changed, 0.0, total) + x
        state[top + 2] = np.where(changed, 0.0, count) + 1
        place = top[:, None] + 3 + now
        columns = np.arange(len(x))[None, :]
        return x - state[place, columns], state[place + self._slots, columns] > 0

    def _extremes(
        self, state: Floats, x: Floats, active: Flags, floor: Floats
    ) -> tuple[Floats, Flags]:  # (judges, streams)
        constants, caps = self.constants, len(self.constants.caps)
        block = state[self._first_extreme : self._first_extreme + len(x) * (2 + 2 * caps)]
        block = block.reshape(len(x), 2 + 2 * caps, -1)
        first = active & (block[:, 0] == 0)
        going = (active & ~first)[:, None]
        seen = block[:, 0] + active
        block[:, 0] = seen
        gain = np.maximum(1.0 / np.maximum(seen, 1.0), constants.mean_gain)
        mean = np.where(active, block[:, 1] + (x - block[:, 1]) * gain, block[:, 1])
        block[:, 1] = np.where(first, x, mean)
        ripe = seen > constants.warm_up
        high = np.where(first[:, None], x[:, None], block[:, 2 : 2 + caps])
        low = np.where(first[:, None], x[:, None], block[:, 2 + caps :])
        scores, high, low = self._widen(x[:, None], high, low, going, ripe[:, None], floor)
        mean = block[:, 1][:, None]
        block[:, 2 : 2 + caps] = np.where(going, high - (high - mean) * constants.forget, high)
        block[:, 2 + caps :] = np.where(going, low + (mean - low) * constants.forget, low)
        total = np.zeros_like(x)
        for cap in range(caps):
            total = total + scores[:, cap]
        return total, ripe

    def _widen(
        self, x: Floats, high: Floats, low: Floats, going: Flags, ripe: Flags, floor: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Return scores and the widened range, each (judges, caps, streams)."""
        beyond_range = going & ((x > high + floor) | (x < low - floor))
        above = x > high
        beyond = np.where(above, x - high, low - x)
        span = high - low
        known = span > floor
        score = np.where(known, beyond / np.where(known, span, 1.0), FULL_SCORE)
        score = np.where(beyond_range & ripe, np.minimum(score, FULL_SCORE), 0.0)
        capped = self._caps * span
        beyond = np.where(ripe & known & (beyond > capped), capped, beyond)
        return (
            score,
            np.where(beyond_range & above, high + beyond, high),
            np.where(beyond_range & ~above, low - beyond, low),
        )

    def _gauge(self, state: Floats, residual: Floats, step: Floats, floor: Floats) -> Floats:
        constants, of = self.constants, self._of
        spread = np.sqrt(of(state, "slow"))
        fast = of(state, "fast")
        fast += (residual * residual - fast) * (2.0 / (constants.steady_window + 1))
        steady = _ratio(np.sqrt(fast), spread, floor)
        size, step_size = np.abs(residual), np.abs(step)
        lower, middle, upper = of(state, "lower"), of(state, "middle"), of(state, "upper")
        distance = of(state, "distance")
        outside = np.maximum(np.maximum(lower - residual, residual - upper), 0.0)
        state[_ROWS["z"]] = _ratio(size, spread, floor)
        state[_ROWS["mad"]] = _ratio(np.abs(residual - middle), NORMAL_MAD * distance, floor)
        state[_ROWS["iqr"]] = _ratio(outside, upper - lower, floor)
        state[_ROWS["rate"]] = _ratio(step_size, of(state, "step_size"), floor)
        measured = of(state, "measured")
        measured += 1
        gain = np.maximum(1.0 / measured, constants.level_gain)
        slow = of(state, "slow")
        slow += (residual * residual - slow) * gain
        usual_step = of(state, "step_size")
        usual_step += (step_size - usual_step) * gain
        stride = spread * np.maximum(1.0 / measured, constants.gauge_gain)
        lower += stride * np.where(residual > lower, 0.25, -0.75)
        middle += stride * np.where(residual > middle, 0.5, -0.5)
        upper += stride * np.where(residual > upper, 0.75, -0.25)
        distance += stride * np.where(np.abs(residual - middle) > distance, 0.5, -0.5)
        np.maximum(distance, 0.0, out=distance)
        return np.minimum(steady, STEADY_LIMIT)

    def _forecast(self, state: Floats, error: Floats, told: Flags, floor: Floats) -> None:
        size, usual, errors = np.abs(error), self._of(state, "error_size"), self._of(state, "errors")
        state[_ROWS["error"]] = np.where(told, _ratio(size, usual, floor), 0.0)
        errors += told
        gain = np.maximum(1.0 / np.maximum(errors, 1.0), self.constants.level_gain)
        usual += np.where(told, (size - usual) * gain, 0.0)

    def _learn(self, state: Floats, x: Floats) -> None:
        seen, level, quick = (self._of(state, name) for name in ("seen", "level", "quick"))
        seen += 1
        level += (x - level) * np.maximum(1.0 / seen, self.constants.level_gain)
        quick += (x - quick) * np.maximum(1.0 / seen, 2.0 / (self.constants.hold + 1))
        state[_ROWS["last"]] = x

    def _scores(self, state: Floats, score: Floats, steady: Floats) -> tuple[Floats, Floats]:
        constants, of = self.constants, self._of
        held = of(state, "held")
        held -= held / constants.hold
        np.maximum(score, held, out=held)
        ripe = state[self._first_extreme] > constants.warm_up
        raw = np.where(ripe, held + constants.steady_weight * steady, 0.0)
        state[_ROWS["raw"]] = raw
        age, muting = of(state, "age"), of(state, "muting")
        age += 1
        alert = (score > 0.0) & ((age > constants.mute) | (score > muting))
        muting[alert], age[alert] = score[alert], 0.0
        return np.where(alert, score, 0.0), raw


def _ratio(size: Floats, unit: Floats, floor: Floats) -> Floats:
    known = unit > floor
    ratio = np.where(known, np.minimum(size / np.where(known, unit, 1.0), FAR), FAR)
    return np.where(size <= floor, 0.0, ratio)
