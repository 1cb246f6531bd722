import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from databases import MIGRATIONS

from iotistic.kernel.migrations import files, runner
from iotistic.kernel.migrations.runner import (
    MigrationChanged,
    MigrationFailed,
    MigrationLocked,
    MigrationState,
)
from iotistic.kernel.postgres.pool import DatabaseUnavailable, open_connection

# Everything that a migration may make, as the catalogue describes it.
SCHEMA = """
SELECT 'column', table_name || '.' || column_name, concat_ws(' ', data_type, is_nullable, column_default)
FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'schema_migrations'
UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes
WHERE schemaname = 'public' AND tablename <> 'schema_migrations'
UNION ALL SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'schema_migrations'
UNION ALL SELECT 'function', proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
ORDER BY 1, 2, 3
"""


@pytest.fixture
async def empty(empty_database):
    connection = await open_connection(empty_database, application_name="test")
    yield connection
    await connection.close()


def write(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name.removeprefix('m')}.sql").write_text(text)
    return folder


def states(statuses):
    return {one.name: str(one.state) for one in statuses}


async def tables(connection):
    rows = await connection.fetch("SELECT relname FROM pg_class WHERE relname LIKE 'made_%' ORDER BY 1")
    return [row["relname"] for row in rows]


async def test_migrations_run_once_and_in_order(empty, tmp_path):
    write(tmp_path, m0002_b="ALTER TABLE made_a ADD b int;", m0001_a="CREATE TABLE made_a ();")
    before = await runner.status(empty, tmp_path)
    told = []
    first = await runner.migrate(empty, tmp_path, progress=told.append)
    second = await runner.migrate(empty, tmp_path)

    assert states(before) == {"0001_a": "pending", "0002_b": "pending"}
    assert (first.applied, second.applied) == (["0001_a", "0002_b"], [])
    assert told == ["migrating 0001_a", "migrating 0002_b"]
    assert states(await runner.status(empty, tmp_path)) == {"0001_a": "applied", "0002_b": "applied"}


async def test_asking_for_the_state_leaves_an_empty_database_empty(empty, tmp_path):
    await runner.status(empty, write(tmp_path, m0001_a="CREATE TABLE made_a ();"))

    assert (
        await empty.fetchval("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == 0
    )


@pytest.mark.parametrize(
    ("sql", "line", "excerpt"),
    [
        ("CREATE TABLE made_b ();\n\nSELEC\n  1;\n", 3, "SELEC 1;"),
        ("CREATE TABLE made_b ();\nSELECT\n  'é',\n  nothing;\n", 4, "SELECT 'é', nothing;"),
        (
            "CREATE TABLE made_b (i int UNIQUE);\n-- twice\nINSERT INTO made_b VALUES (1), (1);\n",
            3,
            "INSERT INTO made_b",
        ),
        (
            "CREATE TABLE made_b ();\nDO $$\nBEGIN\n  RAISE 'no';\nEND $$;\n",
            2,
            "DO $$ BEGIN RAISE 'no'; END $$;",
        ),
        ("CREATE TABLE made_b ();\n\\d made_b\n", 2, "\\d made_b"),
        ("CREATE TABLE made_b ();\nSELECT 'unfinished;\n", 2, "SELECT 'unfinished;"),
    ],
)
async def test_a_refused_statement_is_named_with_file_and_line_and_nothing_of_it_is_kept(
    empty, tmp_path, sql, line, excerpt
):
    write(tmp_path, m0001_a="CREATE TABLE made_a ();", m0002_b=sql, m0003_c="CREATE TABLE made_c ();")

    with pytest.raises(MigrationFailed) as caught:
        await runner.migrate(empty, tmp_path)

    assert caught.value.message.startswith(f"0002_b.sql, line {line}: ")
    assert str(caught.value.fields["statement"]).startswith(excerpt)
    assert await tables(empty) == ["made_a"]
    assert states(await runner.status(empty, tmp_path)) == {
        "0001_a": "applied", "0002_b": "pending", "0003_c": "pending",
    }  # fmt: skip


async def test_after_a_failure_the_mended_file_and_the_rest_go_through(empty, tmp_path):
    write(tmp_path, m0001_a="CREATE TABLE made_a (;", m0002_b="CREATE TABLE made_b ();")
    with pytest.raises(MigrationFailed):
        await runner.migrate(empty, tmp_path)
    write(tmp_path, m0001_a="CREATE TABLE made_a ();")
    await runner.migrate(empty, tmp_path)

    assert await tables(empty) == ["made_a", "made_b"]


async def test_a_file_changed_after_it_was_applied_is_refused_by_name(empty, tmp_path):
    await runner.migrate(empty, write(tmp_path, m0001_a="CREATE TABLE made_a ();"))
    write(tmp_path, m0001_a="CREATE TABLE made_a (i int);", m0002_b="CREATE TABLE made_b ();")

    with pytest.raises(MigrationChanged, match="0001_a"):
        await runner.migrate(empty, tmp_path)
    assert await tables(empty) == ["made_a"]
    assert states(await runner.status(empty, tmp_path)) == {"0001_a": "changed", "0002_b": "pending"}

    await runner.mark_applied(empty, tmp_path, "0001_a")
    assert (await runner.migrate(empty, tmp_path)).applied == ["0002_b"]


async def test_an_applied_migration_without_a_file_is_reported_and_stops_nothing(empty, tmp_path):
    await runner.migrate(empty, write(tmp_path, m0001_a="CREATE TABLE made_a ();"))
    (tmp_path / "0001_a.sql").unlink()
    report = await runner.migrate(empty, write(tmp_path, m0002_b="CREATE TABLE made_b ();"))

    assert report == runner.MigrationReport(applied=["0002_b"], missing=["0001_a"])
    assert (await runner.status(empty, tmp_path))[0].state is MigrationState.MISSING


async def test_a_migration_can_be_marked_without_running_and_unmarked_again(empty, tmp_path):
    write(tmp_path, m0001_a="CREATE TABLE made_a ();")

    assert await runner.mark_applied(empty, tmp_path, "0001_a.sql") == "0001_a"
    assert (await runner.migrate(empty, tmp_path)).applied == []
    assert await tables(empty) == []
    assert await runner.unmark(empty, "0001_a") == "0001_a"
    assert (await runner.migrate(empty, tmp_path)).applied == ["0001_a"]


async def test_marking_or_unmarking_what_is_not_there_is_refused(empty, tmp_path):
    with pytest.raises(files.MigrationNotFound):
        await runner.mark_applied(empty, tmp_path, "0001_a")
    with pytest.raises(files.MigrationNotFound):
        await runner.unmark(empty, "0001_a")


async def test_of_two_that_start_at_once_one_applies_and_the_other_waits_for_it(empty_database, tmp_path):
    write(
        tmp_path, m0001_a="SELECT pg_sleep(0.3); CREATE TABLE made_a ();", m0002_b="CREATE TABLE made_b ();"
    )
    connections = [await open_connection(empty_database, application_name="test") for _ in range(4)]
    reports = await asyncio.gather(*(runner.migrate(connection, tmp_path) for connection in connections))
    for connection in connections:
        await connection.close()

    assert sorted(report.applied for report in reports) == [[], [], [], ["0001_a", "0002_b"]]


async def test_waiting_for_another_migrator_has_an_end(empty_database, empty, tmp_path):
    write(tmp_path, m0001_a="CREATE TABLE made_a (); SELECT pg_sleep(60);")
    first = await open_connection(empty_database, application_name="test")
    started = asyncio.Event()
    running = asyncio.create_task(runner.migrate(first, tmp_path, progress=lambda _line: started.set()))
    await asyncio.wait_for(started.wait(), 20)

    with pytest.raises(MigrationLocked):
        await runner.migrate(empty, tmp_path, wait_s=0.2)
    await empty.execute("SELECT pg_terminate_backend($1)", first.get_server_pid())
    with pytest.raises(DatabaseUnavailable):
        await running
    write(tmp_path, m0001_a="CREATE TABLE made_a ();")
    assert (await runner.migrate(empty, tmp_path)).applied == ["0001_a"]


async def test_a_killed_migrator_leaves_nothing_half_done_and_no_lock(empty_database, empty, tmp_path):
    write(tmp_path, m0001_a="CREATE TABLE made_a ();", m0002_b="CREATE TABLE made_b (); SELECT pg_sleep(60);")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "iotistic", "db", "migrate", "--folder", tmp_path,
        env=os.environ | empty_database.environment(), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(30):
        assert await child.stderr.readline() == b"migrating 0001_a\n"
        assert await child.stderr.readline() == b"migrating 0002_b\n"
        child.kill()
        await child.wait()
    write(tmp_path, m0002_b="CREATE TABLE made_b ();")
    async with asyncio.timeout(30):
        report = await runner.migrate(empty, tmp_path)

    assert report.applied == ["0002_b"]
    assert await tables(empty) == ["made_a", "made_b"]


async def test_a_setting_of_one_file_does_not_reach_the_next(empty, tmp_path):
    write(
        tmp_path,
        m0001_a="SET search_path = pg_temp; SET work_mem = '64kB';",
        m0002_b="CREATE TABLE made_b ();",
    )
    await runner.migrate(empty, tmp_path)

    assert await empty.fetchval("SELECT to_regclass('public.made_b')") == "made_b"
    assert await empty.fetchval("SHOW work_mem") != "64kB"


async def test_a_statement_that_cannot_get_its_lock_gives_up_instead_of_queueing(
    empty_database, empty, tmp_path
):
    write(
        tmp_path,
        m0001_a="CREATE TABLE made_a ();",
        m0002_b="SET LOCAL lock_timeout = '50ms';\nDROP TABLE made_a;",
    )
    other = await open_connection(empty_database, application_name="test")
    await runner.mark_applied(empty, tmp_path, "0002_b")
    await runner.migrate(empty, tmp_path)
    await runner.unmark(empty, "0002_b")
    async with other.transaction():
        await other.execute("LOCK TABLE made_a IN ACCESS SHARE MODE")
        with pytest.raises(
            MigrationFailed, match=r"0002_b\.sql, line 2: canceling statement due to lock timeout"
        ):
            await runner.migrate(empty, tmp_path)
    await other.close()


async def test_the_products_migrations_give_the_same_schema_all_at_once_or_one_by_one(
    connection, empty, tmp_path
):
    for path in sorted(MIGRATIONS.glob("*.sql")):
        write(tmp_path, **{f"m{path.stem}": path.read_text()})
        assert (await runner.migrate(empty, tmp_path)).applied == [path.stem]
    expected = [tuple(row) for row in await connection.fetch(SCHEMA)]

    assert len(expected) > 50
    assert [tuple(row) for row in await empty.fetch(SCHEMA)] == expected


def test_the_command_shows_states_as_json_and_applies_them(empty_database, tmp_path):
    write(tmp_path, m0001_a="CREATE TABLE made_a ();")

    def db(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "iotistic", "db", *arguments, "--folder", tmp_path, "--json"],
            env=os.environ | empty_database.environment(), capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return json.loads(done.stdout)

    pending = {"name": "0001_a", "state": "pending", "applied_at": None, "duration_ms": None}
    assert db("status")["migrations"] == [pending]
    assert db("status")["store"]["kind"] == "plain"
    assert db("migrate") == {"applied": ["0001_a"], "missing": []}
    assert db("status")["migrations"][0]["state"] == "applied"
    assert db("mark-applied", "0001_a") == {"name": "0001_a", "state": "applied"}
