"""Everything that the agent keeps, opened together.

agent.sqlite      the database          agent.key         what it is unreadable without (mode 600)
agent.identity    uuid and keys, sealed: survives a broken database
agent.epoch       the largest epoch of the outbox
"""

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from iotistic.agent.store.anomalies import AnomalyStore
from iotistic.agent.store.database import Database, open_database
from iotistic.agent.store.device import DeviceStore, Identity
from iotistic.agent.store.endpoints import EndpointStore, MetadataStore, SensorOutputStore
from iotistic.agent.store.errors import SealBroken, StoreKeyMissing, StoreKeyWrong
from iotistic.agent.store.outbox import DEFAULT_LIMIT_BYTES, Outbox, open_outbox
from iotistic.agent.store.records import RecordStore
from iotistic.agent.store.sealing import Sealer, make_key, read_key
from iotistic.agent.store.snapshots import SnapshotStore, TargetStore

log = structlog.get_logger()

_PLACE, _KNOWN = "store_key", b"iotistic agent"
_FORGOTTEN = (
    "state_snapshots",
    "record",
    "endpoints",
    "sensor_outputs",
    "agent_metadata",
    "detector_states",
    "anomalies",
)


@dataclass(frozen=True)
class Store:
    """The agent's disk."""

    database: Database
    device: DeviceStore
    snapshots: SnapshotStore
    target: TargetStore
    record: RecordStore
    outbox: Outbox
    endpoints: EndpointStore
    sensor_outputs: SensorOutputStore
    metadata: MetadataStore
    anomalies: AnomalyStore

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        key_path: Path | None = None,
        clock: Callable[[], float] = time.time,
        outbox_bytes: int = DEFAULT_LIMIT_BYTES,
        executor: Executor | None = None,
    ) -> Self:
        """Open the agent's disk; the first start makes what is not there.

        Raises StoreKeyWrong, StoreKeyMissing, StoreInUse and StoreSchemaUnusable.
        """
        database = await open_database(path, executor)
        try:
            sealer = await _sealer(database, key_path or path.with_suffix(".key"))
            outbox = await open_outbox(database, sealer, clock, path.with_suffix(".epoch"), outbox_bytes)
        except BaseException:
            await database.close()
            raise
        snapshots = SnapshotStore(database, sealer, clock)
        return cls(
            database,
            DeviceStore(database, sealer, path.with_suffix(".identity")),
            snapshots,
            TargetStore(snapshots),
            RecordStore(database, sealer, clock),
            outbox,
            EndpointStore(database, sealer),
            SensorOutputStore(database, sealer),
            MetadataStore(database, sealer),
            AnomalyStore(database, sealer, clock),
        )

    async def factory_reset(self) -> Identity:
        """Forget everything but the uuid, so that nothing of it is left in the file. Raises StoreUnavailable."""

        def work(connection: sqlite3.Connection) -> None:
            for table in _FORGOTTEN:
                connection.execute(f"DELETE FROM {table}")  # noqa: S608  names of ours

        await self.database.run(work)
        await self.outbox.clear()
        identity = await self.device.factory_reset()
        await self.database.compact()
        return identity

    async def close(self) -> None:
        """Finish what is waiting, and let go of the disk."""
        await self.database.close()


async def _sealer(database: Database, key_path: Path) -> Sealer:
    """Return what seals, and make sure that the key is the right one."""
    sealed = await database.run(_read)
    try:
        key = read_key(key_path)
        if key is None and sealed is not None:
            raise StoreKeyMissing(
                f"{database.path} was sealed with a key, and {key_path} is not there",
                hint="put the key file back, or move the database away to start as a new device",
            )
        key = key or await database.aside(lambda: make_key(key_path))
    except OSError as exc:
        log.warning("store.key_not_kept", path=str(key_path), reason=str(exc))
        if sealed is not None:
            raise StoreKeyMissing(f"{key_path} cannot be read: {exc}") from exc
        key = b"\0" * 32  # nothing is kept that it could protect: the disk takes no writes
    sealer = Sealer(key)
    if sealed is None:
        known = sealer.seal(_KNOWN, _PLACE)
        await database.run(
            lambda connection: connection.execute("INSERT INTO store_key VALUES (1, ?)", (known,))
        )
        return sealer
    try:
        sealer.unseal(sealed, _PLACE)
    except SealBroken as exc:
        raise StoreKeyWrong(
            f"{key_path} is not the key that {database.path} was sealed with",
            hint="put the right key file back, or move the database away to start as a new device",
        ) from exc
    return sealer


def _read(connection: sqlite3.Connection) -> bytes | None:
    row = connection.execute("SELECT sealed FROM store_key").fetchone()
    return None if row is None else row[0]
