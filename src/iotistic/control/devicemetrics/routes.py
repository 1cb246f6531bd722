"""Figures and processes of a device.

GET /devices/{uuid}/metrics              the newest samples, or a period in points for a chart
GET /devices/{uuid}/processes            what ran when it last told
GET /devices/{uuid}/processes/history
"""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any

import asyncpg
from fastapi import APIRouter, Query
from pydantic import Field

from iotistic.contracts.provisioning.fields import parse_uuid
from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.devicemetrics import repository
from iotistic.control.devicemetrics.answers import DeviceMetrics, DeviceProcesses, DeviceProcessHistory
from iotistic.control.devicemetrics.model import PERIODS, PeriodUnknown, step_of
from iotistic.control.devices.model import DeviceUnknown
from iotistic.control.devices.service import utc_now
from iotistic.control.devices.visible import visible
from iotistic.kernel.postgres.pool import database_errors
from iotistic.kernel.web.describing import answered
from iotistic.telemetry.query.parameters import Instant, Parameters

_Reader = Annotated[Caller, requires(Permission.DEVICE_READ)]


class MetricsQuery(Parameters):
    """Which samples: the newest, a period until now, or a range."""

    limit: int = Field(100, ge=1, le=1000, description="Newest samples, when no period is asked for.")
    period: str | None = Field(None, max_length=20, examples=["6h"])
    start: Instant | None = Field(None, alias="from")
    end: Instant | None = Field(None, alias="to")
    points: int = Field(60, ge=1, le=1000, description="Most points of a period or range.")


def metrics_router(pool: asyncpg.Pool, *, clock: Callable[[], datetime] = utc_now) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["devices"])

    @router.get("/devices/{uuid}/metrics", responses=answered(DeviceMetrics))
    async def metrics(caller: _Reader, uuid: str, query: Annotated[MetricsQuery, Query()]) -> dict[str, Any]:
        """Samples as they came, or averages and maxima of equal stretches; oldest first."""
        with database_errors():
            number = await _number(pool, caller, uuid)
            stretch = _stretch(query, clock())
            if stretch is None:
                rows = await repository.newest(pool, number, query.limit)
                return {"count": len(rows), "metrics": [_shown(row) for row in rows]}
            since, until = stretch
            step = step_of(until - since, query.points)
            rows = await repository.averaged(pool, number, since, until, step)
        shown = [_shown(row) for row in rows]
        return {"count": len(rows), "step_s": step.total_seconds(), "metrics": shown}

    @router.get("/devices/{uuid}/processes", responses=answered(DeviceProcesses))
    async def processes(caller: _Reader, uuid: str) -> dict[str, Any]:
        """The busiest processes when the device last told them."""
        with database_errors():
            number = await _number(pool, caller, uuid)
            rows = await repository.processes(pool, number, None, 1)
        told: list[Any] = json.loads(rows[0]["processes"]) if rows else []
        return {"count": len(told), "top_processes": told, "recorded_at": rows[0]["at"] if rows else None}

    @router.get("/devices/{uuid}/processes/history", responses=answered(DeviceProcessHistory))
    async def processes_history(
        caller: _Reader,
        uuid: str,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        hours: Annotated[int, Query(ge=1, le=24 * 90)] = 24,
    ) -> dict[str, Any]:
        """What ran, the newest first."""
        with database_errors():
            number = await _number(pool, caller, uuid)
            rows = await repository.processes(pool, number, clock() - timedelta(hours=hours), limit)
        history = [{"recorded_at": row["at"], "top_processes": json.loads(row["processes"])} for row in rows]
        return {"count": len(history), "history": history}

    _ = metrics, processes, processes_history
    return router


async def _number(pool: asyncpg.Pool, caller: Caller, uuid: str) -> int:
    named = visible(caller, parse_uuid(uuid))
    number = await repository.number_of(pool, named)
    if number is None:
        raise DeviceUnknown(uuid=named)
    return number


def _stretch(query: MetricsQuery, now: datetime) -> tuple[datetime, datetime] | None:
    if query.period is None and query.start is None:
        return None
    until = query.end or now
    since = query.start
    if since is None:
        if query.period not in PERIODS:
            raise PeriodUnknown(hint=f"give one of {', '.join(PERIODS)}", period=query.period)
        since = until - PERIODS[query.period]
    if since >= until:
        raise PeriodUnknown("the range is empty", hint="`from` is to lie before `to`")
    return since, until


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    # The name that dashboards know beside the one that agents send.
    shown = {name: _rounded(value) for name, value in row.items()}
    return {**shown, "cpu_temp": shown["temperature"]}


def _rounded(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value
