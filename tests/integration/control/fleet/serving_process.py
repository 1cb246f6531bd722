"""A process that serves a fleet, to be killed: `serving_process.py URL` with the database's password in a file."""

import asyncio
import os
import sys

from fleet_builders import PATIENT, build, served

from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool


async def main() -> None:
    settings = DatabaseSettings(database_url=sys.argv[1], database_password=os.environ["FLEET_PASSWORD"])
    pool = await create_pool(settings, application_name="killed")
    async with served(build(pool, **PATIENT)) as fleet:
        sys.stdout.write(fleet.url + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


asyncio.run(main())
