"""States of the device: the one that is wanted, as it came, and the one that was last reported.

A state is written only when its SHA-256 changed: most polls and reports change nothing.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import structlog

from iotistic.agent.store.database import Database
from iotistic.agent.store.errors import SealBroken
from iotistic.agent.store.sealing import Sealer, canonical
from iotistic.planning.faults import Fault

log = structlog.get_logger()

Kind = Literal["current", "target"]


def state_hash(state: Any) -> str:
    """Return the SHA-256 of a state in hex; the order of keys makes no difference."""
    return hashlib.sha256(canonical(state)).hexdigest()


class SnapshotStore:
    """The last state of each kind."""

    def __init__(self, database: Database, sealer: Sealer, clock: Callable[[], float]) -> None:
        self._database, self._sealer, self._clock = database, sealer, clock
        self._hashes: dict[str, tuple[str, int]] = {}

    async def load(self, kind: Kind) -> Any | None:
        """Return the state, None when there is none that can be read."""
        sealed = await self._database.run(lambda connection: _read(connection, kind))
        if sealed is None:
            return None
        try:
            kept = self._sealer.unseal_json(sealed, f"state {kind}")
        except SealBroken as exc:
            log.warning("store.state_unreadable", kind=kind, reason=exc.message)
            return None
        if state_hash(kept["state"]) != kept["state_hash"]:
            log.warning("store.state_unreadable", kind=kind, reason="its hash is another")
            return None
        self._hashes[kind] = (kept["state_hash"], self._database.rebuilds)
        return kept["state"]

    async def save(self, kind: Kind, state: Any) -> bool:
        """Keep a state; return False when it is the one that is kept already. Raises StoreUnavailable."""
        hashed = state_hash(state)
        if self._hashes.get(kind) == (hashed, self._database.rebuilds):
            return False
        sealed = self._sealer.seal_json({"state": state, "state_hash": hashed}, f"state {kind}")
        now = self._clock()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO state_snapshots (kind, sealed, saved_at) VALUES (?, ?, ?)",
                (kind, sealed, now),
            )

        await self._database.run(work, durable=kind == "target")
        self._hashes[kind] = (hashed, self._database.rebuilds)
        return True

    async def forget(self, kind: Kind) -> None:
        """Remove a state. Raises StoreUnavailable."""
        await self._database.run(
            lambda connection: connection.execute("DELETE FROM state_snapshots WHERE kind = ?", (kind,))
        )
        self._hashes.pop(kind, None)


@dataclass(frozen=True, slots=True)
class StoredTarget:
    """A target as the cloud wrote it, and what is wrong with it; one with faults is kept, and not worked on."""

    document: Mapping[str, Any]
    version: int = 0
    etag: str = ""
    faults: tuple[Fault, ...] = ()
    received_at: float = field(default=0.0, compare=False)


class TargetStore:
    """The last target that came: the device works on it from the first second after a start, without a network."""

    def __init__(self, snapshots: SnapshotStore) -> None:
        self._snapshots = snapshots

    async def load(self) -> StoredTarget | None:
        """Return the target, None when there is none that can be read."""
        kept = await self._snapshots.load("target")
        if kept is None:
            return None
        try:
            faults = tuple(Fault(*fault) for fault in kept.pop("faults"))
            return StoredTarget(**kept, faults=faults)
        except (AttributeError, KeyError, TypeError) as exc:  # kept by a release that writes it otherwise
            log.warning("store.state_unreadable", kind="target", reason=str(exc))
            return None

    async def save(self, target: StoredTarget) -> bool:
        """Keep a target; False when nothing but the time differs. Raises StoreUnavailable."""
        before = await self.load()
        if before == target:
            return False
        return await self._snapshots.save("target", asdict(target))

    async def disown(self) -> None:
        """Go on with the target, as nobody's: marks of one cloud are not to be shown to another. Raises StoreUnavailable."""
        if (kept := await self.load()) is not None:
            document = {name: value for name, value in kept.document.items() if name != "version"}
            await self.save(replace(kept, document=document, version=0, etag=""))

    async def forget(self) -> None:
        """Remove the target. Raises StoreUnavailable."""
        await self._snapshots.forget("target")


def _read(connection: sqlite3.Connection, kind: Kind) -> bytes | None:
    row = connection.execute("SELECT sealed FROM state_snapshots WHERE kind = ?", (kind,)).fetchone()
    return None if row is None else row[0]
