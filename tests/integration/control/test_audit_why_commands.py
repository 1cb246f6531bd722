"""`iotistic audit` and `iotistic why`, as processes on a real database."""

import asyncio
import json
import os
import sys

import pytest
from why_injections import Patient, says

from iotistic.control.audit.sealing import Sealer
from iotistic.control.audit.trail import AuditTrail


@pytest.fixture
def run(database, tmp_path):
    secret = tmp_path / "password"
    secret.write_text(database.password.get_secret_value())
    environment = os.environ | {
        "IOTISTIC_HOME": str(tmp_path / "home"),
        "DATABASE_URL": database.url,
        "DATABASE_PASSWORD_FILE": str(secret),
    }

    async def run(*words):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "iotistic", *words, env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(120):
            out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    return run


async def test_verify_says_that_the_chain_holds_and_then_where_it_breaks(run, pool, connection):
    for number in range(5):
        await AuditTrail().record(pool, "user:ada", "test.changed", ("thing", number))
    await Sealer(pool).seal()
    _, anchor, _ = await run("audit", "head")
    good = await run("audit", "verify", "--anchor", anchor.strip())
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(
        "UPDATE audit_logs SET actor_id = 'eve' WHERE id = (SELECT max(id) FROM audit_logs)"
    )
    bad = await run("audit", "verify")
    as_json = await run("audit", "verify", "--json")

    assert (good[0], "the chain holds" in good[1]) == (0, True)
    assert (bad[0], "place 5" in bad[1]) == (1, True)
    assert (as_json[0], json.loads(as_json[1])["first"]["position"]) == (1, 5)


async def test_why_tells_the_chain_in_words_and_as_json(run, pool):
    patient = await Patient(pool).born()
    await says("manifest unknown")(patient)
    told = await run("why", "device", f"press {patient.uuid}")
    as_json = await run("why", "device", patient.uuid, "--about", "not-updated", "--json")
    unknown = await run("why", "device", "no such device")

    assert (told[0], "Why not updated?" in told[1], "Fix: " in told[1]) == (0, True, True)
    assert json.loads(as_json[1])["cause"]["code"] == "image.not_found"
    assert (unknown[0], "there is no device" in unknown[2]) == (4, True)
