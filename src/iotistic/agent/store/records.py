"""The reconciler's memory, on disk: what has to outlive the process, and nothing that only paces it.

Written when it changed, and not otherwise. A disk that takes no writes does not hold the reconciler up: the
next save tries again.
"""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, cast

import structlog

from iotistic.agent.reconcile.record import Record
from iotistic.agent.store.database import Database
from iotistic.agent.store.errors import SealBroken, StoreUnavailable
from iotistic.agent.store.sealing import Sealer, canonical
from iotistic.planning.model import Failures, Release, ServiceConfig, ServiceKey
from iotistic.planning.writing import read_written, write_config

log = structlog.get_logger()

_PLACE = "record"


class RecordStore:
    """Where one agent's memory is kept."""

    def __init__(self, database: Database, sealer: Sealer, clock: Callable[[], float]) -> None:
        self._database, self._sealer, self._clock = database, sealer, clock
        self._saved = (b"", 0)

    async def load(self) -> Record:
        """Return the memory; an empty one when there is none that can be read."""
        sealed = await self._database.run(_read)
        if sealed is None:
            return Record()
        try:
            written = self._sealer.unseal(sealed, _PLACE)
            record = read_record(self._sealer.unseal_json(sealed, _PLACE))
        except (SealBroken, KeyError, TypeError, ValueError, AttributeError) as exc:
            log.warning("store.record_unreadable", reason=str(exc))
            return Record()
        self._saved = (written, self._database.rebuilds)
        return record

    async def save(self, record: Record) -> None:
        """Keep the memory if it changed; on a disk that takes no writes it stays unsaved."""
        written = canonical(write_record(record))
        if (written, self._database.rebuilds) == self._saved:
            return
        sealed, now = self._sealer.seal(written, _PLACE), self._clock()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO record (id, sealed, saved_at) VALUES (1, ?, ?)", (sealed, now)
            )

        try:
            await self._database.run(work)
        except StoreUnavailable:
            return  # the database has said why, once
        self._saved = (written, self._database.rebuilds)


def write_record(record: Record) -> dict[str, Any]:
    """Return what has to outlive the process as JSON values, in an order that is always the same."""
    return {
        "crashes": [
            {
                "service": list(release.key),
                "config": write_config(release.config),
                "count": crashed.count,
                "at": crashed.at,
                "reason": crashed.reason,
            }
            for release, crashed in sorted(record.crashes.items(), key=lambda one: (one[0].key, one[1].at))
        ],
        "last_good": [
            {"service": list(key), "config": write_config(config)}
            for key, config in sorted(record.last_good.items(), key=lambda one: one[0])
        ],
        "stopped": sorted(record.stopped),
        "applied": {id_: write_config(config) for id_, config in sorted(record.applied.items())},
        "held": sorted(record.held),
        "fetched": sorted(record.fetched),
        "purged_at": dict(sorted(record.purged_at.items())),
    }


def read_record(written: Mapping[str, Any]) -> Record:
    """Read what `write_record` wrote; a configuration that cannot be read any more is left out.

    Raises KeyError, TypeError and ValueError for anything else that it did not write.
    """
    record = Record(
        stopped=set(written["stopped"]),
        held=set(written["held"]),
        fetched=set(written["fetched"]),
        purged_at={str(app_id): float(at) for app_id, at in written["purged_at"].items()},
    )
    for one in written["crashes"]:
        if (config := _config(one["config"])) is not None:
            crashed = Failures(int(one["count"]), float(one["at"]), str(one["reason"]))
            record.crashes[Release(_key(one["service"]), config)] = crashed
    for one in written["last_good"]:
        if (config := _config(one["config"])) is not None:
            record.last_good[_key(one["service"])] = config
    for id_, kept in cast("dict[str, Any]", written["applied"]).items():
        if (config := _config(kept)) is not None:
            record.applied[id_] = config
    return record


def _config(written: object) -> ServiceConfig | None:
    config = read_written(written)
    if config is None:
        log.warning("store.config_unreadable")
    return config


def _key(written: list[str]) -> ServiceKey:
    app_id, service_id = written
    return ServiceKey(app_id, service_id)


def _read(connection: sqlite3.Connection) -> bytes | None:
    row = connection.execute("SELECT sealed FROM record").fetchone()
    return None if row is None else row[0]
