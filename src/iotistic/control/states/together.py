"""Polls and reports that are as they nearly always are, of many devices at once: one statement, one commit.

    polls   --> who asks, and what he has  --> "you have it"      else: StateService.poll
    reports --> who says it --> merge, commit --> "it is stored"  else: StateService.report

This only ever says yes. Whatever is unusual (a wrong key, a new target, a report that changes the state that events
follow, is refused by the database, or takes a device away) is left to StateService, as if it had come there first.
A report counts once it is committed; one that is then left to StateService is merged again, which changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeGuard

import asyncpg
from prometheus_client import Counter

from iotistic.control.audit.port import NO_EVENTS, Events
from iotistic.control.devices.keys import digest_of, is_key, prefix_of
from iotistic.control.devices.service import utc_now
from iotistic.control.states import together_rows
from iotistic.control.states.model import first_target
from iotistic.control.states.service import Witness
from iotistic.control.states.together_rows import Known
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.grouping import Grouped
from iotistic.kernel.postgres.pool import database_errors

REPORTS = Counter("iotistic_state_reports_together", "Reports by whether they went with others", ["outcome"])

_FIRST_ETAG = first_target().etag
# A device whose row somebody else holds keeps the others waiting no longer than this; it goes by itself then.
_LOCK_WITHIN = "200ms"


@dataclass(frozen=True, slots=True)
class _Report:
    uuid: str
    key: bytes
    fields: Mapping[str, Any]
    text: str
    at: datetime


class StatesTogether:
    """The short way of devices that ask and tell what they always do."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        witness: Witness,
        *,
        events: Events = NO_EVENTS,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool, self._witness, self._events, self._clock = pool, witness, events, clock
        self._knowing = Grouped(self._recognise, name="device-keys")
        self._merging = Grouped(self._store, name="device-reports", most=200)

    async def current_etag(self, uuid: str, api_key: str, etags: Sequence[str]) -> str | None:
        """Return the ETag of a device's target, when it has that one; None leaves the poll to StateService."""
        presented = digest_of(api_key)
        known = await self._knowing.ask((uuid, prefix_of(presented)))
        if not _is_good(known, presented) or (etag := known.etag or _FIRST_ETAG) not in etags:
            return None
        self._witness.polled(uuid)
        return etag

    async def stored(self, uuid: str, api_key: str, fields: Mapping[str, Any], text: str) -> bool:
        """Say whether a report, read and as JSON text, is stored; False leaves it to StateService."""
        if fields.get("is_online") is False:
            return False
        now = self._clock()
        is_stored = await self._merging.ask(_Report(uuid, digest_of(api_key), fields, text, now))
        REPORTS.labels("together" if is_stored else "alone").inc()
        if is_stored:
            await self._witness.reported(uuid, fields, now)
        return is_stored

    async def _recognise(self, shown: Sequence[tuple[str, bytes]]) -> Sequence[Known | None]:
        with database_errors():
            return await together_rows.recognise(self._pool, shown, self._clock())

    async def _store(self, reports: Sequence[_Report]) -> list[bool]:
        """Store what can be stored together; of a device that said several things at once, the first."""
        first: dict[str, int] = {}
        for place, report in enumerate(reports):
            first.setdefault(report.uuid, place)
        # In one order everywhere, so that no two processes wait for each other.
        places = sorted(first.values(), key=lambda place: reports[place].uuid)
        chosen = [reports[place] for place in places]
        try:
            with database_errors():
                unusual = await self._merge(chosen)
        except (asyncpg.PostgresError, asyncpg.DataError, IotisticError):
            # One of them is not storable, or a row is held; StateService finds out which, and tells its device.
            return [False] * len(reports)
        stored = {place for number, place in enumerate(places) if number not in unusual}
        return [place in stored for place in range(len(reports))]

    async def _merge(self, reports: Sequence[_Report]) -> set[int]:
        """Store reports; return the places of those that are not stored.

        Their key is not good, or they change what events follow.
        """
        shown = [(one.uuid, prefix_of(one.key)) for one in reports]
        async with self._pool.acquire() as db, db.transaction():
            known = await together_rows.recognise(db, shown, self._clock())
            good = [place for place, one in enumerate(reports) if _is_good(known[place], one.key)]
            await db.execute("SELECT set_config('lock_timeout', $1, true)", _LOCK_WITHIN)
            told = [(reports[place].uuid, reports[place].fields) for place in good]
            changing = {good[number] for number in await self._events.changing(db, told)}
            usual = [place for place in good if place not in changing]
            texts = [(reports[place].uuid, reports[place].text, reports[place].at) for place in usual]
            if texts:
                await together_rows.merge_reports(db, texts)
        return set(range(len(reports))).difference(usual)


def _is_good(known: Known | None, key: bytes) -> TypeGuard[Known]:
    return known is not None and known.is_active and is_key(known.digest, key)
