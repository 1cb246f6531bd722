"""What may be asked of the query API, within which limits."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from iotistic.telemetry.query.model import Aggregate
from iotistic.telemetry.query.times import FORMS, parse_time

MOST_POINTS = 10_000
MOST_ROWS = 10_000
MOST_DEVICES = 1_000
MOST_DATAPOINTS = 20
MOST_LATEST = 100
MOST_DAYS = 3_660


def _instant(value: object) -> object:
    return parse_time(value) if isinstance(value, str) else value


Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "description": FORMS, "examples": ["-24h", "2026-01-31T12:00:00Z"]}),
]
"""An instant as a request gives it."""

Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Cursor = Annotated[
    str | None,
    Field(max_length=2000, description="`next_cursor` (or `previous_cursor`) of the answer before."),
]
DatapointName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class Format(StrEnum):
    """How rows are written: one JSON document, or CSV that is streamed."""

    JSON = "json"
    CSV = "csv"


class DeviceOrder(StrEnum):
    """Order of devices; a minus sign means descending. `last_seen` moves while it is paged through."""

    ID = "id"
    ID_DESCENDING = "-id"
    NAME = "name"
    NAME_DESCENDING = "-name"
    LAST_SEEN = "last_seen"
    LAST_SEEN_DESCENDING = "-last_seen"


class Direction(StrEnum):
    """Order in time."""

    NEWEST_FIRST = "desc"
    OLDEST_FIRST = "asc"


class Parameters(BaseModel):
    """A query string; a parameter that is not known is refused, since it is most likely mistyped."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class DevicesQuery(Parameters):
    """Which devices to list."""

    q: Text | None = Field(
        None, description="Part of a name, MAC, uuid or external key.", examples=["boiler"]
    )
    template: Text | None = Field(None, description="Name of the template.", examples=["F2 controller"])
    seen_since: Instant | None = Field(
        None, description="Only devices with a reading at or after this instant."
    )
    sort: DeviceOrder = DeviceOrder.ID
    cursor: Cursor = None
    limit: int = Field(100, ge=1, le=MOST_DEVICES)


class LatestQuery(Parameters):
    """Which devices' latest values."""

    device: list[Text] = Field(
        min_length=1,
        max_length=MOST_LATEST,
        description="Id, MAC, uuid, external key or name; may be repeated.",
    )


class SeriesQuery(Parameters):
    """Which series, over which range, in how many buckets."""

    datapoint: list[DatapointName] = Field(
        min_length=1,
        max_length=MOST_DATAPOINTS,
        description="Label or id of a datapoint; may be repeated.",
        examples=[["temperature"]],
    )
    start: Instant = Field(
        default_factory=lambda: parse_time("-24h"), alias="from", description="First instant; default -24h."
    )
    end: Instant = Field(
        default_factory=lambda: parse_time("now"), alias="to", description="First instant after; default now."
    )
    points: int = Field(500, ge=2, le=MOST_POINTS, description="Most buckets per series.")
    aggregate: Aggregate = Aggregate.MINMAX
    format: Format = Format.JSON


class ReadingsQuery(Parameters):
    """Which raw rows."""

    datapoint: list[DatapointName] = Field(
        default_factory=list[str],
        max_length=MOST_DATAPOINTS,
        description="Label or id; may be repeated. Without it, all datapoints of the device.",
    )
    start: Instant = Field(default_factory=lambda: parse_time("-24h"), alias="from")
    end: Instant = Field(default_factory=lambda: parse_time("now"), alias="to")
    order: Direction = Direction.NEWEST_FIRST
    cursor: Cursor = None
    limit: int | None = Field(
        None,
        ge=1,
        le=MOST_ROWS,
        description="Rows of a JSON page (default 1000). CSV has all rows without it.",
    )
    format: Format = Format.JSON


class EventsQuery(Parameters):
    """Which text readings."""

    datapoint: list[DatapointName] = Field(default_factory=list[str], max_length=MOST_DATAPOINTS)
    start: Instant = Field(default_factory=lambda: parse_time("-24h"), alias="from")
    end: Instant = Field(default_factory=lambda: parse_time("now"), alias="to")
    cursor: Cursor = None
    limit: int = Field(100, ge=1, le=MOST_ROWS)
