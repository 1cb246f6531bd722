"""Certificates of our authority that others issue and revoke: they stand in the same revocation list.

A broker heeds one list of an authority. So whoever signs with our key says here what may not be accepted any more,
and `ElsewhereWatch` publishes anew when that has changed, both when something was revoked and when it was not meant
any more. Asked every two seconds: nobody has to remember to tell us, and nothing is lost with a process.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import asyncpg
import structlog

from iotistic.kernel.errors import IotisticError
from iotistic.pki.model import Certificate

log = structlog.get_logger()

_LOOK_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Refused:
    """A certificate that may not be accepted, and the client id that it gives at the broker.

    `is_replaced`: its holder has another one that is good.
    """

    certificate: Certificate
    client: str
    is_replaced: bool


class RevokedElsewhere(Protocol):
    """Who else revokes."""

    async def serials(self, now: datetime) -> frozenset[str]:
        """Return the serial numbers of all that is not over. Raises DatabaseUnavailable."""
        ...

    async def refused(self, now: datetime) -> Sequence[Refused]:
        """Return all that is not over. Raises DatabaseUnavailable."""
        ...


class Publishing(Protocol):
    """The list, as far as it is needed here."""

    async def publish(self, put_off: Sequence[str] = ()) -> bool:
        """Make and publish the list, then end the connections of `put_off`."""
        ...


class ElsewhereWatch:
    """Has the list made anew when others have revoked."""

    def __init__(
        self,
        source: RevokedElsewhere,
        revocations: Publishing,
        clock: Callable[[], datetime],
        *,
        every_s: float = _LOOK_EVERY_S,
    ) -> None:
        self._source, self._revocations, self._clock, self._every_s = source, revocations, clock, every_s
        self._known: frozenset[str] | None = None

    async def run(self) -> None:
        """Look until cancelled."""
        failing = False
        while True:
            try:
                await self.look()
                failing = False
            except (IotisticError, asyncpg.PostgresError, OSError) as exc:
                if not failing:
                    log.warning("crl.elsewhere_not_asked", error=str(exc))
                failing = True
            await asyncio.sleep(self._every_s)

    async def look(self) -> bool:
        """Publish when something has changed since the last look; return whether it was so.

        The first look puts off all that have no good certificate; later ones also those that have another: whoever
        holds the old one may be connected with it.
        """
        known = self._known
        if await self._source.serials(self._clock()) == known:
            return False
        refused = await self._source.refused(self._clock())
        serials = frozenset(one.certificate.serial for one in refused)
        if known is None:
            put_off = {one.client for one in refused if not one.is_replaced}
        else:
            put_off = {one.client for one in refused if one.certificate.serial not in known}
        await self._revocations.publish(sorted(put_off))
        self._known = serials
        log.info("crl.elsewhere_published", refused=len(serials), put_off=len(put_off))
        return True


async def certificates_of(source: RevokedElsewhere | None, now: datetime) -> list[Certificate]:
    """Return what belongs in the list beside our own."""
    return [] if source is None else [one.certificate for one in await source.refused(now)]
