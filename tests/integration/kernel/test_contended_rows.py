"""Rows that others hold: what gave way to them is told so, and to come again."""

import json

import asyncpg
import pytest
from lock_circles import another

from iotistic.kernel.postgres.pool import DatabaseContended, DatabaseUnavailable, database_errors
from iotistic.kernel.web.problems import error_response

ROW = "SELECT FROM kept WHERE id = {} FOR UPDATE"


@pytest.fixture
async def somebody(database, connection):
    await connection.execute("CREATE TABLE kept AS SELECT id FROM generate_series(1, 2) id")
    async with another(database) as other:
        yield other
    await connection.execute("DROP TABLE kept")


async def test_a_circle_is_answered_as_busy_with_a_time_to_come_again(somebody, connection):
    async def the_other_way():
        async with connection.transaction():
            await connection.execute(ROW.format(2))
            await connection.execute(ROW.format(1))

    with pytest.raises(DatabaseContended) as found, database_errors():
        await somebody.crosses(the_other_way(), first=ROW.format(1), last=ROW.format(2))

    answer = error_response(found.value)
    assert isinstance(found.value, DatabaseUnavailable)
    assert isinstance(found.value.__cause__, asyncpg.DeadlockDetectedError)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert json.loads(answer.body)["code"] == "database.contended"


async def test_a_row_that_is_held_for_too_long_and_one_that_was_changed_are_told_alike(somebody, connection):
    async def impatiently():
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '10ms'")
            await connection.execute(ROW.format(1))

    async def after_a_change():
        async with connection.transaction(isolation="repeatable_read"):
            await connection.execute("SELECT FROM kept")
            await somebody.db.execute("UPDATE kept SET id = id")
            await connection.execute(ROW.format(1))

    with pytest.raises(DatabaseContended), database_errors():
        await somebody.is_passed_by(impatiently(), holding=ROW.format(1))
    with pytest.raises(DatabaseContended), database_errors():
        await after_a_change()
