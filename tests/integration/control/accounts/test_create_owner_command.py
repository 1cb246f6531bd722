"""`iotistic users create-owner`, as a process."""

import asyncio
import json
import os
import sys

from account_builders import PASSWORD


async def create_owner(database, *words, typed=""):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "iotistic", "users", "create-owner", *words),
        env=os.environ | database.environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(typed.encode()), 60)
    return process.returncode, out.decode(), err.decode()


async def test_the_first_owner_gets_a_password_that_opens_the_account(desk, database):
    code, out, _ = await create_owner(database, "ada", "--email", "ada@example.net", "--json")

    made = json.loads(out)
    assert (code, made["role"]) == (0, "owner")
    assert (await desk.login("ada", made["password"])).status_code == 200


async def test_of_two_first_owners_at_once_there_is_one(desk, database):
    outcomes = await asyncio.gather(
        *(create_owner(database, f"ada{n}", "--email", f"ada{n}@example.net") for n in range(2))
    )

    assert sorted(code for code, _, _ in outcomes) == [0, 5]
    assert await desk.pool.fetchval("SELECT count(*) FROM users") == 1


async def test_another_owner_is_the_way_back_in(desk, database):
    await create_owner(database, "ada", "--email", "ada@example.net")

    refused, _, reason = await create_owner(database, "bob", "--email", "bob@example.net")
    done, out, _ = await create_owner(
        database, "bob", "--email", "bob@example.net", "--another", "--ask", typed=PASSWORD + "\n"
    )

    assert (refused, "--another" in reason) == (5, True)
    assert (done, PASSWORD in out) == (0, False)
    assert (await desk.login("bob")).status_code == 200


async def test_a_password_that_is_easy_to_guess_is_refused(database):
    code, _, reason = await create_owner(
        database, "ada", "--email", "ada@example.net", "--ask", typed="password123\n"
    )

    assert (code, "commonest" in reason) == (2, True)


async def test_a_fresh_installation_has_no_account(connection):
    assert await connection.fetchval("SELECT count(*) FROM users") == 0
