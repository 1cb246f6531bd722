"""The shipped control process carries the list out, with its broker away, after being killed, and beside another."""

import asyncio
import contextlib
import os
import sys

import pytest
from upkeep_builders import until

_SOON = ("certificates-expiring", "device-history-retention", "events-retention")


@pytest.fixture
async def control(database, tmp_path):
    secret, token = tmp_path / "password", tmp_path / "token"
    secret.write_text(database.password.get_secret_value())
    token.write_text("operator-token-of-the-tests")
    environment = os.environ | {
        "IOTISTIC_HOME": str(tmp_path / "home"),
        "DATABASE_URL": database.url,
        "DATABASE_PASSWORD_FILE": str(secret),
        "API_TOKEN_FILE": str(token),
        "METRICS_PORT": "0",
        "MQTT_SERVICE_HOST": "127.0.0.1",
        "MQTT_SERVICE_PORT": "9",
        "MQTT_SERVICE_PASSWORD": "nobody is there",
        "UPKEEP_LEASE_S": "2",
    }
    processes = []

    async def start():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "iotistic", "control", env=environment,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.slow
async def test_the_control_process_does_what_is_due_and_another_one_goes_on_when_it_is_killed(pool, control):
    first = await control()
    await until(lambda: _succeeded(pool, _SOON), within_s=90)
    first.kill()
    await first.wait()
    await pool.execute(
        "UPDATE upkeep_tasks SET next_due_at = now() - interval '3 days' WHERE name = 'job-retention'"
    )
    others = [await control(), await control()]
    await until(lambda: _succeeded(pool, [*_SOON, "job-retention"]), within_s=90)
    rows = await pool.fetch("SELECT task, count(*) AS runs, count(DISTINCT due_at) AS moments, max(missed) AS missed "
        "FROM upkeep_runs GROUP BY task")  # fmt: skip
    missed = {row["task"]: row["missed"] for row in rows}

    assert [row["task"] for row in rows if row["runs"] != row["moments"]] == []
    assert 71 <= missed["job-retention"] <= 72
    assert [other.returncode for other in others] == [None, None]


async def _succeeded(pool, names):
    found = await pool.fetchval(
        "SELECT count(DISTINCT task) FROM upkeep_runs WHERE outcome = 'succeeded' AND task = ANY($1)",
        list(names),
    )
    return found == len(names)
