"""Tasks that look at the database as a whole: its statistics, certificates near their end; and what others keep."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

import asyncpg
import structlog

from iotistic.control.upkeep.model import Work
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_SHOWN = 20
_ANALYZE_WITHIN_S = 1800.0
"""Longer than other statements get: a history has as many partitions as days."""

# What grows and shrinks so fast, or is partitioned, that the planner is misled between two rounds of autovacuum.
# (Autovacuum never analyses the parent of partitions, and plans over all of them use its figures.)
_HOT = (
    "alerts",
    "alert_deliveries",
    "audit_logs",
    "device_api_keys",
    "device_job_status",
    "device_logs",
    "device_metrics",
    "device_presence",
    "device_states",
    "events",
    "fleet_devices",
    "job_executions",
    "why_records",
)


class Statistics:
    """Figures of tables that the planner goes by. Nothing is locked for readers or writers, nothing rewritten."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def look(self) -> Mapping[str, object]:
        """Take them anew; return how many tables, and which were busy."""
        done, busy = 0, list[str]()
        with database_errors():
            for table in await self._pool.fetch(
                "SELECT name FROM unnest($1::text[]) name WHERE to_regclass(name) IS NOT NULL", list(_HOT)
            ):
                try:
                    async with self._pool.acquire() as db, db.transaction():
                        await db.execute("SET LOCAL lock_timeout = '5s'")
                        # A partitioned table's own and all of its partitions'; the names are ours.
                        await db.execute(f'ANALYZE "{table["name"]}"', timeout=_ANALYZE_WITHIN_S)
                except asyncpg.LockNotAvailableError:
                    busy.append(table["name"])
                else:
                    done += 1
        return {"analysed": done, "busy": busy}


class Expiring:
    """Certificates that end soon: agents renew theirs by themselves, so these are devices that are away, or stuck."""

    def __init__(self, pool: asyncpg.Pool, *, days: float, clock: Callable[[], datetime]) -> None:
        self._pool, self._ahead, self._clock = pool, timedelta(days=days), clock

    async def look(self) -> Mapping[str, object]:
        """Return how many end soon or ended lately, and those that end first."""
        now = self._clock()
        with database_errors():
            rows = await self._pool.fetch(
                "SELECT of, kind, not_after, count(*) OVER () AS total FROM ("
                "(SELECT DISTINCT ON (c.device_uuid) c.device_uuid::text AS of, 'agent' AS kind, c.not_after "
                "FROM device_certificates c JOIN fleet_devices d ON d.uuid = c.device_uuid "
                "WHERE c.revoked_at IS NULL ORDER BY c.device_uuid, c.not_after DESC) UNION ALL "
                "(SELECT DISTINCT ON (kind, mac) coalesce(mac, serial), kind, not_after FROM certificates "
                "WHERE revoked_at IS NULL ORDER BY kind, mac, not_after DESC)) newest "
                "WHERE not_after BETWEEN $1 AND $2 ORDER BY not_after, of LIMIT $3",
                # What ended long ago is of devices that are gone for good.
                now - self._ahead,
                now + self._ahead,
                _SHOWN,
            )
        first = [
            {"of": row["of"], "kind": row["kind"], "not_after": row["not_after"].isoformat(), "is_over": row["not_after"] <= now}
            for row in rows
        ]  # fmt: skip
        expiring = rows[0]["total"] if rows else 0
        if expiring:
            log.warning("certificates.expiring", count=expiring, first=first[0]["of"])
        return {"expiring": expiring, "first": first}


def one_row(pool: asyncpg.Pool, query: str) -> Work:
    """Return a look at what another process keeps: the columns of a query's only row."""

    async def look() -> Mapping[str, object]:
        row = await pool.fetchrow(query)
        return dict(row) if row is not None else {}

    return look


def counted(what: str, work: Callable[[], Awaitable[int]]) -> Work:
    """Return work that ends in a number as work of a task."""

    async def carry_out() -> Mapping[str, object]:
        return {what: await work()}

    return carry_out
