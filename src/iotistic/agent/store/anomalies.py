"""What the watch over readings keeps: detectors' states, and the anomalies that were found."""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from iotistic.agent.store.database import Database
from iotistic.agent.store.errors import SealBroken
from iotistic.agent.store.sealing import Sealer

log = structlog.get_logger()

_END_OF_NAME = b"\0"


class AnomalyStore:
    """Rows of one device. Raises StoreUnavailable from every change; what cannot be read is left out."""

    def __init__(self, database: Database, sealer: Sealer, clock: Callable[[], float]) -> None:
        self._database, self._sealer, self._clock = database, sealer, clock

    async def load_states(self, *, since: float = 0.0) -> dict[str, bytes]:
        """Return the state of each stream by its name that was saved since then, the last saved first."""
        rows = await self._database.run(
            lambda connection: connection.execute(
                "SELECT lookup, sealed FROM detector_states WHERE saved_at >= ? ORDER BY saved_at DESC",
                (since,),
            ).fetchall()
        )
        found: dict[str, bytes] = {}
        for lookup, sealed in rows:
            try:
                name, _, state = self._sealer.unseal(sealed, _state_place(lookup)).partition(_END_OF_NAME)
                found[name.decode()] = state
            except (SealBroken, UnicodeDecodeError) as exc:
                log.warning("store.row_unreadable", place="detector_states", reason=str(exc))
        return found

    async def save_states(self, states: Mapping[str, bytes], *, since: float = 0.0) -> None:
        """Keep states, all or none; a power cut may undo the last time. Those that were saved before `since` go."""
        now = self._clock()
        rows: list[tuple[bytes, bytes, float]] = []
        for name, state in states.items():
            lookup = self._sealer.lookup(name)
            sealed = self._sealer.seal(name.encode() + _END_OF_NAME + state, _state_place(lookup))
            rows.append((lookup, sealed, now))

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM detector_states WHERE saved_at < ?", (since,))
            connection.executemany("INSERT OR REPLACE INTO detector_states VALUES (?, ?, ?)", rows)

        await self._database.run(work, durable=False)

    async def load(self) -> dict[int, Any]:
        """Return anomalies by their numbers, the oldest first."""
        rows = await self._database.run(
            lambda connection: connection.execute("SELECT id, sealed FROM anomalies ORDER BY id").fetchall()
        )
        found: dict[int, Any] = {}
        for number, sealed in rows:
            try:
                found[number] = self._sealer.unseal_json(sealed, _place(number))
            except (SealBroken, ValueError) as exc:
                log.warning("store.row_unreadable", place=_place(number), reason=str(exc))
        return found

    async def put(self, documents: Mapping[int, Any], *, least: int) -> None:
        """Keep anomalies under their numbers; those with numbers below `least` go."""
        rows = [
            (number, self._sealer.seal_json(document, _place(number)))
            for number, document in documents.items()
        ]

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM anomalies WHERE id < ?", (least,))
            connection.executemany("INSERT OR REPLACE INTO anomalies (id, sealed) VALUES (?, ?)", rows)

        await self._database.run(work)


def _state_place(lookup: bytes) -> str:
    return f"detector_states {lookup.hex()}"


def _place(number: int) -> str:
    return f"anomalies {number}"
