"""HTTP shapes of the query API's answers."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from iotistic.telemetry.query.model import Aggregate, Source


def _example(**example: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]}, from_attributes=True)


class DeviceSummary(BaseModel):
    """One device in a list."""

    model_config = _example(
        id=7, name="f2-aabbccddee01", uuid="6f1e3a9e-6a8f-4a80-9d5a-0b8a1f0f5b3c", mac="aa:bb:cc:dd:ee:01",
        external_key=None, template="F2 controller", is_controller=True, created_at="2026-01-31T12:00:00Z",
        last_seen="2026-01-31T12:05:00Z", datapoints=9,
    )  # fmt: skip

    id: int
    name: str
    uuid: UUID
    mac: str | None
    external_key: str | None
    template: str
    is_controller: bool
    created_at: datetime
    last_seen: datetime | None = Field(description="Time of the newest reading.")
    datapoints: int = Field(description="Datapoints with at least one stored reading.")


class DevicePage(BaseModel):
    """One page of devices."""

    items: list[DeviceSummary]
    next_cursor: str | None = Field(description="Null on the last page.")


class Pin(BaseModel):
    """A pin and the sensor device on it."""

    pin: int
    device_id: int
    device_name: str
    template: str


class Connector(BaseModel):
    """A connector of a controller (J1 is number 1)."""

    number: int
    type: str | None
    pins: list[Pin]


class Seat(BaseModel):
    """Where a sensor device is plugged in."""

    controller_id: int
    connector: int
    pin: int


class DeviceDetail(BaseModel):
    """Everything known about one device."""

    model_config = _example(
        id=12, name="Boiler room", uuid="6f1e3a9e-6a8f-4a80-9d5a-0b8a1f0f5b3c", mac=None, external_key=None,
        template_id=2, template="Climate sensor (temperature, humidity, CO2)", model="THC-485",
        is_controller=False, serial_number=None, ip_address=None, pcb_version=None,
        created_at="2026-01-31T12:00:00Z", connectors=[], seats=[{"controller_id": 7, "connector": 2, "pin": 1}],
    )  # fmt: skip

    id: int
    name: str
    uuid: UUID
    mac: str | None
    external_key: str | None
    template_id: int
    template: str
    model: str | None
    is_controller: bool
    serial_number: str | None
    ip_address: str | None
    pcb_version: str | None
    created_at: datetime
    connectors: list[Connector] = Field(description="Filled for controllers.")
    seats: list[Seat] = Field(description="Pins that this device sits on.")


class Datapoint(BaseModel):
    """One thing a device measures."""

    model_config = _example(
        id=1, label="temperature", unit="°C", prefix=None, offset=3, length=2, encoding="Int16",
        byte_order="big", decimals=2, realtime_chart=True, historical_chart=True, icon="thermometer",
    )  # fmt: skip

    id: int
    label: str
    unit: str | None
    prefix: str | None
    offset: int | None = Field(
        description="Bytes from the start of a Modbus frame; null when not from a frame."
    )
    length: int | None
    encoding: str | None
    byte_order: str
    decimals: int
    realtime_chart: bool
    historical_chart: bool
    icon: str | None


class Datapoints(BaseModel):
    """The datapoints of a device's template."""

    items: list[Datapoint]


class LatestValue(BaseModel):
    """The newest reading of one datapoint: a number in `value`, or a text in `text`."""

    model_config = _example(
        device_id=12, datapoint_id=1, label="temperature", unit="°C", timestamp="2026-01-31T12:00:00Z",
        value=21.5, text=None, received_at="2026-01-31T12:00:00.080Z",
    )  # fmt: skip

    device_id: int
    datapoint_id: int
    label: str
    unit: str | None
    timestamp: datetime
    value: float | None
    text: str | None
    received_at: datetime


class LatestValues(BaseModel):
    """Latest values, by device and datapoint; a datapoint that never spoke is absent."""

    items: list[LatestValue]


class Bucket(BaseModel):
    """Readings of [time, time + bucket_s). `min` and `max`, or `avg`, as the request says."""

    time: datetime
    min: float | None = None
    max: float | None = None
    avg: float | None = None
    count: int


class Series(BaseModel):
    """One datapoint's buckets in order of time; a bucket without a reading is absent."""

    datapoint_id: int
    label: str
    unit: str | None = None
    buckets: list[Bucket]


class SeriesAnswer(BaseModel):
    """Series, and how they were made."""

    model_config = _example(
        device_id=12, start="2026-01-30T12:00:00Z", end="2026-01-31T12:00:00Z", aggregate="minmax",
        bucket_s=180.0, source="1m", resolution_s=60.0, exact_raw_from="2026-01-31T11:59:00Z",
        series=[{"datapoint_id": 1, "label": "temperature", "unit": "°C",
                 "buckets": [{"time": "2026-01-30T12:00:00Z", "min": 21.2, "max": 21.9, "count": 36}]}],
    )  # fmt: skip

    device_id: int
    start: datetime = Field(description="`from`, widened to a whole bucket.")
    end: datetime = Field(description="`to`, widened to a whole bucket.")
    aggregate: Aggregate
    bucket_s: float = Field(description="Seconds of one bucket.")
    source: Source = Field(description="Raw rows, or the 1-minute or 1-hour rollup.")
    resolution_s: float = Field(description="Seconds that one row of the source stands for; 0 for raw rows.")
    exact_raw_from: datetime = Field(
        description="From here on, raw rows were read: they are not rolled up yet."
    )
    series: list[Series]


class Reading(BaseModel):
    """One stored row."""

    timestamp: datetime
    datapoint_id: int
    label: str
    unit: str | None
    value: float
    received_at: datetime


class ReadingPage(BaseModel):
    """Rows of one device, with the way on and the way back."""

    device_id: int
    items: list[Reading]
    next_cursor: str | None = Field(description="Further along the order; null at the end of the range.")
    previous_cursor: str | None = Field(description="Back along the order: also finds rows that came since.")


class TextEvent(BaseModel):
    """One text reading, such as a card shown to a reader."""

    timestamp: datetime
    datapoint_id: int
    label: str
    value: str
    received_at: datetime


class EventPage(BaseModel):
    """Text readings of one device, newest first."""

    device_id: int
    items: list[TextEvent]
    next_cursor: str | None


class WorkerStats(BaseModel):
    """What one ingest worker does."""

    worker: str
    messages_per_s: float
    rows_per_s: float
    messages_total: int = Field(description="Since the worker started.")
    rows_total: int
    events_total: int
    dead_letters_total: int


class Stats(BaseModel):
    """How much there is, and how much comes in."""

    model_config = _example(
        devices=20, rows_stored=1_250_000, rows_stored_is_estimate=True, dead_letters_open=3,
        dead_letters_open_is_least=False, messages_per_s=120.4, rows_per_s=310.2, watchers=1,
        workers=[{"worker": "w1", "messages_per_s": 120.4, "rows_per_s": 310.2, "messages_total": 9000,
                  "rows_total": 21000, "events_total": 4, "dead_letters_total": 3}],
    )  # fmt: skip

    devices: int
    rows_stored: int = Field(description="From the database's statistics, right within a minute or so.")
    rows_stored_is_estimate: bool = True
    dead_letters_open: int
    dead_letters_open_is_least: bool = Field(description="True when there are more than were counted.")
    messages_per_s: float = Field(description="Over the last second, all workers.")
    rows_per_s: float
    watchers: int = Field(description="Open live streams of this API process.")
    workers: list[WorkerStats]
