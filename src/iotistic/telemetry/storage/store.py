"""Where readings are kept: plain partitions, or a hypertable of TimescaleDB, whose editions differ in what they may."""

from dataclasses import dataclass
from enum import StrEnum

import asyncpg


class StoreKind(StrEnum):
    """The three stores."""

    PLAIN = "plain"
    APACHE = "timescaledb_apache"
    FULL = "timescaledb_full"


@dataclass(frozen=True, slots=True)
class ReadingsStore:
    """The store of one database; `offered` is the version of TimescaleDB that its server could add."""

    kind: StoreKind
    timescaledb: str | None
    offered: str | None
    compressed: bool
    moving: bool

    def __str__(self) -> str:
        """Say it as people are told."""
        if self.kind is StoreKind.PLAIN:
            return "plain partitions"
        edition = (
            "full, compressed" if self.compressed else "full" if self.kind is StoreKind.FULL else "Apache"
        )
        return f"TimescaleDB {self.timescaledb} ({edition})"


# Of any server, with whatever schema.
_STORE = """
SELECT coalesce((SELECT relkind = 'r' FROM pg_class WHERE oid = to_regclass('decoded_data')), false) AS hypertable,
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS timescaledb,
       (SELECT default_version FROM pg_available_extensions
        WHERE name = 'timescaledb' AND current_setting('timescaledb.disable_load', true) = 'off') AS offered,
       current_setting('timescaledb.license', true) = 'timescale' AS is_full,
       to_regclass('decoded_data_moved') IS NOT NULL AS moving
"""


async def read_store(connection: asyncpg.Connection | asyncpg.Pool) -> ReadingsStore:
    """Say where this database keeps its readings."""
    row = await connection.fetchrow(_STORE)
    if row is None:
        raise LookupError("a SELECT without a table has no row")
    if not row["hypertable"]:
        return ReadingsStore(StoreKind.PLAIN, row["timescaledb"], row["offered"], False, row["moving"])
    compressed = await connection.fetchval("SELECT staged_after IS NOT NULL FROM readings_store")
    kind = StoreKind.FULL if row["is_full"] else StoreKind.APACHE
    return ReadingsStore(kind, row["timescaledb"], row["offered"], bool(compressed), row["moving"])
