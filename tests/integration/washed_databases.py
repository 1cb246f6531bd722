"""Databases that tests use one after another: emptied in between, which takes a tenth of making a copy.

What a test left must be as it was in the template: no connection, no row but those of the migrations, sequences at
their start, and the same catalogue. A database whose catalogue changed, or that cannot be washed, is dropped.
"""

import contextlib

import asyncpg
from databases import copied_database, dropped_database

from iotistic.kernel.postgres.pool import DatabaseUnavailable, open_connection

_TROUBLE = (asyncpg.PostgresError, asyncpg.InterfaceError, DatabaseUnavailable, OSError, TimeoutError)
_MOST_WAITING = 3

_CATALOGUE = """
SELECT
    (SELECT md5(string_agg(concat_ws('|', oid, relname, relkind, relacl, reloptions, relowner), ',' ORDER BY oid))
     FROM pg_class WHERE relnamespace = 'public'::regnamespace),
    (SELECT (count(*), max(xmin::text::bigint))::text FROM pg_attribute),
    (SELECT (count(*), max(xmin::text::bigint))::text FROM pg_attrdef),
    (SELECT (count(*), max(xmin::text::bigint))::text FROM pg_proc),
    (SELECT (count(*), max(xmin::text::bigint))::text FROM pg_trigger),
    (SELECT (count(*), max(xmin::text::bigint))::text FROM pg_constraint),
    (SELECT (count(*), max(xmin::text::bigint))::text FROM pg_index),
    (SELECT (count(*), max(xmin::text::bigint))::text FROM pg_inherits),
    (SELECT (count(*), max(xmin::text::bigint))::text FROM pg_namespace),
    (SELECT (count(*), max(xmin::text::bigint))::text FROM pg_extension),
    (SELECT count(*) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
     WHERE d.datname = current_database())
"""
_TABLES = """
SELECT oid::regclass::text AS name FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0 ORDER BY oid
"""
_OTHERS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_SEQUENCES = """
SELECT format('%I.%I', schemaname, sequencename) AS name, last_value, start_value FROM pg_sequences ORDER BY 1
"""


class WashedDatabases:
    """Copies of one template over one server."""

    def __init__(self, loop_runner, admin, server, template) -> None:
        self._run, self._admin, self._server, self._template = loop_runner.run, admin, server, template
        self._waiting = []
        self._pristine = None

    def lend(self):
        """Yield the address of a database that is as the template."""
        name, hand = self._waiting.pop() if self._waiting else (self._made(), None)
        yield self._server.with_database(name)
        self._run(self._take_back(name, hand))

    def close(self) -> None:
        """Drop what waits."""
        for name, hand in self._waiting:
            self._run(self._drop(name, hand))

    def _made(self):
        return self._run(copied_database(self._admin, self._template))

    async def _take_back(self, name, hand) -> None:
        try:
            if self._pristine is None:
                self._pristine = await Pristine.read(self._server.with_database(self._template))
            if hand is None or hand.is_closed():
                hand = await open_connection(self._server.with_database(name), application_name="test-wash")
            is_clean = len(self._waiting) < _MOST_WAITING and await self._pristine.wash(hand)
        except _TROUBLE:
            is_clean = False
        if is_clean:
            self._waiting.append((name, hand))
        else:
            await self._drop(name, hand)

    async def _drop(self, name, hand) -> None:
        if hand is not None:
            with contextlib.suppress(*_TROUBLE):
                await hand.close()
        await dropped_database(self._admin, name)


class Pristine:
    """How the template is."""

    def __init__(self, catalogue, rows, sequences) -> None:
        self._catalogue, self._rows, self._sequences = catalogue, rows, sequences

    @classmethod
    async def read(cls, address) -> "Pristine":
        """Read it from the database at `address`."""
        connection = await open_connection(address, application_name="test-wash")
        try:
            rows = {}
            for table in await _with_rows(connection):
                rows[table] = [tuple(row) for row in await connection.fetch(f"SELECT * FROM {table}")]
            return cls(await _catalogue(connection), rows, await _sequences(connection))
        finally:
            await connection.close()

    async def wash(self, connection) -> bool:
        """Make the database of `connection` as the template is; return False when that would not do."""
        await connection.execute(_OTHERS)
        if await _catalogue(connection) != self._catalogue:
            return False
        async with connection.transaction():
            # Neither triggers nor foreign keys have a say in what is taken out and put back.
            await connection.execute("SET LOCAL session_replication_role = replica")
            for table in await _with_rows(connection):
                await self._put_back(connection, table)
            await self._turn_back(connection)
        return True

    async def _put_back(self, connection, table) -> None:
        wanted = self._rows.get(table, [])
        if wanted and [tuple(row) for row in await connection.fetch(f"SELECT * FROM {table}")] == wanted:
            return
        await connection.execute(f"DELETE FROM {table}")
        if wanted:
            places = ", ".join(f"${number + 1}" for number in range(len(wanted[0])))
            await connection.executemany(
                f"INSERT INTO {table} OVERRIDING SYSTEM VALUE VALUES ({places})", wanted
            )

    async def _turn_back(self, connection) -> None:
        turned = [
            (name, start if (last := self._sequences[name][0]) is None else last, last is not None)
            for name, (found, start) in (await _sequences(connection)).items()
            if found != self._sequences[name][0]
        ]
        await connection.execute(
            "SELECT setval(name::regclass, value, called) FROM unnest($1::text[], $2::bigint[], $3::boolean[]) "
            "AS turned(name, value, called)",
            *([row[place] for row in turned] for place in range(3)),
        )


async def _catalogue(connection):
    return tuple(await connection.fetchrow(_CATALOGUE))


async def _with_rows(connection):
    names = [row["name"] for row in await connection.fetch(_TABLES)]
    if not names:
        return []
    # In one statement: a question for each of two hundred tables takes longer than everything else.
    asked = " UNION ALL ".join(f"SELECT '{name}' AS name WHERE EXISTS (SELECT FROM {name})" for name in names)
    return [row["name"] for row in await connection.fetch(asked)]


async def _sequences(connection):
    return {
        row["name"]: (row["last_value"], row["start_value"]) for row in await connection.fetch(_SEQUENCES)
    }
