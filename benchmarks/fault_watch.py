"""How long it takes to heal: for every fault, from its instant until readings flow and nothing is missing.

    flowing   of every device a message published after the fault is stored (seen in the readings' table)
    whole     of every device everything published before the fault is stored (as the ledger says)

Both are looked at every 50 ms; the ledger adds up what sinks noted every LEDGER_FOLD_S.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import asyncpg

from benchmarks.fault_devices import Device
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import open_connection

_LOOK_EVERY_S = 0.05
_ANSWER_WITHIN_S = 5.0
_AWAY = (IotisticError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_NEWER_THAN = timedelta(minutes=10)

_NEWEST = """
SELECT s.source, (SELECT (extract(epoch FROM max(d."timestamp")) * 1000000)::bigint FROM decoded_data d
                  WHERE d.device_id = s.device AND d.datapoint_id = s.datapoint AND d."timestamp" > $4)
FROM unnest($1::text[], $2::int[], $3::int[]) AS s (source, device, datapoint)
"""
_WHOLE_TO = """
SELECT source, (SELECT upper(r) - 1 FROM unnest(received) AS r WHERE lower(r) = 1) FROM ledger_epochs
"""
_SERIES = """
SELECT device_id, datapoint_id, (extract(epoch FROM min("timestamp")) * 1000000)::bigint
FROM decoded_data GROUP BY device_id, datapoint_id
"""


@dataclass
class Fault:
    """Something that was broken, and when it was whole again (seconds after; None: not yet)."""

    what: str
    published: Mapping[str, int]
    """How many messages each device had published by then."""
    at: float = field(default_factory=time.monotonic)
    at_us: int = field(default_factory=lambda: time.time_ns() // 1000)
    flowing_s: float | None = None
    whole_s: float | None = None

    @property
    def healed(self) -> bool:
        """Whether it has flowed and is whole."""
        return self.flowing_s is not None and self.whole_s is not None

    def note(self, newest_us: Mapping[str, int], whole_to: Mapping[str, int], now: float) -> None:
        """Compare with what is stored: newest time, and number up to which nothing is missing, by device."""
        if self.flowing_s is None and all(newest_us.get(one, 0) > self.at_us for one in self.published):
            self.flowing_s = now - self.at
        if self.whole_s is None and all(
            whole_to.get(one, 0) >= count for one, count in self.published.items()
        ):
            self.whole_s = now - self.at


class HealingWatch:
    """Looks at the database, over a connection of its own that is opened again when it breaks."""

    def __init__(self, dsn: Dsn, devices: Sequence[Device], say: Callable[[str], None]) -> None:
        self._dsn, self._devices, self._say = dsn, devices, say
        self._connection: asyncpg.Connection | None = None
        self._series: list[tuple[str, int, int]] = []
        self.faults: list[Fault] = []
        self.whole_to: dict[str, int] = {}

    def broken(self, what: str) -> Fault:
        """Note that something is about to be broken, now."""
        fault = Fault(what, {device.source: len(device.published) for device in self._devices})
        self.faults.append(fault)
        return fault

    @property
    def open(self) -> list[Fault]:
        """Faults that have not healed."""
        return [fault for fault in self.faults if not fault.healed]

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                try:
                    await self._look()
                except _AWAY:  # a database that dies in the middle of an answer is part of what is watched
                    self._abandon()
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            self._abandon()

    async def _look(self) -> None:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            if self._connection is None or self._connection.is_closed():
                self._connection = await open_connection(self._dsn, application_name="healing")
            connection = self._connection
            if len(self._series) < len(self._devices):
                self._series = await self._find_series(connection)
            rows = await connection.fetch(_WHOLE_TO)
            self.whole_to = {source: number or 0 for source, number in rows}
            newest = dict(await connection.fetch(_NEWEST, *self._columns())) if self.open else {}
        now = time.monotonic()
        for fault in self.open:
            fault.note({one: at or 0 for one, at in newest.items()}, self.whole_to, now)
            if fault.healed:
                self._say(
                    f"{fault.what}: flowing after {fault.flowing_s:.2f} s, whole after {fault.whole_s:.2f} s"
                )

    async def _find_series(self, connection: asyncpg.Connection) -> list[tuple[str, int, int]]:
        """Return one series of each device: the one that holds its first message."""
        first = {device.published[0]: device.source for device in self._devices if device.published}
        rows = await connection.fetch(_SERIES)
        found = {first[at_us]: (device, datapoint) for device, datapoint, at_us in rows if at_us in first}
        return [(source, *series) for source, series in found.items()]

    def _columns(self) -> tuple[object, ...]:
        sources, devices, datapoints = zip(*self._series, strict=True) if self._series else ((), (), ())
        since = datetime.now(UTC) - _NEWER_THAN
        return list(sources), list(devices), list(datapoints), since

    def _abandon(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
