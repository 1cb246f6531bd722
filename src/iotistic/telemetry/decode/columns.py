"""From what payloads say to columns: numbers apart from texts, times checked, everything else a Failure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from iotistic.telemetry.decode.timestamps import MISSING, UNREADABLE, Stamp, to_microseconds
from iotistic.telemetry.model import Decoded, Failure, Floats, Int64s, TextReading, Values

_DAY_US = 86_400_000_000
_MAX_TEXT_CHARS = 1023

Scalar = float | bool | str | None


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Which device times are believed, in microseconds before and after the time of receipt."""

    past_us: int = 90 * _DAY_US
    future_us: int = 1 * _DAY_US

    def admit(
        self, stamps: Sequence[Stamp], message: Int64s, received: Int64s, out: Decoded
    ) -> tuple[Int64s, npt.NDArray[np.bool_]]:
        """Return times in microseconds and which of them are believed; the others go to `out` as failures.

        `received` has one entry per message of the batch.
        """
        time_us, received_us = to_microseconds(stamps), received[message]
        # Messages without a time get that of their receipt, each its own: readings of one series that
        # share a time would displace each other.
        time_us = np.where(time_us == MISSING, received_us, time_us)
        ok = (time_us >= received_us - self.past_us) & (time_us <= received_us + self.future_us)
        if not ok.all():
            for i in np.flatnonzero(~ok).tolist():
                reason = _time_fault(int(time_us[i]), int(received_us[i]))
                out.failures.append(Failure(int(message[i]), reason, f"timestamp {str(stamps[i])[:64]!r}"))
        return time_us, ok


def _time_fault(time_us: int, received_us: int) -> str:
    if time_us == UNREADABLE:
        return "reading.timestamp_invalid"
    return "reading.too_old" if time_us < received_us else "reading.in_future"


def add_scalars(
    scalars: Sequence[Scalar], series: Int64s, time_us: Int64s, message: Int64s, out: Decoded
) -> None:
    """Add readings to `out`: numbers and booleans as values, texts as text readings, the rest as failures."""
    if set(map(type, scalars)) <= {float, bool}:
        numbers = np.array(scalars, np.float64)
    else:
        numbers = _sort_out(scalars, series, time_us, message, out)
        numeric = ~np.isnan(numbers)
        numbers, series, time_us, message = (
            numbers[numeric],
            series[numeric],
            time_us[numeric],
            message[numeric],
        )
    add_numbers(numbers, series, time_us, message, out)


def add_numbers(numbers: Floats, series: Int64s, time_us: Int64s, message: Int64s, out: Decoded) -> None:
    """Add numeric readings to `out`; infinite ones become failures."""
    finite = np.isfinite(numbers)
    if not finite.all():
        out.failures += [
            Failure(i, "reading.value_not_finite", "the value is beyond what a number can hold")
            for i in message[~finite].tolist()
        ]
        numbers, series, time_us, message = numbers[finite], series[finite], time_us[finite], message[finite]
    if len(numbers):
        out.values.append(Values(series, time_us, numbers, message))


def _sort_out(
    scalars: Sequence[Scalar], series: Int64s, time_us: Int64s, message: Int64s, out: Decoded
) -> Floats:
    """Return the numbers, with NaN for what is no number and has been added to `out` otherwise."""
    numbers = np.full(len(scalars), np.nan)
    for i, scalar in enumerate(scalars):
        if isinstance(scalar, str):
            fault = _text_fault(scalar)
            if fault is None:
                out.texts.append(TextReading(int(series[i]), int(time_us[i]), scalar, int(message[i])))
            else:
                out.failures.append(Failure(int(message[i]), *fault))
        elif scalar is None:
            out.failures.append(
                Failure(int(message[i]), "reading.value_missing", "the value is missing or null")
            )
        else:
            numbers[i] = scalar
    return numbers


def _text_fault(text: str) -> tuple[str, str] | None:
    if len(text) > _MAX_TEXT_CHARS:
        return (
            "reading.text_too_long",
            f"a text has at most {_MAX_TEXT_CHARS} characters, this one {len(text)}",
        )
    if "\0" in text:
        return "reading.text_invalid", "a text may not hold the character NUL"
    return None
