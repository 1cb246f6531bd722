"""Small tables: devices on the field bus, where each protocol's readings go, and names with values."""

import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import structlog

from iotistic.agent.store.database import Database
from iotistic.agent.store.errors import SealBroken
from iotistic.agent.store.sealing import Sealer

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A device that the agent reads: its protocol's driver knows what connection and data points mean."""

    uuid: str
    name: str
    protocol: str
    enabled: bool = True
    poll_interval_ms: int = 5000
    connection: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    data_points: tuple[Mapping[str, Any], ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class SensorOutput:
    """Where the readings of a protocol are written."""

    protocol: str
    socket_path: str
    data_format: str = "json"
    delimiter: str = "\n"
    include_timestamp: bool = True
    include_device_name: bool = True


class EndpointStore:
    """All endpoints. Raises StoreUnavailable from every change."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database, self._sealer = database, sealer

    async def load(self) -> list[tuple[Endpoint, float | None]]:
        """Return endpoints by name, each with when it was last seen; what cannot be read is left out."""
        rows = await self._database.run(
            lambda connection: connection.execute(
                "SELECT lookup, sealed, last_seen_at FROM endpoints"
            ).fetchall()
        )
        found: list[tuple[Endpoint, float | None]] = []
        for lookup, sealed, seen_at in rows:
            kept = _opened(self._sealer, sealed, _endpoint_place(lookup))
            if kept is not None:
                kept["data_points"] = tuple(kept["data_points"])
                found.append((Endpoint(**kept), seen_at))
        return sorted(found, key=lambda one: (one[0].name, one[0].uuid))

    async def save(self, endpoint: Endpoint) -> None:
        """Add an endpoint, or change it; when it was seen stays."""
        lookup = self._sealer.lookup(endpoint.uuid)
        sealed = self._sealer.seal_json(asdict(endpoint), _endpoint_place(lookup))
        await self._database.run(
            lambda connection: connection.execute(
                "INSERT INTO endpoints (lookup, sealed) VALUES (?, ?) "
                "ON CONFLICT (lookup) DO UPDATE SET sealed = excluded.sealed",
                (lookup, sealed),
            )
        )

    async def seen(self, seen_at: Mapping[str, float]) -> None:
        """Note when endpoints answered last (uuid to seconds since 1970); a power cut may undo that."""
        rows = [(at, self._sealer.lookup(uuid)) for uuid, at in seen_at.items()]
        await self._database.run(
            lambda connection: connection.executemany(
                "UPDATE endpoints SET last_seen_at = ? WHERE lookup = ?", rows
            ),
            durable=False,
        )

    async def remove(self, uuid: str) -> None:
        """Remove an endpoint; one that is gone is fine."""
        lookup = self._sealer.lookup(uuid)
        await self._database.run(
            lambda connection: connection.execute("DELETE FROM endpoints WHERE lookup = ?", (lookup,))
        )


class SensorOutputStore:
    """The output of each protocol. Raises StoreUnavailable from every change."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._table = _Table(database, sealer, "sensor_outputs", "protocol")

    async def load(self) -> dict[str, SensorOutput]:
        """Return outputs by protocol; what cannot be read is left out."""
        return {protocol: SensorOutput(**kept) for protocol, kept in (await self._table.load()).items()}

    async def save(self, output: SensorOutput) -> None:
        """Add an output, or change it."""
        await self._table.put(output.protocol, asdict(output))

    async def remove(self, protocol: str) -> None:
        """Remove an output; one that is gone is fine."""
        await self._table.put(protocol, None)


class MetadataStore:
    """Names and JSON values of the agent itself. Raises StoreUnavailable from every change."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._table = _Table(database, sealer, "agent_metadata", "name")

    async def load(self) -> dict[str, Any]:
        """Return all values by name; what cannot be read is left out."""
        return await self._table.load()

    async def put(self, name: str, value: Any) -> None:
        """Keep a value under a name; None removes it."""
        await self._table.put(name, value)


class _Table:
    """A table of texts and sealed values. The names of table and column are ours."""

    def __init__(self, database: Database, sealer: Sealer, table: str, column: str) -> None:
        self._database, self._sealer, self._name = database, sealer, table
        self._select = f"SELECT {column}, sealed FROM {table} ORDER BY {column}"  # noqa: S608
        self._insert = f"INSERT OR REPLACE INTO {table} ({column}, sealed) VALUES (?, ?)"  # noqa: S608
        self._delete = f"DELETE FROM {table} WHERE {column} = ?"  # noqa: S608

    async def load(self) -> dict[str, Any]:
        rows = await self._database.run(lambda connection: connection.execute(self._select).fetchall())
        opened = {name: _opened(self._sealer, sealed, f"{self._name} {name}") for name, sealed in rows}
        return {name: value for name, value in opened.items() if value is not None}

    async def put(self, name: str, value: Any) -> None:
        def work(connection: sqlite3.Connection) -> None:
            if value is None:
                connection.execute(self._delete, (name,))
            else:
                connection.execute(
                    self._insert, (name, self._sealer.seal_json(value, f"{self._name} {name}"))
                )

        await self._database.run(work)


def _endpoint_place(lookup: bytes) -> str:
    return f"endpoints {lookup.hex()}"


def _opened(sealer: Sealer, sealed: bytes, place: str) -> Any | None:
    try:
        return sealer.unseal_json(sealed, place)
    except SealBroken as exc:
        log.warning("store.row_unreadable", place=place, reason=exc.message)
        return None
