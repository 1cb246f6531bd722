"""Take uploads, answer searches.

An upload is committed in pieces of a thousand lines. What breaks off in between, by a lost connection or a crash,
is simply sent again: lines that are there already are counted as such and kept once.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import structlog

from iotistic.control.devicelogs import repository
from iotistic.control.devicelogs.allowance import Allowance
from iotistic.control.devicelogs.line import MOST_LINE, LineExpired, LineReader, LineRefused, LogLine
from iotistic.control.devicelogs.repository import LineFilter, Position
from iotistic.control.devicelogs.settings import DeviceLogSettings
from iotistic.control.devicelogs.unpacking import lines, unpacked, whole
from iotistic.control.devices.model import DeviceUnknown
from iotistic.control.devices.service import utc_now
from iotistic.control.history.partitions import LOG_ARRIVALS, LOGS, inserting
from iotistic.control.history.settings import HistorySettings
from iotistic.kernel.errors import Invalid, Unavailable
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_TOGETHER = 1000
_TOGETHER_BYTES = 1024 * 1024
_MOST_FAULTS = 10
_LOOKED_AT = 50_000

_decoder = msgspec.json.Decoder()


class LogsBusy(Unavailable):
    """Too many devices send logs at once; try again in a moment."""

    code = "logs.busy"


class LogsUnreadable(Invalid):
    """No line of this can be read."""

    code = "logs.unreadable"


@dataclass(slots=True)
class Receipt:
    """What became of an upload; `faults` are the first of those refused, by the number of their line."""

    read: int = 0
    stored: int = 0
    expired: int = 0
    refused: int = 0
    faults: dict[int, str] = field(default_factory=dict[int, str])

    @property
    def duplicates(self) -> int:
        """Lines that were there already."""
        return self.read - self.stored

    def refuse(self, reason: str) -> None:
        """Count a line that is none."""
        self.refused += 1
        if len(self.faults) < _MOST_FAULTS:
            self.faults[self.read + self.expired + self.refused] = reason


@dataclass(frozen=True, slots=True)
class Found:
    """Lines, the newest first, and where to go on; None at the end of all."""

    lines: list[Any]
    next_position: Position | None


class DeviceLogs:
    """Logs of one database; `bell` is rung with a device's number when lines of it were kept."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: DeviceLogSettings,
        history: HistorySettings,
        *,
        bell: Callable[[int], None] | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool, self._settings, self._clock, self._bell = pool, settings, clock, bell
        self._kept = timedelta(days=history.device_logs_days)
        self._allowance = Allowance(settings.device_log_bytes_per_hour)
        self._uploads = 0

    async def upload(
        self, uuid: str, body: AsyncIterator[bytes], encoding: str, *, is_array: bool = False
    ) -> Receipt:
        """Keep the lines of a body: NDJSON of any size, or one JSON array of 4 MiB at most.

        Raises LogsBusy, LogsTooMany, BodyInvalid, BodyTooLarge, LogsUnreadable, DeviceUnknown.
        """
        self._allowance.check(uuid)
        if self._uploads >= self._settings.device_log_uploads:
            wait_s = random.uniform(2, 10)  # noqa: S311  so that they do not all come back at once
            raise LogsBusy(retry_after_s=wait_s, hint=f"wait {wait_s:.0f} s", limit=self._uploads)
        self._uploads += 1
        try:
            return await self._upload(uuid, body, encoding, is_array=is_array)
        finally:
            self._uploads -= 1

    async def number(self, uuid: str) -> int:
        """Return the number of a device. Raises DeviceUnknown."""
        with database_errors():
            found = await repository.number_of(self._pool, uuid)
        if found is None:
            raise DeviceUnknown(uuid=uuid)
        return found

    async def search(
        self, number: int, wanted: LineFilter, *, since: datetime, before: Position, limit: int
    ) -> Found:
        """Return lines, the newest first. One search looks at 50,000 lines; a rare text takes several."""
        with database_errors():
            rows = await repository.search(
                self._pool, number, wanted, since=since, before=before, looked_at=_LOOKED_AT, limit=limit
            )
            if len(rows) == limit:
                return Found(rows, (rows[-1]["at"], rows[-1]["key"]))
            end = await repository.position_after(
                self._pool, number, since=since, before=before, looked_at=_LOOKED_AT
            )
        return Found(rows, end)

    async def services(self, number: int) -> list[Any]:
        """Return the services that a device has lines of."""
        with database_errors():
            return await repository.services(self._pool, number)

    async def _upload(
        self, uuid: str, body: AsyncIterator[bytes], encoding: str, *, is_array: bool
    ) -> Receipt:
        number = await self.number(uuid)
        reader, receipt = LineReader(self._clock(), self._kept), Receipt()
        waiting: list[LogLine] = []
        size = 0

        def too_long() -> None:
            receipt.refuse(f"is longer than {MOST_LINE} bytes")

        pieces = unpacked(body, encoding, lambda count: self._allowance.spend(uuid, count))
        try:
            async for some in whole(pieces) if is_array else lines(pieces, too_long):
                for one in some:
                    size += len(one)
                    waiting += _read(reader, one, receipt)
                    if len(waiting) >= _TOGETHER or size >= _TOGETHER_BYTES:
                        receipt.stored += await self._keep(number, waiting)
                        waiting, size = [], 0
        finally:
            # Whatever ended the upload, what was read of it is kept.
            if waiting:
                receipt.stored += await asyncio.shield(self._keep(number, waiting))
        if receipt.refused and not receipt.read and not receipt.expired:
            raise LogsUnreadable(
                hint="send one JSON object a line", lines=receipt.refused, faults=receipt.faults
            )
        return receipt

    async def _keep(self, number: int, waiting: Sequence[LogLine]) -> int:
        now = self._clock()

        async def insert() -> int:
            async with self._pool.acquire() as db, db.transaction():
                return await repository.add(db, number, waiting, now)

        with database_errors():
            stored = await inserting(
                self._pool, (LOGS, LOG_ARRIVALS), [now, *(line.at for line in waiting)], insert
            )
        if stored and self._bell is not None:
            self._bell(number)
        return stored


def _read(reader: LineReader, written: bytes, receipt: Receipt) -> list[LogLine]:
    """Return the line that is written, or all of an array."""
    try:
        document: object = _decoder.decode(written)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        receipt.refuse("is no JSON")
        return []
    found: list[LogLine] = []
    for one in document if isinstance(document, list) else [document]:  # pyright: ignore[reportUnknownVariableType]
        try:
            found.append(reader.read(one))  # pyright: ignore[reportUnknownArgumentType]
        except LineExpired:
            receipt.expired += 1
        except LineRefused as exc:
            receipt.refuse(str(exc))
        else:
            receipt.read += 1
    return found
