"""The keeper's loops: they seal, keep partitions, survive a database that refuses, and end when told."""

import asyncio
import os
import signal
import sys

from iotistic.control.audit.keeper import AuditKeeper
from iotistic.control.audit.settings import AuditSettings
from iotistic.control.audit.trail import AuditTrail
from iotistic.control.audit.verifying import verify

_LOOP = """
import asyncio, os
from pydantic import SecretStr
from iotistic.control.audit.keeper import AuditKeeper
from iotistic.control.audit.settings import AuditSettings
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool

async def main():
    pool = await create_pool(DatabaseSettings(), application_name="keeper")
    await AuditKeeper(pool, AuditSettings(audit_seal_every_s=0.01)).run()

asyncio.run(main())
"""


async def entries(pool, count):
    for number in range(count):
        await AuditTrail().record(pool, "user:ada", "test.changed", ("thing", number))


async def until_sealed(pool, count):
    async with asyncio.timeout(60):
        while await pool.fetchval("SELECT count(*) FROM audit_links") < count:  # noqa: ASYNC110  another process writes
            await asyncio.sleep(0.02)


async def test_what_is_written_is_sealed_soon_and_the_loop_ends_when_told(pool, connection):
    keeper = AuditKeeper(pool, AuditSettings(audit_seal_every_s=0.05))
    running = asyncio.create_task(keeper.run())
    await entries(pool, 5)
    await until_sealed(pool, 5)
    keeper.stop()
    async with asyncio.timeout(10):
        await running

    assert (await verify(connection)).holds


async def test_a_database_that_refuses_ends_no_loop(pool, connection):
    await connection.execute("ALTER TABLE audit_head RENAME TO elsewhere")
    keeper = AuditKeeper(pool, AuditSettings(audit_seal_every_s=0.05))
    running = asyncio.create_task(keeper.run())
    await entries(pool, 3)
    await connection.execute("ALTER TABLE elsewhere RENAME TO audit_head")
    await until_sealed(pool, 3)
    keeper.stop()
    await running

    assert (await verify(connection)).checked == 3


async def test_keepers_that_are_killed_leave_a_chain_that_holds(pool, connection, database, tmp_path):
    secret = tmp_path / "password"
    secret.write_text(database.password.get_secret_value())
    environment = os.environ | {"DATABASE_URL": database.url, "DATABASE_PASSWORD_FILE": str(secret)}

    async def start():
        return await asyncio.create_subprocess_exec(sys.executable, "-c", _LOOP, env=environment)

    for round_number in range(1, 4):
        process = await start()
        await entries(pool, 200)
        await until_sealed(pool, 200 * (round_number - 1) + 50)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    process = await start()
    await until_sealed(pool, 600)
    process.kill()
    await process.wait()
    verdict = await verify(connection)

    assert (verdict.holds, verdict.checked) == (True, 600)
