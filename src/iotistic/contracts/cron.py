"""Cron expressions in UTC: minute, hour, day of month, month, day of week (0 and 7 are Sunday).

Each field is `*`, a number, a range, or a list of them, each with `/step`. When both days are restricted,
either may match, as cron has always done. Names of days and months, seconds, `@daily`, L, W and # are not
understood.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import product

_BOUNDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 7),
)
_SUNDAY = 7
_LOOKS_DAYS = 366 * 8
"""The longest that 29 February is away, over a century without a leap day."""


@dataclass(frozen=True, slots=True)
class Cron:
    """Made by `parse_cron`."""

    expression: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    """Both days are restricted."""

    def next_after(self, now: float) -> float | None:
        """Return the next moment after `now`, in seconds since 1970; None when there is none in eight years."""
        start = datetime.fromtimestamp(now, UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        times = [
            time(hour, minute, tzinfo=UTC)
            for hour, minute in product(sorted(self.hours), sorted(self.minutes))
        ]
        for ahead in range(_LOOKS_DAYS):
            day = start.date() + timedelta(days=ahead)
            if day.month in self.months and self._is_day(day.day, day.isoweekday() % 7):
                moments = (datetime.combine(day, one) for one in times)
                found = next((one for one in moments if one >= start), None)
                if found is not None:
                    return found.timestamp()
        return None

    def _is_day(self, day: int, weekday: int) -> bool:
        if self.either_day:
            return day in self.days or weekday in self.weekdays
        return day in self.days and weekday in self.weekdays


def parse_cron(value: object) -> Cron:
    """Read an expression. Raises ValueError."""
    words = value.split() if isinstance(value, str) and len(value) <= 200 else []  # noqa: PLR2004
    if not isinstance(value, str) or len(words) != len(_BOUNDS):
        raise ValueError("is to be a cron expression of five fields: minute, hour, day, month, day of week")
    minutes, hours, days, months, weekdays = (
        _field(word, *bounds) for word, bounds in zip(words, _BOUNDS, strict=True)
    )
    either = not words[2].startswith("*") and not words[4].startswith("*")
    cron = Cron(value, minutes, hours, days, months, frozenset(day % _SUNDAY for day in weekdays), either)
    if cron.next_after(0.0) is None:
        raise ValueError(f"is a cron expression that never comes: {value}")
    return cron


def _field(word: str, name: str, least: int, most: int) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            low, high = least, most
        else:
            low = _number(first, name, least, most)
            high = _number(last, name, least, most) if dash else (most if slash else low)
        every = _number(step, f"step of the {name}", 1, most) if slash else 1
        if high < low:
            raise ValueError(f"has a {name} that ends before it begins: {part}")
        found.update(range(low, high + 1, every))
    return frozenset(found)


def _number(text: str, name: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 3 and least <= int(text) <= most):  # noqa: PLR2004
        raise ValueError(f"has a {name} that is no number from {least} to {most}: {text[:20]!r}")
    return int(text)
