"""Notice signs of life, sessions and partings.

    poll, report, logs --renew--> memory --flush, each round--> lease --sweep--> gone, once

- `renew` costs a look into a dict. What a crash loses of it is a round's worth, a hundredth of a lease.
- A lease is ended by the sweep only, in the transaction that shows that somebody listened all the while.
- Of two sessions the newer counts, in whatever order their ends are heard of.
- A transition is written in one transaction with its history and whatever the journal adds.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import structlog

from iotistic.control.devices.model import DeviceUnknown
from iotistic.control.presence import repository
from iotistic.control.presence.model import Journal, Parting, Sign, Standing, Transition
from iotistic.control.presence.settings import PresenceSettings
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_BATCH = 2000
_FORGET_BATCH = 5000


class Presence:
    """Who is here, over one database; `monotonic` is a steady time in seconds."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: PresenceSettings,
        *,
        journal: Journal | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool, self._settings, self._journal, self._monotonic = pool, settings, journal, monotonic
        self._lease = timedelta(seconds=settings.presence_lease_s)
        self._noticed: dict[str, tuple[float, Sign]] = {}
        self._written: dict[str, float] = {}
        self._pruned_at = monotonic()

    def renew(self, uuid: str, sign: Sign) -> None:
        """Notice a sign of life of a device that proved who it is; it is written down with the next round."""
        now = self._monotonic()
        if now - self._written.get(uuid, -1e9) >= self._settings.presence_write_s:
            self._noticed[uuid] = (now, sign)

    async def flush(self) -> int:
        """Write down what was noticed; return how many devices. What cannot be written is noticed still."""
        self._prune()
        taken, self._noticed = self._noticed, {}
        todo = list(taken.items())
        try:
            for start in range(0, len(todo), _BATCH):
                await self._write(dict(todo[start : start + _BATCH]))
        except BaseException:
            self._noticed = taken | self._noticed
            raise
        return len(taken)

    async def opened(self, uuid: str) -> int:
        """Begin an MQTT session; return its epoch, which its end is told with. Raises DeviceUnknown."""
        found = await self.all_opened([uuid])
        if uuid not in found:
            raise DeviceUnknown(uuid=uuid)
        return found[uuid]

    async def all_opened(self, uuids: Sequence[str]) -> dict[str, int]:
        """Begin sessions of several devices, each named once; return their epochs, without those that nobody knows."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                epochs, came = await repository.open_sessions(db, uuids, Sign.MQTT, self._lease)
                await self._record(db, came)
        return epochs

    async def closed(self, uuid: str, epoch: int) -> bool:
        """End a session: without another sign of life its device is gone after a grace.

        Returns False when a newer session stands: then nothing changes.
        """
        return bool(await self.all_closed([(uuid, epoch)]))

    async def all_closed(self, sessions: Sequence[tuple[str, int | None]]) -> list[str]:
        """End sessions of several devices, each named once; None is the newest, whichever that is.

        Returns those whose newest it was.
        """
        return await self._close(sessions, timedelta(seconds=self._settings.presence_grace_s))

    async def left(self, uuid: str) -> None:
        """Let a device be gone that said goodbye, until it gives another sign."""
        await self._close([(uuid, None)], timedelta())
        await self.end([uuid], Parting.GOODBYE)

    async def end(self, uuids: Sequence[str], reason: Parting) -> list[Transition]:
        """Let devices be gone now; return who was here until now."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                return await self.end_in(db, uuids, reason)

    async def end_in(self, db: Any, uuids: Sequence[str], reason: Parting) -> list[Transition]:
        """Do the same in the caller's transaction."""
        for uuid in uuids:
            self._forget_noticed(uuid)
        rows = await repository.end(db, uuids, await repository.now_of(db))
        gone = [_going(row, reason) for row in rows]
        await self._record(db, gone)
        return gone

    async def deactivated(self, db: Any, uuids: Sequence[str]) -> None:
        """Let devices be gone that were switched off, in the caller's transaction."""
        await self.end_in(db, uuids, Parting.DEACTIVATED)

    async def sweep(self) -> int:
        """Show that somebody listens, and end the leases that are over; return how many.

        Time in which nobody listened is added to the leases that ran, and so is a jump of the clock.
        """
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                found = await repository.watched(db)
                if found is None:  # another keeper is at it
                    return 0
                alive_at, now = found
                await self._pardon(db, alive_at, now)
                await repository.watch(db, now)
                uuids = await repository.over(db, now, _BATCH)
                rows = await repository.end(db, uuids, now) if uuids else []
                gone = [_going(row, None) for row in rows]
                await self._record(db, gone)
        return len(gone)

    async def check(self) -> int:
        """Write down what this process noticed and end every lease that is over; return how many were."""
        await self.flush()
        total = 0
        while (gone := await self.sweep()) > 0:
            total += gone
        return total

    async def heartbeat(self) -> dict[str, Any]:
        """Return how presence is looked after: times, and how many devices are here."""
        settings = self._settings
        with database_errors():
            row = await repository.tally(self._pool, timedelta(seconds=settings.presence_outage_s))
        return {
            **dict(row),
            "lease_s": settings.presence_lease_s,
            "grace_s": settings.presence_grace_s,
            "check_interval_s": settings.presence_beat_s,
        }

    async def forget(self) -> int:
        """Drop old history; return how many rows."""
        age = timedelta(days=self._settings.presence_history_days)
        total = 0
        with database_errors():
            before = await repository.now_of(self._pool) - age
            while count := await repository.forget(self._pool, before, _FORGET_BATCH):
                total += count
        return total

    async def standing(self, uuid: str) -> Standing:
        """Return how a device stands. Raises DeviceUnknown."""
        with database_errors():
            found = await repository.find(self._pool, uuid)
        if found is None:
            raise DeviceUnknown(uuid=uuid)
        return found

    async def history(self, uuid: str, *, before: int | None, limit: int) -> list[tuple[int, Transition]]:
        """Return comings and goings with their ids, the newest first."""
        with database_errors():
            return await repository.history(self._pool, uuid, before, limit)

    async def _write(self, noticed: Mapping[str, tuple[float, Sign]]) -> None:
        now = self._monotonic()
        signs = [(uuid, max(0.0, now - at), sign.value) for uuid, (at, sign) in noticed.items()]
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await self._record(db, await repository.renew(db, signs, self._lease))
        self._written.update((uuid, at) for uuid, (at, _) in noticed.items())

    async def _close(self, sessions: Sequence[tuple[str, int | None]], grace: timedelta) -> list[str]:
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                closed = await repository.close_sessions(db, sessions, grace)
        for uuid in closed:
            self._forget_noticed(uuid)
        return closed

    async def _pardon(self, db: Any, alive_at: Any, now: Any) -> None:
        jump = now - alive_at
        if abs(jump.total_seconds()) < self._settings.presence_outage_s:
            return
        devices = await repository.put_off(db, alive_at, jump, now)
        log.warning("presence.put_off", seconds=round(jump.total_seconds(), 1), devices=devices)

    async def _record(self, db: Any, transitions: Sequence[Transition]) -> None:
        if not transitions:
            return
        await repository.remember(db, transitions)
        if self._journal is not None:
            await self._journal.note(db, transitions)
        came = sum(one.is_online for one in transitions)
        log.info("presence.changed", online=came, offline=len(transitions) - came)

    def _forget_noticed(self, uuid: str) -> None:
        self._noticed.pop(uuid, None)
        self._written.pop(uuid, None)

    def _prune(self) -> None:
        now = self._monotonic()
        if now - self._pruned_at > self._settings.presence_lease_s:
            self._pruned_at, young = now, now - self._settings.presence_write_s
            self._written = {uuid: at for uuid, at in self._written.items() if at > young}


def _going(row: Any, reason: Parting | None) -> Transition:
    if reason is None:
        reason = Parting.SILENT if row["closed_at"] is None else Parting.DISCONNECTED
    return Transition(
        device_uuid=row["device_uuid"],
        is_online=False,
        at=row["changed_at"],
        reason=reason.value,
        epoch=row["epoch"],
    )
