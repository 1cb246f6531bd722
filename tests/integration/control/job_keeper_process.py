"""A keeper of jobs as a process, whose clock runs faster: DATABASE_URL, DATABASE_PASSWORD; START, SPEED."""

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta

from iotistic.control.jobs.keeper import JobKeeper
from iotistic.control.jobs.scheduling import Schedules
from iotistic.control.jobs.settings import JobDeskSettings
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool


def fast_clock(start, speed):
    def now():
        return datetime.fromtimestamp(start, UTC) + timedelta(seconds=(time.time() - start) * speed)

    return now


async def main():
    clock = fast_clock(float(os.environ["START"]), float(os.environ["SPEED"]))
    pool = await create_pool(DatabaseSettings(database_pool_size=3), application_name="job keeper")
    settings = JobDeskSettings(job_scheduler_round_s=0.01, job_join_round_s=0.05)
    keeper = JobKeeper(pool, settings, Schedules(pool, clock=clock), clock=clock)
    print("ready", flush=True)  # noqa: T201  whoever started it waits for this
    await keeper.run()


if __name__ == "__main__":
    asyncio.run(main())
