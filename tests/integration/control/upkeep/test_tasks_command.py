"""`iotistic tasks`, as a process against the routes."""

import asyncio
import json
import os
import sys

import pytest
from upkeep_builders import Upkeep, running, served

from iotistic.control.upkeep.model import Watched


@pytest.fixture
async def run(pool, tmp_path):
    async def figures():
        return {"waiting": 7}

    watched = Watched(
        name="telemetry-rollups", summary="x", schedule="all the time", where="maintenance", look=figures
    )
    upkeep = Upkeep(pool, watched=[watched])
    async with served(upkeep) as client, running(upkeep.keeper()):

        async def run(*words, token="owner"):
            environment = os.environ | {
                "IOTISTIC_HOME": str(tmp_path / "home"),
                "IOTISTIC_API_URL": str(client.base_url).partition("/api/v1")[0],
                "IOTISTIC_API_TOKEN": token,
            }
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "iotistic", "tasks", *words, env=environment,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            async with asyncio.timeout(60):
                out, err = await process.communicate()
            return process.returncode, out.decode(), err.decode()

        run.upkeep = upkeep
        yield run


async def test_a_task_is_run_shown_and_switched(run):
    ran = await run("run", "sweep")
    shown = await run("show", "sweep")
    as_json = await run("show", "sweep", "--json")
    off = await run("toggle", "sweep", "--no-on")
    listed = await run()

    assert (ran[0], "succeeded" in ran[1]) == (0, True), ran
    assert (shown[0], "asked" in shown[1], "swept" in shown[1]) == (0, True, True)
    assert json.loads(as_json[1])["runs"][0]["output"] == {"swept": 3}
    assert off[1] == "sweep is off\n"
    assert [line.split()[0] for line in listed[1].splitlines()] == ["name", "sweep", "telemetry-rollups"]


async def test_a_run_that_fails_ends_with_status_one_and_says_why(run):
    run.upkeep.work.error = ValueError("no broom")
    failed = await run("run", "sweep")

    assert (failed[0], "no broom" in failed[1]) == (1, True)


@pytest.mark.parametrize(
    ("words", "token", "status", "says"),
    [
        (("show", "no-such-task"), "owner", 4, "iotistic tasks list"),
        (("show", "../users"), "owner", 2, "no name of a task"),
        (("run", "telemetry-rollups"), "owner", 5, "maintenance"),
        (("run", "sweep"), "viewer", 3, "role"),
        (("list",), "somebody", 3, "api-token"),
    ],
)
async def test_what_is_refused_says_so_with_its_exit_code(run, words, token, status, says):
    code, _, err = await run(*words, token=token)

    assert (code, says in err) == (status, True), err
