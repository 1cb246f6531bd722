"""Why: the use case."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import asyncpg

from iotistic.control.why.catalogue import Catalogue
from iotistic.control.why.engine import explain
from iotistic.control.why.facts import Facts
from iotistic.control.why.gathering import FactProvider, PresenceProvider, gather
from iotistic.control.why.model import Answer, WhyDeviceUnknown
from iotistic.control.why.port import About
from iotistic.control.why.records import utc_now
from iotistic.control.why.settings import WhySettings
from iotistic.kernel.postgres.pool import database_errors


class WhyService:
    """Answers why a device is as it is. `providers` and `catalogue` are how other rooms take part."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: WhySettings,
        *,
        presence: PresenceProvider | None = None,
        providers: Sequence[FactProvider] = (),
        catalogue: Catalogue | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool, self._clock = pool, clock
        self._silent_after = timedelta(seconds=settings.why_silent_after_s)
        self._presence, self._providers = presence, providers
        self._catalogue = catalogue or Catalogue()

    async def ask(self, uuid: str, about: About | None = None, *, now: datetime | None = None) -> Answer:
        """Return why. Without `about`, what is wrong is found: offline, not updated, limited, rolled back, in this order.

        Raises WhyDeviceUnknown.
        """
        facts = await self._facts(uuid, now or self._clock())
        if about is not None:
            return explain(facts, about, self._catalogue)
        answers = [explain(facts, one, self._catalogue) for one in About]
        return next((answer for answer in answers if not answer.chain[0].is_normal), answers[0])

    async def _facts(self, uuid: str, now: datetime) -> Facts:
        with database_errors():
            async with self._pool.acquire() as db:
                facts = await gather(
                    db,
                    uuid,
                    now,
                    silent_after=self._silent_after,
                    presence=self._presence,
                    providers=self._providers,
                )
        is_known = facts.device or facts.attempts or facts.more.get("lifecycle")
        if not is_known and not any(record.device for record in facts.records):
            raise WhyDeviceUnknown(hint="compare the uuid with the device's: `iotctl device`", uuid=uuid)
        return facts
