"""Keeps the accounts of the managed broker as the database has them.

    change -> render -> files (atomic) -> compare with what the broker was started with -> start it anew

Mosquitto takes accounts over at a start only (docs/decisions/0003): 0.4 s, nothing acknowledged is lost. So
changes are gathered: what takes rights away is in force within seconds, what gives them within half a minute of
the start before. Agents with certificates need none of this.

Safe with several processes (one holds a lock in the database) and after `kill -9` anywhere: whoever comes next
compares again. A broker that is away takes the files over when it starts.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable
from typing import Protocol

import asyncpg
import structlog

from iotistic.control.broker import repository
from iotistic.control.broker.rendering import AccountTexts, Renderer
from iotistic.control.broker.settings import BrokerKeeperSettings
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_LOCK = 0x6D71_7474  # "mqtt"
_LOOK_EVERY_S = 10.0
_SOON_S, _AWAY_S = 0.5, 2.0
_RETRY_S = 5.0

# InterfaceError: what a pool says of a connection that it lost while somebody held it.
_TROUBLE = (IotisticError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class WantedAccounts(Protocol):
    """The files that the broker is started with."""

    @property
    def wanted(self) -> tuple[str, str]:
        """Password lines and rules, as they were written last."""
        ...

    def want(self, passwords: str, acl: str) -> None:
        """Write what the next start takes over."""
        ...

    def is_in_force(self, passwords: str, acl: str) -> bool:
        """Whether the broker was started with this."""
        ...


class ManagedBroker(Protocol):
    """Our own broker."""

    @property
    def accounts(self) -> WantedAccounts:
        """Its files of accounts."""
        ...

    def ask_restart(self) -> bool:
        """Let it be started anew; False when none runs."""
        ...

    async def end_sessions(self, client_ids: Iterable[str]) -> None:
        """Forget the sessions of clients."""
        ...


class BrokerKeeper:
    """The background part."""

    def __init__(
        self, pool: asyncpg.Pool, broker: ManagedBroker, renderer: Renderer, settings: BrokerKeeperSettings
    ) -> None:
        self._pool, self._broker, self._renderer, self._settings = pool, broker, renderer, settings
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._gone: set[str] = set()
        self._taken_away = False
        self._restarted_at = -float("inf")

    async def run(self) -> None:
        """Keep until `stop` is called; waits while another process does."""
        while not self._stopping.is_set():
            try:
                with database_errors():
                    async with self._pool.acquire() as holder:
                        await self._hold(holder)
            except _TROUBLE as exc:
                log.warning("broker_accounts.not_kept", error=str(exc))
                await self._rest(_RETRY_S)

    def stop(self) -> None:
        """Take up no further work."""
        self._stopping.set()
        self._changed.set()

    def changed(self) -> None:
        """Look now: something has changed."""
        self._changed.set()

    async def _hold(self, holder: repository.Database) -> None:
        if not await holder.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            await self._rest(_LOOK_EVERY_S)
            return
        try:
            while not self._stopping.is_set():
                self._changed.clear()
                await self._rest(min(await self.keep(), _LOOK_EVERY_S))
                await holder.execute("SELECT 1")  # a lock is held as long as its connection lives
        finally:
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await holder.execute("SELECT pg_advisory_unlock($1)", _LOCK)

    async def keep(self) -> float:
        """Bring the files, and the broker if it is due, up to date; return the seconds until the next look."""
        texts = await self._texts()
        await asyncio.to_thread(self._want, texts)
        if await asyncio.to_thread(self._broker.accounts.is_in_force, texts.passwords, texts.acl):
            self._taken_away = False
            await self._end_sessions(texts)
            return _LOOK_EVERY_S
        wait_s = self._due_in_s()
        if wait_s > 0:
            return wait_s
        if await asyncio.to_thread(self._broker.ask_restart):
            self._restarted_at = time.monotonic()
            log.info("broker_accounts.restart_asked", accounts=len(texts.names), gone=len(self._gone))
            return _SOON_S
        return _AWAY_S  # none runs, or it is just starting with what there was before

    async def _texts(self) -> AccountTexts:
        with database_errors():
            users = await repository.users(self._pool)
            devices = await repository.device_accounts(self._pool)
        texts = await asyncio.to_thread(self._renderer.render, users, devices)
        if self._renderer.unknown:
            hint = "PROVISIONING_SECRET has changed; they have to register again"
            log.warning("broker_accounts.passwords_unknown", count=len(self._renderer.unknown), hint=hint)
        return texts

    def _want(self, texts: AccountTexts) -> None:
        accounts = self._broker.accounts
        before = AccountTexts(*accounts.wanted)
        self._taken_away = self._taken_away or texts.takes_away_from(before)
        self._gone = (self._gone | before.names) - texts.names
        accounts.want(texts.passwords, texts.acl)

    def _due_in_s(self) -> float:
        settings = self._settings
        pause_s = settings.broker_revoke_pause_s if self._taken_away else settings.broker_grant_pause_s
        return self._restarted_at + pause_s - time.monotonic()

    async def _end_sessions(self, texts: AccountTexts) -> None:
        """Forget what waits for those who cannot come back for it."""
        gone = self._gone - texts.names
        if gone:
            await self._broker.end_sessions(sorted(gone))
            log.info("broker_accounts.sessions_ended", count=len(gone))
        self._gone.clear()

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
