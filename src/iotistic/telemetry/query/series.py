"""Use case: a device's series over a range, in as many buckets as the asker can draw."""

from collections.abc import Sequence
from datetime import datetime

from iotistic.telemetry.query.devices import DeviceQueries
from iotistic.telemetry.query.model import (
    DAY,
    SECOND,
    Aggregate,
    SeriesPlan,
    Source,
    Span,
    aligned,
    bucket_width,
    least_width,
    plan_series,
)
from iotistic.telemetry.query.parameters import MOST_DAYS, SeriesQuery
from iotistic.telemetry.query.references import ParameterInvalid
from iotistic.telemetry.query.repository import QueryRepository
from iotistic.telemetry.query.schemas import Bucket, Series, SeriesAnswer
from iotistic.telemetry.query.times import from_us, to_us
from iotistic.telemetry.statements import Record

_RESOLUTION_S = {Source.RAW: 0.0, Source.MINUTES: 60.0, Source.HOURS: 3600.0}


def range_of(start: datetime, end: datetime) -> Span:
    """Return the range from `from` to `to`; raise ParameterInvalid when it is empty or too long."""
    span = Span(to_us(start), to_us(end))
    if span.start >= span.end:
        raise ParameterInvalid.of("from", "it must be earlier than `to` (which is now unless given)")
    if span.end - span.start > MOST_DAYS * DAY:
        raise ParameterInvalid.of("from", f"a range is at most {MOST_DAYS} days long")
    return span


class SeriesQueries:
    """Answers series from raw rows or rollups, whichever fits."""

    def __init__(self, repository: QueryRepository, devices: DeviceQueries) -> None:
        self._repository = repository
        self._devices = devices

    async def series(self, device_text: str, query: SeriesQuery) -> SeriesAnswer:
        """Return the buckets of the chosen datapoints, and how they were made."""
        asked = range_of(query.start, query.end)
        device = await self._devices.find(device_text)
        datapoints = await self._devices.chosen_datapoints(device, query.datapoint)
        plan = await self._plan(device["id"], asked, query.points)
        rows = await self._repository.buckets(device["id"], [row["id"] for row in datapoints], plan)
        return SeriesAnswer(
            device_id=device["id"],
            start=from_us(plan.span.start),
            end=from_us(plan.span.end),
            aggregate=query.aggregate,
            bucket_s=plan.width / SECOND,
            source=plan.source,
            resolution_s=_RESOLUTION_S[plan.source],
            exact_raw_from=from_us(plan.raw.start),
            series=_series(datapoints, rows, query.aggregate),
        )

    async def _plan(self, device_id: int, asked: Span, points: int) -> SeriesPlan:
        """Choose the width; once more when retention has dropped what the first choice would read."""
        width = bucket_width(asked, points)
        horizon = await self._repository.horizon(device_id, aligned(asked, width))
        if least_width(asked.start, horizon) > width:
            width = bucket_width(asked, points, at_least=least_width(asked.start, horizon))
            horizon = await self._repository.horizon(device_id, aligned(asked, width))
        return plan_series(asked, width, horizon)


def _series(datapoints: Sequence[Record], rows: Sequence[Record], aggregate: Aggregate) -> list[Series]:
    found = {
        row["id"]: Series(datapoint_id=row["id"], label=row["label"], unit=row["unit"], buckets=[])
        for row in datapoints
    }
    for datapoint_id, start, low, high, mean, count in rows:
        bucket = (
            Bucket(time=start, min=low, max=high, count=count)
            if aggregate is Aggregate.MINMAX
            else Bucket(time=start, avg=mean, count=count)
        )
        found[datapoint_id].buckets.append(bucket)
    return list(found.values())
