"""A keeper as a process: DATABASE_URL, DATABASE_PASSWORD; each minute's work is a row; SLOW_S, what it takes."""

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta

from iotistic.control.upkeep.keeper import UpkeepKeeper
from iotistic.control.upkeep.model import Task
from iotistic.control.upkeep.settings import UpkeepSettings
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool


def fast_clock(start, speed):
    def now():
        return datetime.fromtimestamp(start, UTC) + timedelta(seconds=(time.time() - start) * speed)

    return now


async def main():
    clock = fast_clock(float(os.environ["START"]), float(os.environ["SPEED"]))
    slow_s = float(os.environ["SLOW_S"])
    pool = await create_pool(DatabaseSettings(database_pool_size=4), application_name="upkeep")

    async def work():
        entry = await pool.fetchval("INSERT INTO done (pid) VALUES ($1) RETURNING id", os.getpid())
        await asyncio.sleep(slow_s)
        await pool.execute("UPDATE done SET ended_at = clock_timestamp() WHERE id = $1", entry)
        return {"entry": entry}

    task = Task(name="sweep", summary="Sweep.", schedule="* * * * *", work=work, is_soon=True)
    settings = UpkeepSettings(upkeep_round_s=0.02, upkeep_lease_s=1, upkeep_runs_kept=1000)
    print("ready", flush=True)  # noqa: T201  whoever started it waits for this
    await UpkeepKeeper(pool, [task], settings, clock=clock).run()


if __name__ == "__main__":
    asyncio.run(main())
