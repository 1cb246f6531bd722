"""The ledger's own loops, in the maintenance process: add up, look, ask, tell, sign, send.

Nothing here is on the way of a reading. When the broker is away gaps are still noted; when the database
is away everything waits. What was under way when the process dies is done again: adding up is one
transaction, asking twice does no harm, a receipt is signed once an hour, and sent until the broker took it.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from iotistic.kernel.errors import IotisticError
from iotistic.telemetry.ledger.asking import Correspondence
from iotistic.telemetry.ledger.courier import Courier
from iotistic.telemetry.ledger.hearsay import Hearsay
from iotistic.telemetry.ledger.metrics import FAILURES, GAPS, HEALED
from iotistic.telemetry.ledger.receipts import Notary
from iotistic.telemetry.ledger.repository import LedgerRepository
from iotistic.telemetry.ledger.settings import LedgerSettings

log = structlog.get_logger()

_FOLD_ROUNDS = 50
_WATCHES_A_WATERMARK = 3
_SIGN_EVERY_S = 60.0
_FORGET_EVERY_S = 3600.0
_RETRY_FIRST_S, _RETRY_MOST_S = 0.5, 5.0


def utc_now() -> datetime:
    """Return the present, aware."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Offices:
    """Those who do the keeper's work with the world outside."""

    correspondence: Correspondence
    notary: Notary
    courier: Courier
    hearsay: Hearsay


class LedgerKeeper:
    """Keeps the ledger of one database until it is stopped."""

    def __init__(
        self,
        repository: LedgerRepository,
        offices: Offices,
        settings: LedgerSettings,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._repository, self._offices, self._settings = repository, offices, settings
        self._clock = clock
        self._healed_at: datetime | None = None
        self._stopping = asyncio.Event()
        self._failing: set[str] = set()

    async def run(self) -> None:
        """Run until `stop` is called; returns when the round in hand is done."""
        settings = self._settings
        loops = {
            "fold": (self.fold, settings.ledger_fold_s),
            "watch": (self.watch, settings.ledger_watermark_s / _WATCHES_A_WATERMARK),
            "note": (self._offices.hearsay.note, settings.ledger_fold_s),
            "confirm": (self._offices.correspondence.confirm, min(settings.ledger_confirm_s / 4, 15.0)),
            "sign": (self.sign, _SIGN_EVERY_S),
            "forget": (self.forget, _FORGET_EVERY_S),
        }
        async with asyncio.TaskGroup() as tasks:
            for name, (work, every_s) in loops.items():
                tasks.create_task(self._repeat(name, work, every_s))

    def stop(self) -> None:
        """Take up no further work."""
        self._stopping.set()

    async def fold(self) -> None:
        """Add up what sinks noted, and count what that fills."""
        while not await self._repository.fold(rounds=_FOLD_ROUNDS) and not self._stopping.is_set():
            pass
        looked_at, healed = await self._repository.heal(self._healed_at)
        self._healed_at = looked_at
        for missing_s, _messages in healed:
            HEALED.observe(missing_s)

    async def watch(self) -> None:
        """Look at the gaps, and ask for those that are due."""
        await self._repository.fold(rounds=_FOLD_ROUNDS)
        watermark = timedelta(seconds=self._settings.ledger_watermark_s)
        GAPS.set(await self._repository.watch(watermark))
        await self._offices.correspondence.ask()

    async def sign(self) -> None:
        """Sign the receipts of the hour that ended last, and send those that have not been sent."""
        await self.fold()
        while await self._offices.notary.sign_due(self._clock()) and not self._stopping.is_set():
            pass
        while await self._offices.courier.send() and not self._stopping.is_set():
            pass

    async def forget(self) -> None:
        """Drop what is too old."""
        await self._repository.forget(self._clock() - timedelta(days=self._settings.ledger_days))

    async def _repeat(self, name: str, work: Callable[[], Awaitable[object]], every_s: float) -> None:
        pause_s = _RETRY_FIRST_S
        while not self._stopping.is_set():
            try:
                await work()
            except (IotisticError, asyncpg.PostgresError, TimeoutError) as exc:
                self._note_failure(name, exc)
                await self._rest(pause_s * random.uniform(0.5, 1))  # noqa: S311  jitter
                pause_s = min(pause_s * 2, _RETRY_MOST_S)
            else:
                self._failing.discard(name)
                pause_s = _RETRY_FIRST_S
                await self._rest(every_s)

    def _note_failure(self, name: str, exc: Exception) -> None:
        code = exc.code if isinstance(exc, IotisticError) else type(exc).__name__
        FAILURES.labels(code).inc()
        if name not in self._failing:
            log.warning("ledger.failed", loop=name, code=code, reason=str(exc))
        self._failing.add(name)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
