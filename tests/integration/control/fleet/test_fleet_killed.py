"""A serving process is killed in the middle of an upload: what is sent again is kept once."""

import asyncio
import contextlib
import gzip
import json
import os
import signal
import sys
import time
from pathlib import Path

import httpx2

PROGRAM = Path(__file__).with_name("serving_process.py")
LINES = 20_000


@contextlib.asynccontextmanager
async def serving(database):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        database.url,
        env={**os.environ, "FLEET_PASSWORD": database.password.get_secret_value()},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            yield process, (await process.stdout.readline()).decode().strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def content():
    now = int(time.time() * 1000)
    return b"".join(
        json.dumps({"id": str(n), "message": f"line {n}", "timestamp": now - n}).encode() + b"\n"
        for n in range(LINES)
    )


async def kept(fleet):
    return await fleet.pool.fetchval("SELECT count(*) FROM device_logs")


async def test_an_upload_that_a_killed_process_had_begun_is_kept_once_when_it_is_sent_again(fleet, database):
    device, body = await fleet.add(), content()
    begun = asyncio.Event()

    async def in_parts():
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]
            await asyncio.sleep(0)
            begun.is_set() and await asyncio.sleep(30)

    async with (
        serving(database) as (process, url),
        httpx2.AsyncClient(verify=False, base_url=url, timeout=60) as client,
    ):
        upload = asyncio.create_task(
            client.post(f"/device/{device.uuid}/logs", content=in_parts(), headers=device.headers)
        )
        async with asyncio.timeout(30):
            while not await kept(fleet):  # noqa: ASYNC110  another process keeps them
                await asyncio.sleep(0.02)
        begun.set()
        process.send_signal(signal.SIGKILL)
        broken = await asyncio.gather(upload, return_exceptions=True)
    before = await kept(fleet)
    again = await device.send(gzip.compress(body), **{"Content-Encoding": "gzip"})

    assert isinstance(broken[0], httpx2.HTTPError)
    assert 0 < before < LINES
    assert (again.json()["stored"], again.json()["duplicates"]) == (LINES - before, before)
    assert await kept(fleet) == LINES
