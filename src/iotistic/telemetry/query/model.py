"""What a series request means: which bucket width, which source, and what is read from where. Pure.

A bucket starts at a multiple of its width since the epoch. The range asked for is widened to whole
buckets, so a bucket is never half filled. Times are integer microseconds since the epoch.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_WIDTHS = (
    *(n * 1000 for n in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    *(n * SECOND for n in (1, 2, 3, 5, 10, 15, 20, 30)),
    *(n * MINUTE for n in (1, 2, 3, 5, 10, 15, 20, 30)),
    *(n * HOUR for n in (1, 2, 3, 4, 6, 8, 12)),
)


class Source(StrEnum):
    """Where buckets come from; a tail that is not rolled up yet always comes from raw rows."""

    RAW = "raw"
    MINUTES = "1m"
    HOURS = "1h"


class Aggregate(StrEnum):
    """What a bucket tells: its extremes, which keep spikes, or its mean."""

    MINMAX = "minmax"
    AVG = "avg"


@dataclass(frozen=True)
class Span:
    """A half-open range of time, [start, end)."""

    start: int
    end: int


@dataclass(frozen=True)
class Horizon:
    """How far rollups are exact, what retention has dropped, and which minutes and hours are stale."""

    rolled_until: int = 0
    hours_rolled_until: int = 0
    raw_kept_from: int = 0
    minutes_kept_from: int = 0
    stale_minutes: frozenset[int] = frozenset()
    stale_hours: frozenset[int] = frozenset()


@dataclass(frozen=True)
class SeriesPlan:
    """What to read. Every instant of `span` comes from one place: see `series` in queries.sql."""

    span: Span
    width: int
    source: Source
    hours: Span
    minutes: Span
    raw: Span
    stale_hours: list[int] = field(default_factory=list[int])
    stale_minutes: list[int] = field(default_factory=list[int])


def bucket_width(asked: Span, points: int, *, at_least: int = 0) -> int:
    """Return the smallest round width that covers `asked` in at most `points` buckets."""
    days = -(-(asked.end - asked.start) // (points * DAY))
    # A width of the whole range covers it in two buckets wherever it starts, so the search ends.
    whole_days = (number * DAY for number in range(days, days * points + 2))
    for width in chain(_WIDTHS, whole_days):
        span = aligned(asked, width)
        if width >= at_least and (span.end - span.start) // width <= points:
            return width
    raise ValueError("a range is covered by two buckets at least")


def aligned(span: Span, width: int) -> Span:
    """Widen `span` to multiples of `width`."""
    return Span(span.start // width * width, -(-span.end // width) * width)


def source_for(width: int) -> Source:
    """Return the coarsest source whose resolution divides `width`."""
    if width % HOUR == 0:
        return Source.HOURS
    return Source.MINUTES if width % MINUTE == 0 else Source.RAW


def least_width(start: int, horizon: Horizon) -> int:
    """Return the resolution that is still kept at `start`: 0 for raw rows, a minute or an hour."""
    if start < horizon.minutes_kept_from:
        return HOUR
    return MINUTE if start < horizon.raw_kept_from else 0


def plan_series(asked: Span, width: int, horizon: Horizon) -> SeriesPlan:
    """Share `asked`, widened to whole buckets, out between hours, minutes and raw rows."""
    span = aligned(asked, width)
    source = source_for(width)
    hours_end = (
        _within(span, horizon.hours_rolled_until // HOUR * HOUR) if source is Source.HOURS else span.start
    )
    minutes_end = (
        _within(span, horizon.rolled_until // MINUTE * MINUTE) if source is not Source.RAW else span.start
    )
    minutes_end = max(hours_end, minutes_end)
    # What was dropped cannot be read again: there the rollup stands, stale or not.
    stale_minutes = {
        minute
        for minute in horizon.stale_minutes
        if span.start <= minute < minutes_end and minute >= horizon.raw_kept_from
    }
    stale_hours = set(horizon.stale_hours) | {minute // HOUR * HOUR for minute in stale_minutes}
    return SeriesPlan(
        span=span,
        width=width,
        source=source,
        hours=Span(span.start, hours_end),
        minutes=Span(hours_end, minutes_end),
        raw=Span(minutes_end, span.end),
        stale_hours=sorted(
            hour
            for hour in stale_hours
            if span.start <= hour < hours_end and hour >= horizon.minutes_kept_from
        ),
        stale_minutes=sorted(stale_minutes),
    )


def _within(span: Span, instant: int) -> int:
    return min(max(instant, span.start), span.end)
