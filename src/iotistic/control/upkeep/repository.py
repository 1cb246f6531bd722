"""Rows of tasks and runs. Every function takes the connection.

Whoever changes the open run of a task, its renewal apart, holds the task's row: of two that want one, one waits.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from iotistic.control.audit.port import Database
from iotistic.control.upkeep.model import End, Outcome, Run, Standing, Task

_TASK = "name, summary, schedule, deadline_s, is_enabled, next_due_at, last_due_at, retry_at, tries, seen_at"
_RUN = (
    "id, task, cause, asked_by, due_at, missed, asked_at, started_at, finished_at, duration_s, outcome, output, "
    "error_code, error, process"
)


async def register(db: Database, task: Task, *, due_at: datetime, now: datetime) -> None:
    """Keep what a task is, and that somebody carries it out; `due_at` counts when it is new or its schedule is."""
    await db.execute(
        "INSERT INTO upkeep_tasks AS t (name, summary, schedule, deadline_s, next_due_at, seen_at) "
        "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO UPDATE SET summary = EXCLUDED.summary, "
        "schedule = EXCLUDED.schedule, deadline_s = EXCLUDED.deadline_s, seen_at = EXCLUDED.seen_at, "
        "next_due_at = CASE WHEN t.schedule = EXCLUDED.schedule THEN t.next_due_at "
        "ELSE EXCLUDED.next_due_at END",
        task.name,
        task.summary,
        task.schedule,
        task.deadline_s,
        due_at,
        now,
    )


async def forget_tasks(db: Database, before: datetime) -> None:
    """Remove tasks that no process has carried out since a time: a release that is gone had them."""
    # One that somebody is at is not gone, and who registers holds all of his: nobody waits in a circle.
    await db.execute(
        "DELETE FROM upkeep_tasks WHERE name IN "
        "(SELECT name FROM upkeep_tasks WHERE seen_at < $1 FOR UPDATE SKIP LOCKED)",
        before,
    )


async def tasks(db: Database) -> list[Standing]:
    """Return every task by its name."""
    return [_standing(row) for row in await db.fetch(f"SELECT {_TASK} FROM upkeep_tasks ORDER BY name")]  # noqa: S608  constant


async def task(db: Database, name: str, *, for_update: bool = False) -> Standing | None:
    """Return a task."""
    row = await db.fetchrow(
        f"SELECT {_TASK} FROM upkeep_tasks WHERE name = $1" + (" FOR UPDATE" if for_update else ""),  # noqa: S608  constant
        name,
    )
    return _standing(row) if row else None


async def reschedule(
    db: Database,
    name: str,
    *,
    next_due_at: datetime,
    last_due_at: datetime | None,
    retry_at: datetime | None,
    tries: int,
    is_enabled: bool,
) -> None:
    """Set when a task is due."""
    await db.execute(
        "UPDATE upkeep_tasks SET next_due_at = $2, last_due_at = $3, retry_at = $4, tries = $5, is_enabled = $6 "
        "WHERE name = $1",
        name,
        next_due_at,
        last_due_at,
        retry_at,
        tries,
        is_enabled,
    )


async def lock_due(db: Database, names: Sequence[str], now: datetime) -> Standing | None:
    """Return a task that is due or asked for, for the caller's transaction alone."""
    row = await db.fetchrow(
        f"SELECT {_TASK} FROM upkeep_tasks t WHERE name = ANY($1) "  # noqa: S608  constant
        "AND NOT EXISTS (SELECT FROM upkeep_runs WHERE task = t.name AND outcome = 'running') "
        "AND (is_enabled AND (next_due_at <= $2 OR retry_at <= $2) "
        "OR EXISTS (SELECT FROM upkeep_runs WHERE task = t.name AND outcome = 'waiting')) "
        "ORDER BY next_due_at, name LIMIT 1 FOR UPDATE SKIP LOCKED",
        list(names),
        now,
    )
    return _standing(row) if row else None


async def open_run(db: Database, name: str) -> Run | None:
    """Return the run of a task that is not over."""
    row = await db.fetchrow(
        f"SELECT {_RUN} FROM upkeep_runs WHERE task = $1 AND finished_at IS NULL",  # noqa: S608  constant
        name,
    )
    return _run(row) if row else None


async def ask(db: Database, name: str, by: str, now: datetime) -> Run:
    """Put down a run that waits for a process."""
    row = await db.fetchrow(
        "INSERT INTO upkeep_runs (task, cause, asked_by, asked_at, outcome) "  # noqa: S608  constant
        f"VALUES ($1, 'asked', $2, $3, 'waiting') RETURNING {_RUN}",
        name,
        by,
        now,
    )
    return _run(row)


async def begin(
    db: Database,
    name: str,
    cause: str,
    *,
    due_at: datetime | None,
    missed: int,
    process: str,
    lease_s: float,
    now: datetime,
) -> Run:
    """Begin a run; one that was asked for takes the place of one by schedule."""
    row = await db.fetchrow(
        "INSERT INTO upkeep_runs AS r (task, cause, due_at, missed, asked_at, started_at, outcome, process, lease_until) "  # noqa: S608  constant
        "VALUES ($1, $2, $3, $4, $5, $5, 'running', $6, clock_timestamp() + make_interval(secs => $7)) "
        "ON CONFLICT (task) WHERE finished_at IS NULL DO UPDATE SET due_at = EXCLUDED.due_at, "
        "missed = EXCLUDED.missed, started_at = EXCLUDED.started_at, outcome = EXCLUDED.outcome, "
        f"process = EXCLUDED.process, lease_until = EXCLUDED.lease_until RETURNING {_RUN}",
        name,
        cause,
        due_at,
        missed,
        now,
        process,
        lease_s,
    )
    return _run(row)


async def renew(db: Database, run: Run, lease_s: float) -> bool:
    """Say that a run goes on; False when it is somebody else's by now."""
    done = await db.execute(
        "UPDATE upkeep_runs SET lease_until = clock_timestamp() + make_interval(secs => $3) "
        "WHERE id = $1 AND process = $2 AND outcome = 'running'",
        run.id,
        run.process,
        lease_s,
    )
    return done == "UPDATE 1"


async def finish(
    db: Database, run: Run, end: End, *, duration_s: float | None, now: datetime, is_over: bool = False
) -> bool:
    """End a run; `is_over`: only when nobody renewed it. False when it is not to be ended any more."""
    done = await db.execute(
        "UPDATE upkeep_runs SET outcome = $3, output = $4, error_code = $5, error = $6, duration_s = $7, "
        "finished_at = $8, lease_until = NULL WHERE id = $1 AND process = $2 AND outcome = 'running' "
        "AND (NOT $9 OR lease_until < clock_timestamp() OR lease_until > clock_timestamp() + interval '1 hour')",
        run.id,
        run.process,
        end.outcome.value,
        end.shown_output,
        end.error_code,
        end.error,
        duration_s,
        now,
        is_over,
    )
    return done == "UPDATE 1"


async def lock_over(db: Database) -> Standing | None:
    """Return a task whose run nobody renews, for the caller's transaction alone.

    A lease of more than an hour was given before the database's clock was set back.
    """
    row = await db.fetchrow(
        f"SELECT {_TASK} FROM upkeep_tasks t WHERE EXISTS (SELECT FROM upkeep_runs WHERE task = t.name "  # noqa: S608  constant
        "AND outcome = 'running' AND (lease_until < clock_timestamp() "
        "OR lease_until > clock_timestamp() + interval '1 hour')) ORDER BY name LIMIT 1 FOR UPDATE SKIP LOCKED"
    )
    return _standing(row) if row else None


async def forget_runs(db: Database, name: str, kept: int) -> None:
    """Keep the newest runs of a task."""
    await db.execute(
        "DELETE FROM upkeep_runs WHERE task = $1 AND finished_at IS NOT NULL AND id < "
        "(SELECT min(id) FROM (SELECT id FROM upkeep_runs WHERE task = $1 ORDER BY id DESC LIMIT $2) newest)",
        name,
        kept,
    )


async def find_run(db: Database, name: str, run_id: int) -> Run | None:
    """Return a run."""
    row = await db.fetchrow(
        f"SELECT {_RUN} FROM upkeep_runs WHERE task = $1 AND id = $2",  # noqa: S608  constant
        name,
        run_id,
    )
    return _run(row) if row else None


async def runs(db: Database, name: str, *, before: int | None, limit: int) -> list[Run]:
    """Return runs of a task, the newest first."""
    rows = await db.fetch(
        f"SELECT {_RUN} FROM upkeep_runs WHERE task = $1 AND ($2::bigint IS NULL OR id < $2) "  # noqa: S608  constant
        "ORDER BY id DESC LIMIT $3",
        name,
        before,
        limit,
    )
    return [_run(row) for row in rows]


async def newest(db: Database) -> Mapping[str, list[Run]]:
    """Return of each task the run that is open, and the last one that is over."""
    rows = await db.fetch(
        f"SELECT r.* FROM upkeep_tasks t CROSS JOIN LATERAL ("  # noqa: S608  constant
        f"(SELECT {_RUN} FROM upkeep_runs WHERE task = t.name AND finished_at IS NULL) UNION ALL "
        f"(SELECT {_RUN} FROM upkeep_runs WHERE task = t.name AND finished_at IS NOT NULL "
        "ORDER BY id DESC LIMIT 1)) r"
    )
    found: dict[str, list[Run]] = {}
    for row in rows:
        found.setdefault(row["task"], []).append(_run(row))
    return found


def _standing(row: Any) -> Standing:
    return Standing(**dict(row))


def _run(row: Any) -> Run:
    values: dict[str, Any] = dict(row)
    values["outcome"] = Outcome(row["outcome"])
    return Run(**values)
