"""What hangs in the database: devices' polls have connections of their own, and the others hear that they may try again."""

import asyncio
import time

import asyncpg
import httpx2
import pytest
from device_cloud import Device, build, served

from iotistic.entrypoints.api import BASE, ApiSettings, running
from iotistic.entrypoints.control.settings import made_secrets
from iotistic.kernel.home import Home
from iotistic.kernel.postgres.pool import open_connection

TOKEN = "iot_a-token-for-tests-only"
STUCK = 6
HELD = 2  # of five connections devices have two to themselves, and one listens for changes


@pytest.fixture
async def device(pool):
    async with served(build(pool)) as cloud:
        device = Device(cloud, await cloud.key())
        await device.provision()
        yield device


@pytest.fixture
async def api(request, database, tmp_path):
    settings = ApiSettings(
        iotistic_home=tmp_path / "home",
        database_url=database.url,
        database_password=database.password,
        database_pool_size=5,
        api_port=0,
        api_token=TOKEN,
        api_statement_timeout_s=getattr(request, "param", 30.0),
        **made_secrets(Home(tmp_path / "home")),
    )
    async with (
        running(settings) as port,
        httpx2.AsyncClient(verify=False, base_url=f"http://127.0.0.1:{port}{BASE}", timeout=30) as client,
    ):
        yield client


async def test_polls_are_answered_while_others_hold_every_connection(api, device, database):
    holder = await open_connection(database, application_name="holder")
    poll = {"url": f"/device/{device.uuid}/state", "headers": device.headers}
    first = await api.get(**poll)
    poll["headers"] = {**device.headers, "If-None-Match": first.headers["ETag"]}
    async with asyncio.timeout(30), holder.transaction():
        await holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        stuck = [
            asyncio.create_task(api.get("/users", headers={"Authorization": f"Bearer {TOKEN}"}))
            for _ in range(STUCK)
        ]
        while await waiting(holder) < HELD:  # noqa: ASYNC110  the server sets no event; ends at the deadline
            await asyncio.sleep(0.02)
        began = time.monotonic()
        answered = [(await api.get(**poll)).status_code for _ in range(20)]
        took_s = time.monotonic() - began
        done = [one for one in stuck if one.done()]
    ended = [answer.status_code for answer in await asyncio.gather(*stuck)]
    await holder.close()

    assert answered == [304] * 20
    assert done == []
    assert took_s < 5
    assert ended == [200] * STUCK


@pytest.mark.parametrize("api", [0.2], indirect=True)
async def test_a_statement_that_takes_too_long_is_no_fault_of_ours(api, database):
    holder = await open_connection(database, application_name="holder")
    async with holder.transaction():
        await holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        answer = await api.get("/users", headers={"Authorization": f"Bearer {TOKEN}"})
    await holder.close()

    assert (answer.status_code, answer.json()["code"]) == (503, "database.slow")
    assert answer.headers["Retry-After"] == "5"


async def waiting(connection: asyncpg.Connection) -> int:
    """Return how many statements wait for a lock."""
    return await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")
