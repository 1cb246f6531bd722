"""What one round of the roller has to do: markers in, contiguous stretches of time out. Pure.

Stretches never cross a partition of the table that is read, so that each statement reads one partition
and finds its series in that partition's key.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """From `start` up to but not including `end`."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Mark:
    """A bucket that is out of date: for one device, or (None) for all series."""

    bucket: datetime
    device_id: int | None


@dataclass(frozen=True, slots=True)
class PartitionWork:
    """What to recompute from one partition: stretches for all series, and stretches of single devices."""

    partition: Span
    full: list[Span] = field(default_factory=list[Span])
    devices: list[tuple[int, Span]] = field(default_factory=list[tuple[int, Span]])


def day_of(instant: datetime) -> Span:
    """Return the UTC day around `instant`."""
    start = instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return Span(start, start + timedelta(days=1))


def month_of(instant: datetime) -> Span:
    """Return the UTC month around `instant`."""
    start = day_of(instant).start.replace(day=1)
    return Span(start, (start + timedelta(days=31)).replace(day=1))


def arrange(
    marks: Iterable[Mark], *, width: timedelta, partition_of: Callable[[datetime], Span]
) -> list[PartitionWork]:
    """Return the work that `marks` ask for, oldest partition first.

    A bucket that is recomputed for all series is not recomputed for a single device again.
    """
    wanted = set(marks)
    full = {mark.bucket for mark in wanted if mark.device_id is None}
    devices = sorted(
        (mark.device_id, mark.bucket)
        for mark in wanted
        if mark.device_id is not None and mark.bucket not in full
    )
    work: dict[Span, PartitionWork] = {}
    for stretch in _stretches(full, width, partition_of):
        _work_on(work, partition_of(stretch.start)).full.append(stretch)
    for device_id, pairs in groupby(devices, key=lambda pair: pair[0]):
        for stretch in _stretches((bucket for _, bucket in pairs), width, partition_of):
            _work_on(work, partition_of(stretch.start)).devices.append((device_id, stretch))
    return [work[partition] for partition in sorted(work)]


def _work_on(work: dict[Span, PartitionWork], partition: Span) -> PartitionWork:
    return work.setdefault(partition, PartitionWork(partition))


def _stretches(
    buckets: Iterable[datetime], width: timedelta, partition_of: Callable[[datetime], Span]
) -> list[Span]:
    joined: list[Span] = []
    for bucket in sorted(buckets):
        last = joined[-1] if joined else None
        if last and last.end == bucket and partition_of(last.start) == partition_of(bucket):
            joined[-1] = Span(last.start, bucket + width)
        else:
            joined.append(Span(bucket, bucket + width))
    return joined
