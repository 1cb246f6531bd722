"""Devices and readings in the test's database, and what the API should answer about them."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import numpy as np
from pydantic import SecretStr

from iotistic.control.access.addresses import ClientAddresses
from iotistic.control.access.rules import Gate
from iotistic.entrypoints.control.operator import OperatorOr
from iotistic.kernel.web.attempts import FailedAttempts

TOKEN = "iot_a-token-for-tests-only"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
MAC = "aabbccddee01"
MINUTE_US = 60_000_000

Row = tuple[datetime, int, int, float]


def operator_gate() -> Gate:
    """Let the operator of the tests in, and nobody else."""
    return Gate(
        callers=OperatorOr(SecretStr(TOKEN)),
        devices=None,
        addresses=ClientAddresses(),
        attempts=FailedAttempts(),
    )


def at(text: str) -> datetime:
    """Return an instant of 2026-03: `10 12:00:00`."""
    return datetime.fromisoformat(f"2026-03-{text}").replace(tzinfo=UTC)


async def until(condition: Callable[[], bool], *, within_s: float = 10) -> None:
    """Poll until `condition` holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - other processes and sockets set no event
            await asyncio.sleep(0.005)


class Store:
    """Writes rows as the sink does: with partitions, markers for the roller, and what each device shows."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.rows: list[Row] = []

    async def device(self, key: str, *, mac: str | None = None, template: str = "Generic JSON device") -> int:
        return await self.connection.fetchval(
            "INSERT INTO devices (devicename, devicetemplateid, macaddress, externalkey) "
            "SELECT $1, id, $2, $1 FROM devicetemplates WHERE name = $3 RETURNING id",
            key, mac, template,
        )  # fmt: skip

    async def datapoint(
        self, label: str, *, unit: str | None = None, template: str = "Generic JSON device"
    ) -> int:
        return await self.connection.fetchval(
            "INSERT INTO datapoints (devicetemplateid, label, append) "
            "SELECT id, $1, $2 FROM devicetemplates WHERE name = $3 RETURNING id",
            label, unit, template,
        )  # fmt: skip

    async def add(self, rows: Sequence[Row], *, mark: bool = True) -> None:
        days = sorted({row[0].date() for row in rows})
        await self.connection.execute("SELECT ensure_partitions($1::date[])", days)
        await self.connection.copy_records_to_table(
            "decoded_data", records=rows, columns=["timestamp", "device_id", "datapoint_id", "value"]
        )
        await self._show({row[1:3] for row in rows})
        if mark:
            minutes = {(row[0].replace(second=0, microsecond=0), row[1]) for row in rows}
            await self.connection.copy_records_to_table(
                "rollup_pending", records=sorted(minutes), columns=["minute", "device_id"]
            )
        self.rows.extend(rows)

    async def add_events(self, rows: Sequence[tuple[datetime, int, int, str]]) -> None:
        await self.connection.execute(
            "SELECT ensure_partitions($1::date[])", sorted({row[0].date() for row in rows})
        )
        await self.connection.copy_records_to_table(
            "telemetry_events", records=rows, columns=["timestamp", "device_id", "datapoint_id", "value"]
        )
        await self._show({row[1:3] for row in rows})

    async def dead_letter(self, reason: str, *, topic: bytes = b"tele/x", payload: bytes = b"?") -> int:
        return await self.connection.fetchval(
            "INSERT INTO dead_letters (topic, payload, reason, detail) VALUES ($1, $2, $3, 'why') RETURNING id",
            topic, payload, reason,
        )  # fmt: skip

    async def _show(self, pairs: set[tuple[int, int]]) -> None:
        await self.connection.executemany(
            "INSERT INTO device_datapoints (device_id, datapoint_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            sorted(pairs),
        )

    def brute_force(self, device: int, datapoint: int, answer: dict) -> list[tuple]:
        """Return (time, min, max, avg, count) of the buckets of a series answer, from all rows."""
        start, end = (datetime.fromisoformat(answer[edge]) for edge in ("start", "end"))
        width = timedelta(seconds=answer["bucket_s"])
        buckets: dict[datetime, list[float]] = {}
        for when, row_device, row_datapoint, value in self.rows:
            if (row_device, row_datapoint) == (device, datapoint) and start <= when < end:
                buckets.setdefault(start + (when - start) // width * width, []).append(value)
        return [
            (when, min(values), max(values), sum(values) / len(values), len(values))
            for when, values in sorted(buckets.items())
        ]


def random_rows(
    device: int, datapoint: int, *, start: datetime, end: datetime, count: int, seed: int = 1
) -> list[Row]:
    """Return rows at distinct random instants of [start, end)."""
    random = np.random.default_rng(seed)
    span_us = int((end - start).total_seconds() * 1e6)
    offsets = np.unique(random.integers(0, span_us, count))
    values = np.round(random.normal(20, 5, len(offsets)), 3)
    return [
        (start + timedelta(microseconds=int(offset)), device, datapoint, float(value))
        for offset, value in zip(offsets, values, strict=True)
    ]
