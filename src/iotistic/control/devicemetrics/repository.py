"""Rows of figures and processes."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from iotistic.control.devicemetrics.model import FIGURES, Sample
from iotistic.control.devices.repository import Database

_COLUMNS = ", ".join(FIGURES)
_ARRAYS = ", ".join(
    f"${number}::{'real' if name in ('cpu_usage', 'temperature') else 'bigint'}[]"
    for number, name in enumerate(FIGURES, start=3)
)
_AVERAGES = ", ".join(f"avg({name})::float8 AS {name}, max({name}) AS {name}_max" for name in FIGURES[:-1])

Taken = tuple[str, datetime, Sample]
"""A device's uuid, when it told, and what."""


async def add(db: Database, samples: Sequence[Taken]) -> None:
    """Keep samples of devices that there are."""
    figures = [one for one in samples if one[2].has_figures]
    if figures:
        columns = [list(column) for column in zip(*(sample.figures for _, _, sample in figures), strict=True)]
        await db.execute(
            f"INSERT INTO device_metrics (device_number, at, {_COLUMNS}) "  # noqa: S608  constants
            f"SELECT d.number, s.at, {', '.join('s.' + name for name in FIGURES)} "
            f"FROM unnest($1::text[]::uuid[], $2::timestamptz[], {_ARRAYS}) s (uuid, at, {_COLUMNS}) "
            "JOIN fleet_devices d ON d.uuid = s.uuid ON CONFLICT DO NOTHING",
            [uuid for uuid, _, _ in figures],
            [at for _, at, _ in figures],
            *columns,
        )
    processes = [(uuid, at, one.processes) for uuid, at, one in samples if one.processes is not None]
    if processes:
        await db.execute(
            "INSERT INTO device_processes (device_number, at, processes) SELECT d.number, s.at, s.processes::jsonb "
            "FROM unnest($1::text[]::uuid[], $2::timestamptz[], $3::text[]) s (uuid, at, processes) "
            "JOIN fleet_devices d ON d.uuid = s.uuid ON CONFLICT DO NOTHING",
            [uuid for uuid, _, _ in processes],
            [at for _, at, _ in processes],
            [text for _, _, text in processes],
        )


async def number_of(db: Database, uuid: str) -> int | None:
    """Return the number of a device."""
    return await db.fetchval("SELECT number FROM fleet_devices WHERE uuid = $1::text::uuid", uuid)


async def newest(db: Database, number: int, limit: int) -> list[dict[str, Any]]:
    """Return the newest samples as they came, oldest first."""
    rows = await db.fetch(
        f"SELECT at AS recorded_at, {_COLUMNS} FROM device_metrics WHERE device_number = $1 "  # noqa: S608  constants
        "ORDER BY at DESC LIMIT $2",
        number,
        limit,
    )
    return [dict(row) for row in reversed(rows)]


async def averaged(
    db: Database, number: int, since: datetime, until: datetime, step: timedelta
) -> list[dict[str, Any]]:
    """Return averages and maxima of equal stretches that have samples, oldest first."""
    rows = await db.fetch(
        f"SELECT date_bin($4::interval, at, $2::timestamptz) AS recorded_at, count(*) AS samples, {_AVERAGES}, "  # noqa: S608  constants
        "max(uptime) AS uptime FROM device_metrics WHERE device_number = $1 AND at >= $2 AND at < $3 "
        "GROUP BY 1 ORDER BY 1",
        number,
        since,
        until,
        step,
    )
    return [dict(row) for row in rows]


async def processes(db: Database, number: int, since: datetime | None, limit: int) -> list[Any]:
    """Return what ran, as (time, JSON text), the newest first."""
    return await db.fetch(
        "SELECT at, processes::text AS processes FROM device_processes WHERE device_number = $1 "
        "AND at >= coalesce($2::timestamptz, '-infinity') ORDER BY at DESC LIMIT $3",
        number,
        since,
        limit,
    )
