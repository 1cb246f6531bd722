"""Rows behind the query API. Every statement stands in `queries.sql`; see there for what it reads and why."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from iotistic.contracts.mac import Mac, MacInvalid, format_mac, parse_mac
from iotistic.telemetry.query.model import Horizon, SeriesPlan, Span
from iotistic.telemetry.query.parameters import DeviceOrder
from iotistic.telemetry.query.references import DeviceReference
from iotistic.telemetry.query.times import from_us, to_us
from iotistic.telemetry.statements import Record, Statements

_SORT_KEYS = {
    "id": ("d.id", "integer"),
    "name": ("d.devicename", "text"),
    "last_seen": ("coalesce(s.last_seen, to_timestamp(0))", "timestamptz"),
}


class Window(NamedTuple):
    """Which raw rows: of these datapoints, in [start, end)."""

    device_id: int
    datapoint_ids: list[int]
    start: datetime
    end: datetime


def device_statements(text: str) -> dict[str, str]:
    """Return the device list's statement for every order: `devices.<order>` -> text."""
    statements: dict[str, str] = {}
    for order in DeviceOrder:
        key, kind = _SORT_KEYS[order.removeprefix("-")]
        descending = order.startswith("-")
        statements[f"devices.{order}"] = (
            text.replace("{key}", key)
            .replace("{type}", kind)
            .replace("{direction}", "DESC" if descending else "ASC")
            .replace("{beyond}", "<" if descending else ">")
        )
    return statements


def series_statements(text: str) -> dict[str, str]:
    """Return the series' statement with a fast mean, and with one whose sum cannot overflow."""
    return {
        "series.fast": text.replace("{mean}", "sum(avg * count) / sum(count)"),
        "series.safe": text.replace("{mean}", "(sum(avg::numeric * count) / sum(count))::double precision"),
    }


class QueryRepository:
    """Reads devices, readings and rollups. Raises DatabaseUnavailable and QueryTooSlow."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._statements = Statements(pool, "iotistic.telemetry.query")
        self._statements.derive(device_statements, of="devices")
        self._statements.derive(series_statements, of="series")

    async def devices(
        self,
        order: DeviceOrder,
        *,
        q: str | None,
        template: str | None,
        seen_since: datetime | None,
        after: tuple[object, int] | None,
        limit: int,
    ) -> Sequence[Record]:
        """Return up to `limit` devices in `order`, beyond the sort key and id `after`."""
        key, last_id = after or (None, None)
        return await self._statements.fetch(
            f"devices.{order}",
            _contains(q),
            _contains(q and _mac_part(q)),
            template,
            seen_since,
            key,
            last_id,
            limit,
        )

    async def device(self, reference: DeviceReference) -> Record | None:
        """Return the device that `reference` names."""
        return await self._statements.fetchrow(
            "device", reference.id, reference.mac, reference.uuid, reference.external_key
        )

    async def devices_called(self, name: str, limit: int) -> list[int]:
        """Return the ids of devices with exactly this name, `limit` at most."""
        return [row["id"] for row in await self._statements.fetch("devices_called", name, limit)]

    async def devices_existing(self, ids: list[int]) -> set[int]:
        """Return those of `ids` that are devices."""
        return {row["id"] for row in await self._statements.fetch("devices_existing", ids)}

    async def pins(self, device_id: int) -> Sequence[Record]:
        """Return the pins of a controller, and those that a sensor device sits on."""
        return await self._statements.fetch("pins", device_id)

    async def datapoints(
        self, template_id: int, *, labels: list[str] | None = None, ids: list[int] | None = None
    ) -> Sequence[Record]:
        """Return a template's datapoints: all of them, or those with `labels`, and any with `ids`."""
        return await self._statements.fetch("datapoints", template_id, labels, ids)

    async def datapoints_named(
        self, ids: list[int], labels: list[str], device_ids: list[int] | None
    ) -> Sequence[Record]:
        """Return id and label of datapoints; with `device_ids`, labels are those of their templates."""
        return await self._statements.fetch("datapoints_named", ids, labels, device_ids)

    async def labels(self, datapoint_ids: list[int]) -> Sequence[Record]:
        """Return label and unit of datapoints."""
        return await self._statements.fetch("labels", datapoint_ids)

    async def latest(self, device_ids: list[int]) -> Sequence[Record]:
        """Return the newest reading of every datapoint that has one."""
        return await self._statements.fetch("latest", device_ids)

    async def horizon(self, device_id: int, span: Span) -> Horizon:
        """Return how far the rollups of `device_id` can be relied on within `span`."""
        row = await self._statements.fetchrow("horizon", device_id, from_us(span.start), from_us(span.end))
        if row is None:
            return Horizon()
        return Horizon(
            rolled_until=to_us(row["rolled_until"]),
            hours_rolled_until=to_us(row["hours_rolled_until"]),
            raw_kept_from=to_us(row["raw_kept_from"]),
            minutes_kept_from=to_us(row["minutes_kept_from"]),
            stale_minutes=frozenset(map(to_us, row["stale_minutes"])),
            stale_hours=frozenset(map(to_us, row["stale_hours"])),
        )

    async def buckets(self, device_id: int, datapoint_ids: list[int], plan: SeriesPlan) -> Sequence[Record]:
        """Return (datapoint_id, start, min, max, avg, count), ordered by datapoint and start."""
        spans = [
            from_us(at) for span in (plan.hours, plan.minutes, plan.raw) for at in (span.start, span.end)
        ]
        stale = list(map(from_us, plan.stale_hours)), list(map(from_us, plan.stale_minutes))
        arguments = (device_id, datapoint_ids, timedelta(microseconds=plan.width), *spans, *stale)
        try:
            return await self._statements.fetch("series.fast", *arguments)
        except asyncpg.NumericValueOutOfRangeError:
            return await self._statements.fetch("series.safe", *arguments)

    async def readings_before(
        self, window: Window, before: tuple[datetime, int], limit: int
    ) -> Sequence[Record]:
        """Return the newest rows of `window` before (timestamp, datapoint id), newest first."""
        return await self._statements.fetch(
            "readings_before", window.device_id, window.datapoint_ids, window.start, *before, limit
        )

    async def readings_after(
        self, window: Window, after: tuple[datetime, int], limit: int
    ) -> Sequence[Record]:
        """Return the oldest rows of `window` after (timestamp, datapoint id), oldest first."""
        return await self._statements.fetch(
            "readings_after", window.device_id, window.datapoint_ids, *after, window.end, limit
        )

    async def shown_datapoints(self, device_id: int) -> Sequence[Record]:
        """Return id, label and unit of the datapoints that a device has readings of."""
        return await self._statements.fetch("shown_datapoints", device_id)

    async def events_before(
        self,
        window: Window,
        before: tuple[datetime, int, str],
        limit: int,
    ) -> Sequence[Record]:
        """Return text readings before (timestamp, datapoint id, text), newest first; no ids mean all."""
        ids = window.datapoint_ids or None
        return await self._statements.fetch(
            "events_before", window.device_id, window.start, *before, ids, limit
        )

    async def stats(self) -> Record:
        """Return counts and the estimate of stored rows."""
        return (await self._statements.fetch("stats"))[0]


def display_mac(mac: str | None) -> str | None:
    """Return the colon form of a stored MAC."""
    return None if mac is None else format_mac(Mac(mac))


def _contains(text: str | None) -> str | None:
    """Return a pattern for ILIKE that finds `text` anywhere, whatever signs are in it."""
    if text is None:
        return None
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _mac_part(text: str) -> str:
    """Return `text` as it would stand in a stored MAC: whole in any form, or a part of one."""
    try:
        return parse_mac(text)
    except MacInvalid:
        return text.replace(":", "").replace("-", "")
