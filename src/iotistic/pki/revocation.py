"""From a row that says revoked to a broker that refuses: list, file, broker, in this order.

A revocation is committed first. The list is then made from the database, never changed by hand, so a
crash at any point is mended by the next list: at the next start, at the next revocation, or within a day.
Clients still to be put off are remembered until the broker has answered.

Invariants: one list is made at a time, so that a later list never holds less than an earlier one; it bears
a later second, because of lists that it holds OpenSSL heeds the latest.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import structlog
from cryptography import x509

from iotistic.kernel.errors import IotisticError
from iotistic.kernel.files import PUBLIC, write_atomic
from iotistic.kernel.postgres.pool import database_errors
from iotistic.pki import repository
from iotistic.pki.ca import CLOCK_SKEW, CertificateAuthority
from iotistic.pki.elsewhere import RevokedElsewhere, certificates_of
from iotistic.pki.model import BrokerGate

log = structlog.get_logger()

_REFRESH_S = 24 * 3600.0  # lists live seven days, so six refreshes may fail before devices are locked out
_SECOND = timedelta(seconds=1)


class RevocationList:
    """Publishes the revocation list and puts revoked clients off."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        authority: CertificateAuthority,
        gate: BrokerGate | None,
        *,
        path: Path,
        clock: Callable[[], datetime],
        retry_s: float = 2.0,
        elsewhere: RevokedElsewhere | None = None,
    ) -> None:
        """`gate` is None for a broker that is not ours, which has to fetch the list by itself.

        `elsewhere` are those who sign with the same authority and revoke what they signed.
        """
        self._pool = pool
        self._authority = authority
        self._gate = gate
        self._path = path
        self._clock = clock
        self._retry_s = retry_s
        self._elsewhere = elsewhere
        self._lock = asyncio.Lock()
        self._again = asyncio.Event()
        self._waiting: set[str] = set()
        self._pem = b""
        self._asked = 0
        self._made_for = 0
        self._enforced = False

    @property
    def pem(self) -> bytes:
        """The list in force."""
        return self._pem

    async def publish(self, put_off: Iterable[str] = ()) -> bool:
        """Make and publish the list, then end the connections of `put_off`.

        Return whether the broker did its part; when it is away, `keep_fresh` goes on trying.
        """
        self._waiting |= set(put_off)
        self._asked += 1
        asked = self._asked
        async with self._lock:
            # Whoever waited here while many were revoked finds that one list was made for all.
            if self._made_for < asked:
                made_for = self._asked
                await self._make()
                self._enforced = await self._enforce()
                self._made_for = made_for
            enforced = self._enforced
        if not enforced and self._gate is not None:
            self._again.set()
        return enforced

    async def _make(self) -> None:
        made_at, wait_s = next_list_at(await asyncio.to_thread(_last_list_at, self._path), self._clock())
        await asyncio.sleep(wait_s)
        with database_errors():
            revoked = await repository.revoked_and_unexpired(self._pool, self._clock())
            revoked += await certificates_of(self._elsewhere, self._clock())
            number = await repository.next_crl_number(self._pool)
        self._pem = await asyncio.to_thread(self._authority.sign_crl, revoked, number=number, now=made_at)
        await asyncio.to_thread(write_atomic, self._path, self._pem, mode=PUBLIC)
        log.info("crl.published", number=number, revoked=len(revoked))

    async def _enforce(self) -> bool:
        if self._gate is None:
            self._waiting.clear()
            return False
        leaving = frozenset(self._waiting)
        try:
            if not await self._gate.apply_crl(self._pem):
                # No broker runs, so nobody is connected; it reads the file when it starts.
                self._waiting -= leaving
                return True
            if leaving:
                await self._gate.disconnect(leaving)
        except (IotisticError, OSError) as exc:
            log.warning("crl.broker_unreachable", error=str(exc), waiting=len(leaving))
            return False
        self._waiting -= leaving
        return True

    async def keep_fresh(self) -> None:
        """Publish anew every day, and every `retry_s` seconds while the broker still has to hear of something."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._again.wait(), _REFRESH_S)
            if self._again.is_set():
                await asyncio.sleep(self._retry_s)
            self._again.clear()
            try:
                await self.publish()
            except (IotisticError, OSError) as exc:
                log.warning("crl.refresh_failed", error=str(exc))
                self._again.set()


def next_list_at(last: datetime | None, now: datetime) -> tuple[datetime, float]:
    """Return the time that the next list bears, and the seconds to wait before it is made.

    It is now, or a second after the last list when that is later. Lists are dated back by CLOCK_SKEW, so
    they are valid that far ahead; whoever makes more than one a second for so long has to wait. A last list
    from farther ahead was made by a wrong clock and is not valid: it counts for nothing.
    """
    now = now.replace(microsecond=0)  # as a list tells the time
    if last is None or now > last:
        return now, 0.0
    made_at = last + _SECOND
    ahead = made_at - now - CLOCK_SKEW
    if ahead > 2 * _SECOND:
        return now, 0.0
    return made_at, max(0.0, ahead.total_seconds())


def _last_list_at(path: Path) -> datetime | None:
    try:
        return x509.load_pem_x509_crl(path.read_bytes()).last_update_utc + CLOCK_SKEW
    except (FileNotFoundError, ValueError):
        return None
