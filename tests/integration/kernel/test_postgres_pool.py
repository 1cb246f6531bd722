"""Connections that are opened before anybody needs them."""

import asyncio

from pydantic import SecretStr

from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool, open_all


def settings(dsn, **changes):
    given = {"database_url": dsn.url, "database_password": dsn.password, "database_pool_size": 4}
    return DatabaseSettings(**(given | changes))


async def test_a_burst_after_the_start_finds_every_connection_open(database):
    pool = await create_pool(settings(database), application_name="burst", min_size=0, is_kept_open=True)
    before = pool.get_size()
    await open_all(pool)

    assert (before, pool.get_size(), pool.get_idle_size()) == (0, 4, 4)
    pool.terminate()


async def test_connections_that_others_hold_for_good_are_not_waited_for(database):
    pool = await create_pool(settings(database), application_name="burst", min_size=0, is_kept_open=True)
    async with pool.acquire(), pool.acquire(), asyncio.timeout(5):
        await open_all(pool)
        assert await pool.fetchval("SELECT 1") == 1

    assert pool.get_size() == 4
    pool.terminate()


async def test_without_a_database_or_a_right_password_nothing_is_opened_and_nothing_raised(
    database, unused_tcp_port
):
    away = f"postgresql://iotistic@127.0.0.1:{unused_tcp_port}/iotistic"
    for changes in ({"database_url": away}, {"database_password": SecretStr("wrong")}):
        pool = await create_pool(settings(database, **changes), application_name="burst", min_size=0)
        await open_all(pool)

        assert pool.get_size() == 0
        pool.terminate()


async def test_a_lean_pool_asks_nothing_more_than_its_users_do_and_ends_what_they_began(database):
    pool = await create_pool(settings(database, database_pool_size=1), application_name="lean", is_lean=True)
    watcher = await create_pool(settings(database), application_name="watcher")
    said = "SELECT state, query FROM pg_stat_activity WHERE application_name = 'lean'"

    await pool.fetchval("SELECT 42")
    after_one = tuple(await watcher.fetchrow(said))
    async with pool.acquire() as connection:
        await connection.execute("BEGIN")
    after_begin = tuple(await watcher.fetchrow(said))

    assert after_one == ("idle", "SELECT 42")
    assert after_begin == ("idle", "ROLLBACK")
    await pool.close()
    await watcher.close()
